"""How weights move: Muon for the kernels of encoder and decoder, Adam for the rest or for all; and their average."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.photo.model import PhotoCodec


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal: each moves a kernel, as a matrix, by about the rate in spectral norm.

    Source: K. Jordan et al., Muon (kellerjordan.github.io/posts/muon), with its quintic Newton-Schulz iteration.
    """

    def __init__(self, parameters: Iterable[Any], lr: float, momentum: float = 0.95, iterations: int = 4) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "iterations": iterations})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all kernels (outputs, inputs, rows, columns) by their gradients."""
        assert closure is None  # noqa: S101
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "average" not in state:
                    state["average"] = torch.zeros_like(weight.grad)
                average = state["average"]
                average.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(average, group["momentum"])
                # The unfolding with the shorter side costs the least.
                if weight.shape[1] < weight.shape[0]:
                    ahead = ahead.transpose(0, 1)
                move = orthogonal(ahead.reshape(len(ahead), -1), group["iterations"]).reshape(ahead.shape)
                if weight.shape[1] < weight.shape[0]:
                    move = move.transpose(0, 1)
                weight.add_(move, alpha=-group["lr"])


def orthogonal(matrix: Tensor, iterations: int) -> Tensor:
    """Return about the orthogonal factor U V' of a matrix U S V'."""
    x: Tensor = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.float().norm() + 1e-7).bfloat16()
    for _ in range(iterations):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).float()


def make_optimizers(codec: PhotoCodec, kind: str, rate: float) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a network; each group keeps its own rate as `full_lr`.

    Args:
        codec: to train; weights that need no gradient are left out.
        kind: muon, or adam.
        rate: of the kernels. Muon: the step's spectral norm. Adam: over the inputs of a kernel.
    """
    layers = [layer for layer in codec.modules() if isinstance(layer, nn.Conv2d) and layer.weight.requires_grad]
    transforms = (codec.encoder, codec.encoder_last, codec.decoder_first, codec.decoder)
    turned = {
        id(layer.weight)
        for part in transforms
        for layer in part.modules()
        if isinstance(layer, nn.Conv2d) and kind == "muon"
    }
    kernels = [layer.weight for layer in layers if id(layer.weight) not in turned]
    biases = [layer.bias for layer in layers if layer.bias is not None]
    base = 1e-3
    groups: list[dict[str, Any]] = [
        {"params": biases, "lr": base},
        {"params": [weight for weight in codec.hyper_prior.parameters() if weight.requires_grad], "lr": 5 * base},
        {"params": [weight for weight in (codec.log_gain, codec.log_inverse) if weight.requires_grad], "lr": base},
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if kind == "muon":
        optimizers.append(Muon([layer.weight for layer in layers if id(layer.weight) in turned], rate))
    per_input = rate if kind == "adam" else 0.15
    groups += [{"params": [kernel], "lr": min(2e-3, per_input / kernel[0].numel())} for kernel in kernels]
    optimizers.append(torch.optim.Adam(groups, lr=base, betas=(0.9, 0.99)))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers


def set_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set all rates to a share of the full ones."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor


class Average:
    """A running average of all weights, which is what is measured and released."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after a step; early ones are forgotten sooner."""
        decay = min(self.decay, (step + 1) / (step + 20))
        names, weights = zip(*model.named_parameters(), strict=True)
        torch._foreach_lerp_([self.values[name] for name in names], list(weights), 1 - decay)
