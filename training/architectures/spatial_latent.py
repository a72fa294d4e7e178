"""A spatial part of a code, for details: a map of a few channels beside the numbers of the dense layers.

    x ─┬─ dense encoder ────────────────────────────── y (N, n) ─┬─ y        y ─┬─ n ─ first half of the decoder ─ h
       └─ conv 5×5, stride 2 ─ conv 3×3, stride 2                │              └─ map ─ conv ─ residual ─ m        │
          ─ residual ─ conv 1×1 ─ map (N, c, 7, 7), flat ────┘          second half of the decoder ─ h + conv(h, m)

A few numbers for the whole image hold what kind of image it is; details at one place are cheaper to encode at that
place. The map has a quarter of the image's sides. The drawing shows the sizes for 28 × 28 pixels.
"""

import torch
from torch import Tensor, nn

from latentwire.model.card import ImageShape
from training.architectures.layers import InFloat32, Residual, conv_block, halved
from training.recipe import Conv

# Initial weight of the spatial part, small so as not to disturb a decoder that was trained without it.
_FIRST_SHARE = 0.1


class DenseAndSpatialEncoder(nn.Module):
    """The same input -> the codes of two encoders, one after the other, float32 (N, sum of their sizes)."""

    def __init__(self, dense: nn.Module, spatial: nn.Module) -> None:
        super().__init__()
        self.dense = dense
        self.spatial = spatial

    def forward(self, x: Tensor) -> Tensor:
        """Return both codes of x (N, C, H, W)."""
        return torch.cat((self.dense(x), self.spatial(x)), dim=1)


class PaddedDenseEncoder(nn.Module):
    """The code of a dense encoder, followed by a spatial part of zeros, float32 (N, n + values)."""

    def __init__(self, dense: nn.Module, values: int) -> None:
        super().__init__()
        self.dense = dense
        self.pad = nn.ConstantPad1d((0, values), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the code of x (N, C, H, W)."""
        padded: Tensor = self.pad(self.dense(x))
        return padded


class SpatialDecoder(nn.Module):
    """y (N, n + values) -> x_hat, by a decoder of n numbers into which the spatial part is mixed halfway."""

    def __init__(self, body: nn.Sequential, before: int, width: int, architecture: Conv, shape: ImageShape) -> None:
        """Put the decoder together.

        Args:
            body: the decoder of n numbers.
            before: index of its layer that takes a map of a quarter of the image's sides.
            width: channels of that map.
            architecture: the network's.
            shape: the images'.
        """
        super().__init__()
        self.body = body
        self.before = before
        self.values = spatial_values(architecture, shape)
        kinds = (architecture.activation, architecture.normalisation)
        self.spatial = nn.Sequential(
            nn.Unflatten(1, (architecture.spatial_channels, *_quarter(shape))),
            *conv_block(architecture.spatial_channels, width, *kinds),
            Residual(width, *kinds),
        )
        self.mix = nn.Conv2d(2 * width, width, 3, padding=1)
        with torch.no_grad():
            self.mix.weight.mul_(_FIRST_SHARE)

    def forward(self, y: Tensor) -> Tensor:
        """Return the reconstruction of codes."""
        drawn: Tensor = self.body[: self.before](y[:, : -self.values])
        mixed: Tensor = drawn + self.mix(torch.cat((drawn, self.spatial(y[:, -self.values :])), dim=1))
        x_hat: Tensor = self.body[self.before :](mixed)
        return x_hat


def spatial_encoder(architecture: Conv, channels: int) -> nn.Module:
    """Build the encoder of the spatial part: (N, channels, H, W) -> float32 (N, values)."""
    width, kinds = 2 * architecture.encoder_width, (architecture.activation, architecture.normalisation)
    return nn.Sequential(
        *conv_block(channels, width, *kinds, kernel=5, stride=2, padding=2),
        *conv_block(width, 2 * width, *kinds, stride=2),
        Residual(2 * width, *kinds),
        nn.Conv2d(2 * width, architecture.spatial_channels, 1),
        InFloat32(nn.Flatten()),
    )


def spatial_values(architecture: Conv, shape: ImageShape) -> int:
    """Return how many numbers of the code are its spatial part."""
    height, width = _quarter(shape)
    return architecture.spatial_channels * height * width


def _quarter(shape: ImageShape) -> tuple[int, int]:
    return halved(halved(shape.height)), halved(halved(shape.width))
