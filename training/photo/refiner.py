"""What `refiner.onnx` holds: the gradient of the decoder, by which a sender improves symbols. Receivers need none.

The squared error of a picture is lowered by the change of latents that the gradient names. It is computed by hand, with
kernels of 8 bits: those decide which way to try, while `decoder.onnx` says how large the error is.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.photo.crops import Batch
from training.photo.model import LAMBDAS, Enlarge, PhotoCodec, Residual

SLOPE = 0.1  # of leaky ReLU below 0
PROBES = 4
# A bit buys less error on the curves of trained networks than the loss says that they were trained with.
EXCHANGE = 1.2


class _Conv(nn.Module):
    """A convolution, and its transpose, with kernels of 8 bits and a factor for each output."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        kernel = conv.weight.detach()
        scale = kernel.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / 127
        self.kernel = nn.Parameter(torch.round(kernel / scale))
        self.scale = nn.Parameter(scale[:, 0])
        assert conv.bias is not None  # noqa: S101
        self.bias = nn.Parameter(conv.bias.detach()[:, None, None].clone())
        self.reach = kernel.shape[2] // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=self.reach) * self.scale + self.bias

    def back(self, gradient: Tensor) -> Tensor:
        return F.conv_transpose2d(gradient * self.scale, self.kernel, padding=self.reach)


class _Residual(nn.Module):
    def __init__(self, layer: Residual) -> None:
        super().__init__()
        self.a, self.b = _Conv(layer.a), _Conv(layer.b)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output, and what the first convolution gives."""
        inner = self.a(F.leaky_relu(x, SLOPE))
        return x + self.b(F.leaky_relu(inner, SLOPE)), inner

    def back(self, gradient: Tensor, x: Tensor, inner: Tensor) -> Tensor:
        through: Tensor = self.a.back(self.b.back(gradient) * _slope(inner)) * _slope(x)
        return gradient + through


class Refiner(nn.Module):
    """What `refiner.onnx` holds."""

    def __init__(self, codec: PhotoCodec) -> None:
        super().__init__()
        self.eighth, self.quarter, self.last = (
            _Conv(_enlarge(layer).conv) for layer in (codec.decoder_first, codec.decoder[1], codec.decoder[3])
        )
        self.inner = nn.ModuleList(_Residual(_residual(codec.decoder[number])) for number in (0, 2))
        self.factors = [_enlarge(layer).factor for layer in (codec.decoder_first, codec.decoder[1], codec.decoder[3])]

    def forward(self, latents: Tensor, differences: Tensor) -> Tensor:
        """Return the gradient of half the squared error for latents after the inverse gain, of the latents' shape.

        Args:
            latents: (1, latents, h, w).
            differences: (1, 3, 16 h, 16 w), of the decoded picture from its original; 0 where it does not count.
        """
        first, second = self.inner
        assert isinstance(first, _Residual)  # noqa: S101
        assert isinstance(second, _Residual)  # noqa: S101
        eighth = F.pixel_shuffle(self.eighth(latents), self.factors[0])
        eighth_out, eighth_inner = first(eighth)
        quarter = F.pixel_shuffle(self.quarter(eighth_out), self.factors[1])
        _, quarter_inner = second(quarter)
        gradient = self.last.back(F.pixel_unshuffle(differences, self.factors[2]))
        gradient = second.back(gradient, quarter, quarter_inner)
        gradient = self.quarter.back(F.pixel_unshuffle(gradient, self.factors[1]))
        gradient = first.back(gradient, eighth, eighth_inner)
        return self.eighth.back(F.pixel_unshuffle(gradient, self.factors[0]))


def refinement_of(codec: PhotoCodec, batch: Batch) -> dict[str, list[float]]:
    """Return what a card says of refinement beside its graph: see `latentwire.model.any_size_card.Refinement`.

    Args:
        codec: the network.
        batch: pictures that sensitivities are measured on, each at its quality.
    """
    sent = codec.send(codec.analyse(batch.pixels).detach(), batch.quality)
    latents = sent.latents.clone().requires_grad_(True)
    pixels = codec.synthesise(latents)
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(latents.shape[1])
    for _ in range(PROBES):
        # The mean square of J^T v over random signs v is the diagonal of J^T J (Hutchinson 1990).
        signs = 2.0 * torch.randint(0, 2, pixels.shape, generator=random) - 1
        (gradient,) = torch.autograd.grad(pixels, latents, signs, retain_graph=True)
        total += gradient.square().mean((0, 2, 3)) / PROBES
    return {
        "sensitivity": [float(f"{value:.4g}") for value in total.tolist()],
        "bits_per_error": [EXCHANGE * weight * 255**2 / 3 for weight in LAMBDAS],
    }


def _slope(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1.0, SLOPE)


def _enlarge(layer: Any) -> Enlarge:
    assert isinstance(layer, Enlarge)  # noqa: S101
    return layer


def _residual(layer: Any) -> Residual:
    assert isinstance(layer, Residual)  # noqa: S101
    return layer
