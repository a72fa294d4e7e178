import torch

from training.data.datasets import Dataset
from training.loop.augment import random_warp


def _x(dataset: Dataset) -> torch.Tensor:
    return torch.from_numpy(dataset.train.pixels[:50].copy()).permute(0, 3, 1, 2).float() / 255


def test_a_warp_changes_every_image_a_little_and_keeps_the_range(dataset: Dataset) -> None:
    x = _x(dataset)
    warped = random_warp(x, 1.0, torch.Generator().manual_seed(0))
    assert warped.shape == x.shape
    assert 0 <= warped.min() <= warped.max() <= 1
    changes = (warped - x).square().mean(dim=(1, 2, 3)).sqrt()
    assert changes.min() > 0.01
    # A picture still resembles itself more than the next digit.
    assert (changes < (x.roll(1, 0) - x).square().mean(dim=(1, 2, 3)).sqrt()).float().mean() > 0.9


def test_warps_are_repeated_by_the_seed_and_vanish_with_the_strength(dataset: Dataset) -> None:
    x = _x(dataset)
    assert torch.equal(
        random_warp(x, 1.0, torch.Generator().manual_seed(5)), random_warp(x, 1.0, torch.Generator().manual_seed(5))
    )
    torch.testing.assert_close(random_warp(x, 0.0, torch.Generator()), x, atol=1e-4, rtol=0)
