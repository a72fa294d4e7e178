"""Codes of the training images -> the quantizer and the frequency tables of the model card.

How much the picture changes with each coordinate decides the proportion of their steps; the RMSE of the validation
images decides the size of all. The codes come from the exported graph, as in use.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from tqdm import trange

from latentwire.entropy import quantizer
from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.errors import UncodableImage
from latentwire.imaging import image
from latentwire.model.card import FrequencyTable, ImageShape, UniformQuantizer
from latentwire.model.onnx_session import OnnxModel, open_onnx
from training.batches import parts
from training.data.datasets import Dataset, split_training
from training.data.images import Images
from training.errors import InvalidRecipe, InvalidRun
from training.recipe import Recipe, make_recipe
from training.release.frequency_tables import count_tables
from training.release.model_dir import graph_file
from training.runs import RunFolder

# Number of codes around which the decoder's slopes are measured, and bounds on the images that the decoder may make for
# it, and on their values.
_SLOPE_CODES = 256
_LEAST_SLOPE_CODES = 2
_MAX_SLOPE_RUNS = 16_384
_MAX_SLOPE_VALUES = 1 << 26

# Bound on the values of the validation images by which the steps are sought; and the least number of images.
_MAX_SOUGHT_VALUES = 1 << 24
_LEAST_SOUGHT_IMAGES = 16

# Offset to either side between which a slope is measured, in standard deviations of the coordinate.
_SLOPE_OFFSET = 0.1

# Factor around the theoretical scale of all steps within which bisection searches, and its halvings.
_SCALE_FACTOR = 8.0
_HALVINGS = 10

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_TABLES = TypeAdapter(tuple[FrequencyTable, ...])


class Calibration(NamedTuple):
    """A quantizer, its tables, the validation images' RMSE per pixel without and with it, and their rate in bits."""

    quantizer: UniformQuantizer
    tables: tuple[FrequencyTable, ...]
    float_rmse: float
    rmse: float
    ideal_bits: float


def calibrate_run(run: RunFolder, dataset: Dataset, max_rmse_increase: float | None = None) -> dict[str, Any]:
    """Fit the quantizer and the tables of a run's graphs, and return the content of `quantizer.json`.

    Args:
        run: the run, with both graphs.
        dataset: the data set of its recipe.
        max_rmse_increase: a bound in place of the recipe's.

    Raises:
        InvalidRun: the run was not exported yet.
        InvalidRecipe: `max_rmse_increase` is not above 0, or too small for any quantizer.
        CannotWrite: the disk is full, or the folder read-only.
    """
    run.read_json(run.export_file, "export")
    recipe = run.recipe()
    if max_rmse_increase is not None:
        recipe = make_recipe(recipe.model_dump(), {"max_rmse_increase": max_rmse_increase})
    calibration = calibrate(run, recipe, dataset)
    content = {
        "max_rmse_increase": recipe.max_rmse_increase,
        "quantizer": calibration.quantizer.model_dump(mode="json"),
        "tables": [table.model_dump(mode="json") for table in calibration.tables],
        "validation_float_rmse": calibration.float_rmse,
        "validation_rmse": calibration.rmse,
        "validation_ideal_bits": calibration.ideal_bits,
        "encoder_sha256": graph_file(run.encoder).sha256,
        "decoder_sha256": graph_file(run.decoder).sha256,
    }
    run.write_json(run.quantizer_file, content)
    return content


def load_calibration(run: RunFolder) -> tuple[UniformQuantizer, tuple[FrequencyTable, ...]]:
    """Read the quantizer and the tables of a calibrated run.

    Raises:
        InvalidRun: the run was not calibrated yet, or its file is damaged.
    """
    content = run.read_json(run.quantizer_file, "calibrate")
    try:
        return UniformQuantizer.model_validate(content.get("quantizer")), _TABLES.validate_python(content.get("tables"))
    except ValidationError as error:
        raise InvalidRun(
            f"{run.quantizer_file} is damaged; make it again with `python -m training calibrate {run}`"
        ) from error


def calibrate(run: RunFolder, recipe: Recipe, dataset: Dataset) -> Calibration:
    """Fit the coarsest quantizer that the recipe's `max_rmse_increase` allows, and count its tables."""
    split = split_training(dataset, recipe)
    encoder, decoder = _open(run, dataset.shape, recipe.code_size)
    y = codes_of(encoder, split.train.pixels, "calibrate: codes")
    validation_y = codes_of(encoder, split.validation.pixels)

    def quantized_rmse(parameters: UniformQuantizer, y: Floats, images: Images) -> float:
        y_hat = quantizer.dequantize(quantizer.quantize(y, parameters), parameters)
        return reconstruction_rmse(decoder, y_hat, images.pixels)

    float_rmse = reconstruction_rmse(decoder, validation_y, split.validation.pixels)
    if recipe.rate_lambda > 0:
        # The graphs of a run with a rate have codes in units of the step.
        parameters = UniformQuantizer(low=(0.0,) * recipe.code_size, step=(1.0,) * recipe.code_size)
    else:
        values = math.prod(dataset.shape.as_tuple())
        slopes = slopes_of(decoder, y, values)
        mse_increase = recipe.max_rmse_increase * (2 * float_rmse + recipe.max_rmse_increase)
        # A uniform error within a step has a variance of step²/12; each coordinate adds as much to the picture.
        expected = math.sqrt(12 * mse_increase * values / recipe.code_size)
        count = max(_LEAST_SOUGHT_IMAGES, _MAX_SOUGHT_VALUES // values)
        chosen = _spread_out(len(split.validation), count)
        some, some_y = split.validation.take(chosen), validation_y[chosen]
        bound = reconstruction_rmse(decoder, some_y, some.pixels) + recipe.max_rmse_increase
        scale = _coarsest(lambda scale: quantized_rmse(even_steps(y, slopes, scale), some_y, some) <= bound, expected)
        parameters = even_steps(y, slopes, scale)
    tables = count_tables(quantizer.quantize(y, parameters))
    ideal_bits = ArithmeticCoder(tables).ideal_bits(quantizer.quantize(validation_y, parameters)).mean()
    rmse = quantized_rmse(parameters, validation_y, split.validation)
    return Calibration(parameters, tables, float_rmse, rmse, float(ideal_bits))


def slopes_of(decoder: OnnxModel, y: Floats, values: int) -> Doubles:
    """Return how much pictures of `values` values change with each coordinate of codes, float32 (N, code size).

    Returns:
        float64 (code size): the root of the mean, around some of the codes, of the squared change of x_hat, summed over
        its values, for each squared change of the coordinate, by finite differences.
    """
    size = y.shape[1]
    runs = min(_MAX_SLOPE_RUNS, _MAX_SLOPE_VALUES // values)
    around = y[_spread_out(len(y), max(_LEAST_SLOPE_CODES, min(_SLOPE_CODES, runs // (2 * size))))]
    offsets = _SLOPE_OFFSET * y.std(axis=0, dtype=np.float64)
    slopes = np.zeros(size)
    for index in trange(size, desc="calibrate: slopes", unit="number", leave=False, delay=1.0, disable=None):
        offset = np.zeros(size, dtype=np.float32)
        offset[index] = offsets[index] or 1.0
        change = decoder.run(around + offset).astype(np.float64) - decoder.run(around - offset)
        slopes[index] = math.sqrt(np.square(change).sum() / len(around)) / (2 * float(offset[index]))
    return slopes


def even_steps(y: Floats, slopes: Doubles, scale: float) -> UniformQuantizer:
    """Return the quantizer whose steps change the picture by `scale` each, with a level at each coordinate's mean.

    At the best rate, each coordinate adds the same distortion (high-resolution theory; Gersho & Gray 1992, "Vector
    Quantization and Signal Compression", chapter 8). A coordinate that the picture hardly depends on gets so wide a
    step that it is always symbol 0.
    """
    middle = y.mean(axis=0, dtype=np.float64)
    reach = np.abs(y - middle).max(axis=0)
    widest = 4 * reach + 1
    step = scale / np.maximum(slopes, scale / widest)
    return UniformQuantizer(low=tuple(middle.tolist()), step=tuple(step.tolist()))


def _coarsest(is_fine_enough: Callable[[float], bool], expected: float) -> float:
    """Return the greatest scale, within a factor of what is expected, that is fine enough, by bisection.

    Raises:
        InvalidRecipe: none is.
    """
    coarse = math.log(expected * _SCALE_FACTOR)
    fine = math.log(expected / _SCALE_FACTOR)
    try:
        while not is_fine_enough(math.exp(fine)):
            fine -= math.log(_SCALE_FACTOR)
    except UncodableImage as error:
        raise InvalidRecipe("no quantizer is fine enough for so small a max_rmse_increase") from error
    for _ in range(_HALVINGS):
        middle = (fine + coarse) / 2
        fine, coarse = (middle, coarse) if is_fine_enough(math.exp(middle)) else (fine, middle)
    return math.exp(fine)


def codes_of(encoder: OnnxModel, pixels: image.Pixels, doing: str = "") -> Floats:
    """Return the codes, float32 (N, code size), of uint8 (N, H, W, C) pixels."""
    return np.concatenate(
        [encoder.run(image.to_x(pixels[part])) for part in parts(len(pixels), pixels.shape[1:], doing)]
    )


def reconstruction_rmse(decoder: OnnxModel, y_hat: Floats, pixels: image.Pixels) -> float:
    """Return the RMSE per pixel, in [0, 1], between what codes decode to and uint8 (N, H, W, C) pixels."""
    total = 0.0
    for part in parts(len(pixels), pixels.shape[1:]):
        error = decoder.run(y_hat[part]).astype(np.float64) - image.to_x(pixels[part])
        total += float(np.square(error).sum())
    return math.sqrt(total / pixels.size)


def _spread_out(count: int, at_most: int) -> npt.NDArray[np.int64]:
    """Return evenly spaced indices of at most so many of `count` rows."""
    return np.linspace(0, count - 1, min(count, at_most)).astype(np.int64)


def _open(run: RunFolder, shape: ImageShape, code_size: int) -> tuple[OnnxModel, OnnxModel]:
    x_shape, y_shape = (shape.channels, shape.height, shape.width), (code_size,)
    if not run.encoder.is_file() or not run.decoder.is_file():
        raise InvalidRun(f"{run} has no graphs; make them with `python -m training export {run}`")
    return (
        open_onnx(run.encoder, graph_file(run.encoder), x_shape, y_shape),
        open_onnx(run.decoder, graph_file(run.decoder), y_shape, x_shape),
    )
