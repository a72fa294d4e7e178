"""Codes of the training images -> the quantiser of the model card.

All coordinates have the same number of levels. How much a coordinate matters to the picture then has no part in which
levels are best for it, so each gets those with the least squared error of its own codes. How many bits are enough is
told by the validation images' reconstructions. Knows no torch: the codes come from the exported graph, as in use.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from codec import image, quantiser
from codec.model_card import ImageShape, UniformQuantiser
from codec.sessions import Graph, open_graph
from training.datasets import Dataset, split_training
from training.errors import InvalidRecipe, InvalidRun
from training.publish import graph_file
from training.recipe import Recipe
from training.run_folder import RunFolder

MAX_BITS = 16
BATCH = 500

# Enough to tell the levels, and few enough to try many.
_MAX_FITTED_VALUES = 2_000_000
_MIN_FITTED_CODES = 1_000

# Fractions of the codes on either side that lie beyond the outermost level at the start of a fit.
_CLIPPED = (0.0, 1e-4, 1e-3, 5e-3, 2e-2, 6e-2)
_ROUNDS = 20

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class Calibration(NamedTuple):
    """A quantiser, and the RMSE per pixel of the validation images without and with it."""

    quantiser: UniformQuantiser
    float_rmse: float
    rmse: float


def calibrate_run(run: RunFolder, dataset: Dataset, bits: int | None = None) -> dict[str, Any]:
    """Fit the quantiser of a run's graphs, and return what `quantiser.json` holds.

    Args:
        run: with both graphs.
        dataset: of its recipe.
        bits: of each symbol, in place of the recipe's; 0 takes the fewest that are enough.

    Raises:
        InvalidRun: the run was not exported yet.
        InvalidRecipe: no number of bits keeps the error within the recipe's bound.
        CannotWrite: the disk is full, or the folder read-only.
    """
    run.read_json(run.export_file, "export")
    recipe = run.recipe()
    asked_bits = recipe.bits if bits is None else bits
    calibration = calibrate(run, recipe, dataset, asked_bits)
    content = {
        "asked_bits": asked_bits,
        "quantiser": calibration.quantiser.model_dump(mode="json"),
        "validation_float_rmse": calibration.float_rmse,
        "validation_rmse": calibration.rmse,
        "encoder_sha256": graph_file(run.encoder).sha256,
        "decoder_sha256": graph_file(run.decoder).sha256,
    }
    run.write_json(run.quantiser_file, content)
    return content


def load_quantiser(run: RunFolder) -> UniformQuantiser:
    """Read the quantiser of a calibrated run.

    Raises:
        InvalidRun: the run was not calibrated yet, or its file is damaged.
    """
    content = run.read_json(run.quantiser_file, "calibrate")
    try:
        return UniformQuantiser.model_validate(content.get("quantiser"))
    except ValidationError as error:
        raise InvalidRun(
            f"{run.quantiser_file} is damaged; make it anew with `python -m training calibrate {run}`"
        ) from error


def calibrate(run: RunFolder, recipe: Recipe, dataset: Dataset, bits: int) -> Calibration:
    """Fit a quantiser of `bits` bits, or for 0 bits of the fewest that the recipe's `max_rmse_increase` allows."""
    split = split_training(dataset, recipe)
    encoder, decoder = _open(run, dataset.shape, recipe.code_size)
    fitted_codes = max(_MIN_FITTED_CODES, _MAX_FITTED_VALUES // recipe.code_size)
    y = codes_of(encoder, split.train.pixels[:fitted_codes])
    validation_y = codes_of(encoder, split.validation.pixels)

    def rmse(y_hat: Floats) -> float:
        return reconstruction_rmse(decoder, y_hat, split.validation.pixels)

    float_rmse = rmse(validation_y)
    for candidate in (bits,) if bits else range(1, MAX_BITS + 1):
        parameters = fit_levels(y, candidate)
        found = rmse(quantiser.dequantise(quantiser.quantise(validation_y, parameters), parameters))
        if bits or found <= float_rmse + recipe.max_rmse_increase:
            return Calibration(parameters, float_rmse, found)
    raise InvalidRecipe(
        f"even {MAX_BITS} bits raise the RMSE by more than max_rmse_increase, {recipe.max_rmse_increase}"
    )


def fit_levels(y: npt.NDArray[np.floating], bits: int) -> UniformQuantiser:
    """Fit evenly spaced levels to each coordinate of codes, floats (N, code size), by least squared error.

    Lloyd's iteration (Lloyd 1982, "Least squares quantization in PCM") with levels kept evenly spaced: each value goes
    to its nearest level, then the line through (symbol, value) gives new levels. It only finds the nearest optimum, so
    it starts from several ranges, and each coordinate keeps its best. One that never changes gets a step of 1.
    """
    wide = y.astype(np.float64)
    best_error = np.full(wide.shape[1], math.inf)
    best_low, best_step = wide.mean(axis=0), np.ones(wide.shape[1])
    for clipped in _CLIPPED:
        low, high = np.quantile(wide, (clipped, 1 - clipped), axis=0)
        step = (high - low) / (2**bits - 1)
        for _ in range(_ROUNDS):
            step = np.where(step > 0, step, 1.0)
            symbols = np.clip(np.rint((wide - low) / step), 0, 2**bits - 1)
            error = np.square(low + symbols * step - wide).mean(axis=0)
            better = error < best_error
            best_error = np.where(better, error, best_error)
            best_low, best_step = np.where(better, low, best_low), np.where(better, step, best_step)
            if not better.any():
                break
            low, step = _line(symbols, wide)
    return UniformQuantiser(bits=bits, low=tuple(best_low.tolist()), step=tuple(best_step.tolist()))


def codes_of(encoder: Graph, pixels: image.Pixels) -> Floats:
    """Return the codes, float32 (N, code size), of uint8 (N, H, W, C) pixels."""
    return _in_batches(lambda part: encoder.run(image.to_x(part)), pixels)


def reconstruction_rmse(decoder: Graph, y_hat: Floats, pixels: image.Pixels) -> float:
    """Return the RMSE per pixel, in [0, 1], between what codes decode to and uint8 (N, H, W, C) pixels."""
    total = 0.0
    for start in range(0, len(pixels), BATCH):
        part = slice(start, start + BATCH)
        error = decoder.run(y_hat[part]).astype(np.float64) - image.to_x(pixels[part])
        total += float(np.square(error).sum())
    return math.sqrt(total / pixels.size)


def _line(symbols: Doubles, values: Doubles) -> tuple[Doubles, Doubles]:
    """Return intercept and slope of the least-squares line of each column; a slope of 0 where all symbols are equal."""
    mean_symbol, mean_value = symbols.mean(axis=0), values.mean(axis=0)
    offset = symbols - mean_symbol
    spread = np.square(offset).mean(axis=0)
    slope = (offset * (values - mean_value)).mean(axis=0) / np.where(spread > 0, spread, 1.0)
    return mean_value - slope * mean_symbol, slope


def _in_batches(compute: Callable[[image.Pixels], Floats], pixels: image.Pixels) -> Floats:
    return np.concatenate([compute(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])


def _open(run: RunFolder, shape: ImageShape, code_size: int) -> tuple[Graph, Graph]:
    x_shape, y_shape = (shape.channels, shape.height, shape.width), (code_size,)
    if not run.encoder.is_file() or not run.decoder.is_file():
        raise InvalidRun(f"{run} has no graphs; make them with `python -m training export {run}`")
    return (
        open_graph(run.encoder, graph_file(run.encoder), x_shape, y_shape),
        open_graph(run.decoder, graph_file(run.decoder), y_shape, x_shape),
    )
