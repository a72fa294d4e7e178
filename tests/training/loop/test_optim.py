from typing import get_args

import pytest
import torch
from torch import nn

from training.loop.optim import make_ema_model, make_optimizer, make_schedule
from training.recipe import Recipe, make_recipe
from training.recipe.recipe import OptimizerName, ScheduleName


def _recipe(**fields: object) -> Recipe:
    return make_recipe({"name": "a", "learning_rate": 0.1}, fields)


def _rates(steps: int, **fields: object) -> list[float]:
    recipe = _recipe(**fields)
    optimizer = make_optimizer(recipe, nn.Linear(1, 1))
    schedule = make_schedule(recipe, optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_every_optimiser_lowers_a_loss(optimizer: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    stepper = make_optimizer(_recipe(optimizer=optimizer, weight_decay=0), layer)
    x, target = torch.rand(64, 3), torch.rand(64, 1)
    losses = []
    for _ in range(30):
        loss = (layer(x) - target).square().mean()
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("schedule", get_args(ScheduleName))
def test_every_schedule_rises_to_the_recipes_rate_at_the_end_of_warmup(schedule: str) -> None:
    rates = _rates(100, schedule=schedule, warmup=0.2)
    assert max(rates) == pytest.approx(0.1, rel=1e-2)
    assert rates.index(max(rates)) == pytest.approx(20, abs=1)
    assert rates[:20] == sorted(rates[:20])
    if schedule == "constant":
        assert rates[-1] == pytest.approx(0.1)
    else:
        assert rates[-1] < 0.001


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_schedule_without_warmup_starts_at_the_recipes_rate(schedule: str) -> None:
    assert _rates(10, schedule=schedule, warmup=0)[0] == pytest.approx(0.1)


def test_no_average_is_kept_if_the_recipe_wants_none() -> None:
    assert make_ema_model(_recipe(ema_decay=0), nn.Linear(1, 1)) is None


def test_the_average_forgets_the_initial_weights_soon_and_follows_buffers() -> None:
    layer = nn.BatchNorm1d(1)
    average = make_ema_model(_recipe(ema_decay=0.999), layer)
    assert average is not None
    average.update_parameters(layer)
    with torch.no_grad():
        layer.weight.fill_(5)
        layer.running_mean.fill_(3)  # type: ignore[union-attr]
        layer.num_batches_tracked.fill_(77)  # type: ignore[union-attr]
    for _ in range(50):
        average.update_parameters(layer)
    averaged = average.module
    # A fixed decay of 0.999 would have come 5 % of the way.
    assert averaged.weight.item() == pytest.approx(5, abs=0.01)  # type: ignore[operator]
    assert averaged.running_mean.item() == pytest.approx(3, abs=0.01)  # type: ignore[operator]
    assert averaged.num_batches_tracked.item() == 77  # type: ignore[operator]


def test_the_average_moves_by_the_recipes_decay_in_the_long_run() -> None:
    layer = nn.Linear(1, 1)
    average = make_ema_model(_recipe(ema_decay=0.5), layer)
    assert average is not None
    for _ in range(30):
        average.update_parameters(layer)
    with torch.no_grad():
        before = layer.weight.clone()
        layer.weight.add_(1)
    average.update_parameters(layer)
    torch.testing.assert_close(average.module.weight, before + 0.5)
