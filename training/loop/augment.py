"""Random warps of images: rotation, scale, slant, shift and bending, drawn anew for each image in each epoch."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Bounds at strength 1: radians; factor; slant; shift of half a side; spread of the bending grid's 4 × 4 knots.
_TURN, _SCALE, _SLANT, _SHIFT, _BEND, _KNOTS = 0.2, 0.1, 0.15, 0.06, 0.03, 4


def random_warp(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return warped copies of x, float32 (N, C, H, W) in [0, 1]; pixels from outside an image are 0.

    Args:
        x: images.
        strength: factor on all bounds.
        generator: on the CPU, whatever device `x` is on, so that all devices draw the same warps.
    """
    count, _, height, width = x.shape

    def uniform(bound: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * bound * strength

    turn, slant = uniform(_TURN), uniform(_SLANT)
    rows = 1 + uniform(_SCALE)
    columns = 1 + uniform(_SCALE)
    affine = torch.stack(
        [
            torch.stack([columns * turn.cos(), slant - turn.sin(), uniform(_SHIFT)], dim=1),
            torch.stack([turn.sin(), rows * turn.cos(), uniform(_SHIFT)], dim=1),
        ],
        dim=1,
    )
    knots = torch.randn(count, 2, _KNOTS, _KNOTS, generator=generator) * _BEND * strength
    bend = F.interpolate(knots.to(x.device), size=(height, width), mode="bicubic", align_corners=True)
    grid = F.affine_grid(affine.to(x.device), [count, 1, height, width], align_corners=False)
    return F.grid_sample(x, grid + bend.permute(0, 2, 3, 1), mode="bilinear", align_corners=False)
