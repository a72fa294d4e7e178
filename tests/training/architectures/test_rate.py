"""Networks that are trained for the bits of their codes, at toy size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentwire.imaging import image
from latentwire.model.onnx_session import open_onnx
from training.architectures import RateAutoencoder, build_autoencoder
from training.architectures.rate import LogisticMixturePrior
from training.data.datasets import Dataset
from training.loop.checkpoints import load_checkpoint
from training.loop.optim import make_optimizer
from training.loop.rate import measure_rate, psnr_db
from training.loop.trainer import train
from training.recipe import Recipe, make_recipe
from training.release.export import export_run
from training.release.model_dir import graph_file
from training.runs import RunFolder, create_run

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dense": {},
    "tied": {"tied": True},
    "conv": {"architecture": "conv", "encoder_width": 2, "decoder_width": 2, "hidden": 8},
    "conv-plain": {"architecture": "conv-plain", "conv_widths": (2, 3)},
    "map": {
        "architecture": "conv-plain",
        "conv_widths": (2, 2),
        "conv_code": "map",
        "code_size": 98,
        "code_activation": "tanh",
    },
}


def _recipe(tiny: Recipe, **fields: Any) -> Recipe:
    return make_recipe(tiny.model_dump(), {"rate_lambda": 100.0, **fields})


def _train(recipe: Recipe, dataset: Dataset, path: Path) -> RunFolder:
    run = create_run(recipe, path)
    train(recipe, dataset, run)
    return run


@pytest.fixture(scope="module")
def rate_run(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe, dataset: Dataset) -> RunFolder:
    """A run with a rate, trained. Not to be written to but for its graphs."""
    return _train(_recipe(tiny), dataset, tmp_path_factory.mktemp("rate") / "run")


@pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_architecture_trains_for_a_rate(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, fields: dict[str, Any]
) -> None:
    recipe = _recipe(tiny, **fields, epochs=2, training_images=256)
    run = _train(recipe, dataset, tmp_path / "run")
    losses = [epoch["validation_loss"] for epoch in run.metrics()]
    assert losses[1] < losses[0]


def test_graphs_speak_of_codes_in_steps_and_rounding_them_gives_the_metrics(
    rate_run: RunFolder, tiny: Recipe, dataset: Dataset
) -> None:
    recipe = _recipe(tiny)
    export_run(rate_run, dataset)
    checkpoint = load_checkpoint(rate_run.best, recipe)
    model = build_autoencoder(recipe, dataset.shape)
    assert isinstance(model, RateAutoencoder)
    model.load_state_dict(checkpoint.ema_weights)
    x = image.to_x(dataset.test.pixels[:50])
    encoder = open_onnx(rate_run.encoder, graph_file(rate_run.encoder), (1, 28, 28), (10,))
    decoder = open_onnx(rate_run.decoder, graph_file(rate_run.decoder), (10,), (1, 28, 28))
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(decoder.run(np.rint(encoder.run(x))), expected, atol=1e-4)


def test_bits_fall_and_errors_rise_with_a_smaller_lambda(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, rate_run: RunFolder
) -> None:
    fine = rate_run.metrics()[-1]
    coarse = _train(_recipe(tiny, rate_lambda=3.0), dataset, tmp_path / "coarse").metrics()[-1]
    assert coarse["validation_bits"] < 0.8 * fine["validation_bits"]
    assert coarse["validation_rmse"] > fine["validation_rmse"]


def test_the_best_epoch_is_that_of_the_least_cost(rate_run: RunFolder, tiny: Recipe) -> None:
    metrics = rate_run.metrics()
    costs = [784 * 100 * epoch["validation_rmse"] ** 2 + epoch["validation_bits"] for epoch in metrics]
    assert [epoch["validation_loss"] for epoch in metrics] == pytest.approx([cost / 78400 for cost in costs])
    best = load_checkpoint(rate_run.best, _recipe(tiny))
    assert best.best_epoch == costs.index(min(costs)) + 1
    assert best.best_bits == metrics[best.best_epoch - 1]["validation_bits"]


def test_the_prior_learns_what_the_symbols_cost(rate_run: RunFolder) -> None:
    last = rate_run.metrics()[-1]
    assert last["validation_bits"] < last["validation_prior_bits"] < 1.3 * last["validation_bits"]


def test_a_prior_is_a_distribution_and_finite_far_out() -> None:
    torch.manual_seed(0)
    prior = LogisticMixturePrior(3)
    prior.fit(torch.randn(500, 3) * torch.tensor([0.01, 2.0, 30.0]) + torch.tensor([0.4, -7.0, 100.0]))
    integers = torch.arange(-2000.0, 2001.0)[:, None].expand(-1, 3)
    with torch.no_grad():
        assert torch.allclose((-prior(integers)).exp2().sum(dim=0), torch.ones(3), atol=1e-4)
    far = torch.full((1, 3), 1e5, requires_grad=True)
    bits = prior(far).sum()
    bits.backward()
    assert torch.isfinite(bits)
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()


def test_the_prior_of_normal_codes_starts_near_their_entropy() -> None:
    torch.manual_seed(0)
    y = torch.randn(20000, 1) * 4
    prior = LogisticMixturePrior(1)
    prior.fit(y)
    with torch.no_grad():
        assert prior(y.round()).mean().item() == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * 16), abs=0.05)


def test_the_bits_of_equal_codes_are_none(tiny: Recipe, dataset: Dataset) -> None:
    model = build_autoencoder(_recipe(tiny), dataset.shape)
    assert isinstance(model, RateAutoencoder)
    pixels = torch.zeros(7, 1, 28, 28, dtype=torch.uint8)
    assert measure_rate(model, pixels).bits == 0


def test_gain_and_prior_know_no_weight_decay(tiny: Recipe, dataset: Dataset) -> None:
    recipe = _recipe(tiny, weight_decay=0.1)
    model = build_autoencoder(recipe, dataset.shape)
    groups = make_optimizer(recipe, model).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0, 0.0]
    counted = sum(len(group["params"]) for group in groups)
    assert counted == len(list(model.parameters()))


def test_a_step_of_theory_is_fine_where_errors_weigh_more(tiny: Recipe, dataset: Dataset) -> None:
    gains = []
    for rate_lambda in (2e5, 8e5):
        torch.manual_seed(0)
        model = build_autoencoder(_recipe(tiny, rate_lambda=rate_lambda), dataset.shape)
        assert isinstance(model, RateAutoencoder)
        model.fit_gain(torch.from_numpy(image.to_x(dataset.train.pixels[:200])), trained=True)
        gains.append(model.encoder.gain().detach())
    assert torch.allclose(gains[1], 2 * gains[0], rtol=1e-3)


def test_decibels_are_those_of_pixels_from_0_to_1() -> None:
    assert psnr_db(0.1) == pytest.approx(20)
    assert psnr_db(0) == np.inf
