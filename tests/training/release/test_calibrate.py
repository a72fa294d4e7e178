import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentwire.entropy import quantizer
from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.model.card import UniformQuantizer
from latentwire.model.onnx_session import Floats, OnnxModel, open_onnx
from training.data.datasets import Dataset, split_training
from training.errors import InvalidRecipe, InvalidRun
from training.recipe import Recipe
from training.release.calibrate import (
    calibrate,
    calibrate_run,
    codes_of,
    even_steps,
    load_calibration,
    slopes_of,
)
from training.release.evaluate import evaluate_model
from training.release.fit_guard import fit_limits
from training.release.frequency_tables import count_tables
from training.release.model_dir import graph_file
from training.release.pipeline import staged_model
from training.runs import RunFolder, create_run


class Linear(OnnxModel):
    """A decoder that gives weights @ y."""

    def __init__(self, weights: Floats) -> None:
        self.weights = weights

    def run(self, values: Floats) -> Floats:
        return values @ self.weights.T


def test_slopes_of_a_linear_decoder_are_the_lengths_of_its_columns() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(0, [1, 10, 0.01], (50, 3)).astype(np.float32)
    y = random.normal(5, [3, 0.2, 80], (1000, 3)).astype(np.float32)
    assert slopes_of(Linear(weights), y, 50) == pytest.approx(np.linalg.norm(weights, axis=0), rel=1e-3)


def test_each_coordinate_adds_the_same_error_to_the_picture() -> None:
    random = np.random.default_rng(0)
    weights = np.diag([1, 10, 0.01]).astype(np.float32)
    y = random.normal(5, [3, 0.3, 300], (5000, 3)).astype(np.float32)
    parameters = even_steps(y, slopes_of(Linear(weights), y, 3), 0.5)
    error = quantizer.dequantize(quantizer.quantize(y, parameters), parameters) - y
    assert np.square(error @ weights.T).mean(axis=0) == pytest.approx([0.5**2 / 12] * 3, rel=0.05)


def test_steps_by_slope_cost_fewer_bits_than_equal_steps_for_the_same_error() -> None:
    random = np.random.default_rng(0)
    weights = np.diag([1, 10, 0.1]).astype(np.float32)
    y = random.normal(0, [3, 3, 3], (20_000, 3)).astype(np.float32)

    def error_and_bits(parameters: UniformQuantizer) -> tuple[float, float]:
        symbols = quantizer.quantize(y, parameters)
        error = (quantizer.dequantize(symbols, parameters) - y) @ weights.T
        return float(np.square(error).sum(axis=1).mean()), float(
            ArithmeticCoder(count_tables(symbols)).ideal_bits(symbols).mean()
        )

    by_slope = error_and_bits(even_steps(y, slopes_of(Linear(weights), y, 3), 1.0))
    equal = error_and_bits(UniformQuantizer(low=(0.0,) * 3, step=(0.17,) * 3))
    assert by_slope[0] < equal[0]
    assert by_slope[1] < 0.9 * equal[1]


@pytest.mark.parametrize("slope", [0.0, 1e-30])
def test_a_coordinate_that_the_picture_does_not_depend_on_is_always_symbol_0(slope: float) -> None:
    y = np.random.default_rng(0).normal(3, 2, (100, 2)).astype(np.float32)
    parameters = even_steps(y, np.array([slope, 1.0]), 0.1)
    assert not quantizer.quantize(y, parameters)[:, 0].any()


def test_a_coordinate_that_never_changes_is_kept() -> None:
    y = np.full((50, 1), 1.25, dtype=np.float32)
    parameters = even_steps(y, np.array([3.0]), 0.1)
    assert quantizer.dequantize(quantizer.quantize(y, parameters), parameters) == pytest.approx(1.25)


def test_the_steps_are_the_coarsest_that_keep_the_error_within_the_bound(
    finished_run: RunFolder, tiny: Recipe, dataset: Dataset
) -> None:
    chosen = calibrate(finished_run, tiny, dataset)
    bound = chosen.float_rmse + tiny.max_rmse_increase
    assert bound - 0.1 * tiny.max_rmse_increase < chosen.rmse <= bound
    stricter = calibrate(
        finished_run, tiny.model_copy(update={"max_rmse_increase": tiny.max_rmse_increase / 20}), dataset
    )
    assert stricter.rmse < chosen.rmse
    assert stricter.ideal_bits > chosen.ideal_bits + 10


def test_the_rate_is_that_of_the_validation_images(finished_run: RunFolder, tiny: Recipe, dataset: Dataset) -> None:
    found = calibrate(finished_run, tiny, dataset)
    shape = dataset.shape
    graph = open_onnx(
        finished_run.encoder,
        graph_file(finished_run.encoder),
        (shape.channels, shape.height, shape.width),
        (tiny.code_size,),
    )
    symbols = quantizer.quantize(codes_of(graph, split_training(dataset, tiny).validation.pixels), found.quantizer)
    assert found.ideal_bits == pytest.approx(ArithmeticCoder(found.tables).ideal_bits(symbols).mean())


def test_a_bound_that_no_quantiser_can_keep_is_told(finished_run: RunFolder, tiny: Recipe, dataset: Dataset) -> None:
    impossible = tiny.model_copy(update={"max_rmse_increase": 1e-15})
    with pytest.raises(InvalidRecipe, match="no quantizer is fine enough"):
        calibrate(finished_run, impossible, dataset)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_makes_no_sense_is_refused(finished_run: RunFolder, dataset: Dataset, bound: float) -> None:
    with pytest.raises(InvalidRecipe, match="max_rmse_increase"):
        calibrate_run(finished_run, dataset, bound)


def test_test_images_have_no_part_in_the_quantiser(finished_run: RunFolder, tiny: Recipe, dataset: Dataset) -> None:
    other = dataset._replace(test=dataset.train)
    assert calibrate(finished_run, tiny, other) == calibrate(finished_run, tiny, dataset)


def test_the_quantiser_is_written_with_the_graphs_that_it_is_for(
    tmp_path: Path, finished_run: RunFolder, dataset: Dataset
) -> None:
    copy = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "copy")))
    content = calibrate_run(copy, dataset, 0.01)
    parameters, tables = load_calibration(copy)
    assert content["max_rmse_increase"] == 0.01
    assert len(parameters.step) == len(tables) == 10
    assert json.loads(copy.quantizer_file.read_text())["encoder_sha256"] == graph_file(copy.encoder).sha256


def test_a_run_that_was_not_exported_is_told_so(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    run = create_run(tiny, tmp_path / "run")
    with pytest.raises(InvalidRun, match="`python -m training export"):
        calibrate_run(run, dataset)
    with pytest.raises(InvalidRun, match="`python -m training calibrate"):
        load_calibration(run)
    run.quantizer_file.write_text('{"quantizer": {"bits": 99}}')
    with pytest.raises(InvalidRun, match="damaged"):
        load_calibration(run)


class Counting(Linear):
    """A linear decoder that counts the pictures that it makes."""

    made = 0

    def run(self, values: Floats) -> Floats:
        self.made += len(values)
        return super().run(values)


@pytest.mark.parametrize(
    ("values", "code_size", "most"),
    [(784, 10, 2 * 256 * 10), (3072, 64, 16_384), (224 * 224 * 3, 64, 445), (640 * 480 * 3, 64, 2 * 2 * 64)],
)
def test_the_larger_the_images_the_fewer_are_decoded_for_the_slopes(values: int, code_size: int, most: int) -> None:
    y = np.random.default_rng(0).normal(size=(300, code_size)).astype(np.float32)
    decoder = Counting(np.ones((3, code_size), np.float32))
    slopes_of(decoder, y, values)
    assert most / 2 < decoder.made <= most


def test_the_steps_of_large_images_are_sought_by_some_of_them(
    finished_run: RunFolder, tiny: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_all = calibrate(finished_run, tiny, dataset)
    monkeypatch.setattr("training.release.calibrate._MAX_SOUGHT_VALUES", 100 * 784)
    by_some = calibrate(finished_run, tiny, dataset)
    assert by_some.float_rmse == by_all.float_rmse
    assert by_some.rmse - by_some.float_rmse == pytest.approx(by_all.rmse - by_all.float_rmse, rel=0.2)


def test_no_graph_gets_more_values_at_once_than_memory_is_meant_for(
    finished_run: RunFolder, tiny: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, rows = calibrate(finished_run, tiny, dataset), []
    run = OnnxModel.run

    def counted(self: OnnxModel, values: Floats) -> Floats:
        rows.append(len(values))
        return run(self, values)

    monkeypatch.setattr(OnnxModel, "run", counted)
    monkeypatch.setattr("training.release.calibrate._MAX_SLOPE_RUNS", 140)
    monkeypatch.setattr("training.batches.MAX_BATCH_VALUES", 7 * 784)
    found = calibrate(finished_run, tiny, dataset)
    with staged_model(finished_run, dataset) as folder:
        evaluate_model(folder, dataset)
        fit_limits(folder, split_training(dataset, tiny))
    assert max(rows) == 7
    assert found.float_rmse == pytest.approx(usual.float_rmse)
