import json
import math
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codec import quantiser
from codec.model_card import UniformQuantiser
from training.calibrate import calibrate, calibrate_run, fit_levels, load_quantiser
from training.datasets import Dataset
from training.errors import InvalidRecipe, InvalidRun
from training.publish import graph_file
from training.recipe import Recipe
from training.run_folder import RunFolder, create_run


def _errors(y: npt.NDArray[np.float64], parameters: UniformQuantiser) -> npt.NDArray[np.float64]:
    y_hat = quantiser.dequantise(quantiser.quantise(y, parameters), parameters)
    return np.asarray(np.square(y_hat - y).mean(axis=0))


def _over_the_range(y: npt.NDArray[np.float64], bits: int) -> UniformQuantiser:
    low, high = y.min(axis=0), y.max(axis=0)
    step = (high - low) / (2**bits - 1)
    return UniformQuantiser(bits=bits, low=tuple(low.tolist()), step=tuple(step.tolist()))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_fitted_levels_are_better_than_levels_over_the_whole_range(bits: int) -> None:
    random = np.random.default_rng(0)
    y = np.stack([random.normal(3, 2, 5000), random.standard_t(3, 5000), random.uniform(-1, 1, 5000)], axis=1)
    fitted, plain = _errors(y, fit_levels(y, bits)), _errors(y, _over_the_range(y, bits))
    assert (fitted <= plain * 1.0001).all()
    # With many levels, those in the tails cost little.
    assert (fitted[:2] < (0.9 if bits < 8 else 1) * plain[:2]).all()


def test_two_levels_of_a_normal_coordinate_are_where_theory_has_them() -> None:
    y = np.random.default_rng(0).normal(0, 1, (100_000, 1))
    parameters = fit_levels(y, 1)
    # Max 1960, "Quantizing for minimum distortion": levels at ± sqrt(2 / pi), error 1 - 2 / pi.
    assert parameters.low[0] == pytest.approx(-math.sqrt(2 / math.pi), abs=0.02)
    assert parameters.step[0] == pytest.approx(2 * math.sqrt(2 / math.pi), abs=0.02)
    assert _errors(y, parameters)[0] == pytest.approx(1 - 2 / math.pi, abs=0.01)


def test_values_that_are_levels_already_come_back_exactly() -> None:
    y = np.tile(np.arange(8.0)[:, None] * 0.5 - 1, (10, 1))
    assert _errors(y, fit_levels(y, 3))[0] < 1e-12


def test_a_coordinate_that_never_changes_is_kept() -> None:
    y = np.full((50, 2), 1.25)
    y[:, 1] = np.linspace(0, 1, 50)
    parameters = fit_levels(y, 4)
    assert parameters.step[0] > 0
    assert _errors(y, parameters)[0] < 1e-12


def test_bits_are_the_fewest_that_keep_the_error_within_the_bound(
    finished_run: RunFolder, tiny: Recipe, dataset: Dataset
) -> None:
    chosen = calibrate(finished_run, tiny, dataset, 0)
    assert chosen.float_rmse < chosen.rmse <= chosen.float_rmse + tiny.max_rmse_increase
    fewer = calibrate(finished_run, tiny, dataset, chosen.quantiser.bits - 1)
    assert fewer.quantiser.bits == chosen.quantiser.bits - 1
    assert fewer.rmse > fewer.float_rmse + tiny.max_rmse_increase
    stricter = tiny.model_copy(update={"max_rmse_increase": tiny.max_rmse_increase / 20})
    assert calibrate(finished_run, stricter, dataset, 0).quantiser.bits > chosen.quantiser.bits


def test_a_bound_that_no_bits_can_keep_is_told(finished_run: RunFolder, tiny: Recipe, dataset: Dataset) -> None:
    impossible = tiny.model_copy(update={"max_rmse_increase": -0.01})
    with pytest.raises(InvalidRecipe, match="even 16 bits"):
        calibrate(finished_run, impossible, dataset, 0)


def test_test_images_have_no_part_in_the_quantiser(finished_run: RunFolder, tiny: Recipe, dataset: Dataset) -> None:
    other = dataset._replace(test=dataset.train)
    assert calibrate(finished_run, tiny, other, 0) == calibrate(finished_run, tiny, dataset, 0)


def test_the_quantiser_is_written_with_the_graphs_that_it_is_for(
    tmp_path: Path, finished_run: RunFolder, dataset: Dataset
) -> None:
    copy = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "copy")))
    calibrate_run(copy, dataset, bits=5)
    assert load_quantiser(copy).bits == 5
    assert json.loads(copy.quantiser_file.read_text())["encoder_sha256"] == graph_file(copy.encoder).sha256


def test_a_run_that_was_not_exported_is_told_so(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    run = create_run(tiny, tmp_path / "run")
    with pytest.raises(InvalidRun, match="`python -m training export"):
        calibrate_run(run, dataset)
    with pytest.raises(InvalidRun, match="`python -m training calibrate"):
        load_quantiser(run)
    run.quantiser_file.write_text('{"quantiser": {"bits": 99}}')
    with pytest.raises(InvalidRun, match="damaged"):
        load_quantiser(run)
