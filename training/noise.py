"""Clean images -> noisy ones, for networks that learn to give the clean ones back. Knows no recipe and no network."""

import torch
from torch import Tensor


def drop_pixels(x: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Return a copy of x in which about that fraction of the pixels, in all channels at once, is black.

    Vincent et al. 2008, https://doi.org/10.1145/1390156.1390294. What is left keeps its brightness.

    Args:
        x: images, float32 (N, C, H, W) in [0, 1].
        fraction: of the pixels, from 0 to 1.
        generator: on the CPU, whatever device `x` is on, so that all devices draw the same noise.
    """
    count, _, height, width = x.shape
    kept = torch.rand(count, 1, height, width, generator=generator) >= fraction
    return x * kept.to(x.device)


def add_gaussian(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return x with normally distributed noise added to each value, clipped to [0, 1].

    Args:
        x: images, float32 (N, C, H, W) in [0, 1].
        deviation: standard deviation of the noise; white is 1.
        generator: on the CPU, as above.
    """
    return (x + deviation * torch.randn(x.shape, generator=generator).to(x.device)).clamp(0, 1)
