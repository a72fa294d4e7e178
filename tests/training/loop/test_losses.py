from typing import get_args

import pytest
import torch
from torch.nn import functional as F

from training.loop.losses import LOSSES
from training.recipe.recipe import LossName


def test_every_loss_of_a_recipe_is_a_mean_over_pixels_that_is_least_at_the_clean_image() -> None:
    assert set(get_args(LossName)) == set(LOSSES)
    x = torch.rand(4, 1, 6, 6)
    for loss in LOSSES.values():
        twice = torch.cat([x, x])
        torch.testing.assert_close(loss(twice * 0.9, twice), loss(x * 0.9, x))
        assert loss(x, x) < loss(x * 0.9, x) < loss(x * 0.5, x)
    assert LOSSES["mse"](x, x) == LOSSES["l1"](x, x) == 0
    assert LOSSES["l1"](x, x + 0.25).item() == pytest.approx(0.25)
    assert LOSSES["mse"](x, x + 0.25).item() == pytest.approx(0.0625)


def test_binary_cross_entropy_is_torchs_and_stays_finite_where_a_pixel_is_wrong_for_certain() -> None:
    x, x_hat = torch.rand(4, 1, 6, 6), torch.rand(4, 1, 6, 6) * 0.98 + 0.01
    torch.testing.assert_close(LOSSES["bce"](x_hat, x), F.binary_cross_entropy(x_hat, x))
    certain = torch.tensor([0.0, 1.0], requires_grad=True)
    loss = LOSSES["bce"](certain, torch.tensor([1.0, 0.0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert 10 < loss.item() < 20
    assert certain.grad is not None
    assert certain.grad.isfinite().all()
    assert LOSSES["bce"](torch.tensor([float("nan")]), torch.tensor([1.0])).isnan()


def test_binary_cross_entropy_is_finite_with_a_network_in_bfloat16() -> None:
    logits = torch.tensor([-60.0, -8.0, 0.0, 8.0, 60.0], dtype=torch.bfloat16, requires_grad=True)
    loss = LOSSES["bce"](logits.float().sigmoid(), torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
