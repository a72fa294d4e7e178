"""Roundings and bounds with gradients that let weights learn, and where autocast is off."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient


def round_through(x: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    rounded: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return rounded


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, low: float, high: float) -> Tensor:
        context.save_for_backward(x)
        context.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = context.saved_tensors
        low, high = context.bounds
        back = ((x >= low) | (gradient < 0)) & ((x <= high) | (gradient > 0))
        return gradient * back, None, None


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp, with a gradient that can lead back into the bounds."""
    inside: Tensor = _Bounded.apply(x, low, high)  # type: ignore[no-untyped-call]
    return inside


def in_float32(x: Tensor) -> AbstractContextManager[None]:
    """Return where autocast is off.

    The hyperprior's convolutions always need it: in bfloat16, oneDNN's gradient of 5 x 5 kernels at a stride of 2 reads
    memory that nobody has written where its output is one wide, as of small pictures.
    """
    without: AbstractContextManager[None] = torch.autocast(x.device.type, enabled=False)
    return without
