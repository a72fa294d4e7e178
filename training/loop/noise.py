"""Clean images -> noisy ones, for networks that learn to restore the clean ones."""

import torch
from torch import Tensor


def drop_pixels(x: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Return a copy of x in which about that fraction of the pixels, in all channels at once, is black.

    Vincent et al. 2008, https://doi.org/10.1145/1390156.1390294. The other pixels are brightened by 1 / (1 - fraction),
    as in any dropout, and may be above 1. Without that, clean images are brighter than those of the training, and come
    out worse: after 15 epochs of recipe 001-784-512-128-10 the validation RMSE is 0.146, and 0.131 if they are darkened
    to match.

    Args:
        x: images, float32 (N, C, H, W) in [0, 1].
        fraction: of the pixels, from 0 to 1.
        generator: on the CPU, whatever device `x` is on, so that all devices draw the same noise.
    """
    count, _, height, width = x.shape
    kept = torch.rand(count, 1, height, width, generator=generator) >= fraction
    return x * kept.to(x.device) / (1 - fraction or 1)


def add_gaussian(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return x with normally distributed noise added to each value, clipped to [0, 1].

    Args:
        x: images, float32 (N, C, H, W) in [0, 1].
        deviation: standard deviation of the noise; white is 1.
        generator: on the CPU, as in `drop_pixels`.
    """
    return (x + deviation * torch.randn(x.shape, generator=generator).to(x.device)).clamp(0, 1)


def add_noise(x: Tensor, dropped: float, deviation: float, generator: torch.Generator) -> Tensor:
    """Return x with Gaussian noise of that deviation, then with that fraction of its pixels dropped; 0 adds none."""
    if deviation > 0:
        x = add_gaussian(x, deviation, generator)
    if dropped > 0:
        x = drop_pixels(x, dropped, generator)
    return x
