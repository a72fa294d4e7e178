"""A run's best checkpoint -> `encoder.onnx` and `decoder.onnx`, which are compared with the network.

Each graph is one file with a free batch axis; BatchNorm is folded into the layers before it. The files hold no
trace of the machine that made them.
"""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from latentwire.imaging import image
from latentwire.model.card import ImageShape
from latentwire.model.onnx_session import open_onnx
from training.architectures import build_autoencoder
from training.atomic import write_atomically
from training.batches import part_size, parts
from training.data.datasets import Dataset, split_training
from training.errors import ExportError, InvalidCheckpoint
from training.loop.checkpoints import load_checkpoint
from training.recipe.recipe import Recipe, WeightsName
from training.release.graph_notes import annotate
from training.release.model_dir import graph_file
from training.runs import RunFolder

# The exporter's native opset, which onnxruntime reads since version 1.14.
OPSET = 18

MAX_DIFFERENCE = 1e-4
BATCH_SIZES = (1, 2, 33)

# Bound on the RMSE that weights in fewer bits add, and number of validation images that measure it.
MAX_RMSE_CHANGE = 1e-4
_MEASURED_IMAGES = 2000

# Tensors of fewer values stay in float32.
_MIN_SHORTENED_VALUES = 256

Floats = npt.NDArray[np.float32]


class _Half(NamedTuple):
    """One graph to be made: its file, the torch module, and names and shapes of input and output."""

    path: Path
    module: nn.Module
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def export_run(run: RunFolder, dataset: Dataset) -> dict[str, Any]:
    """Write both graphs of a run, compare them with torch on test images, and return the content of `export.json`.

    Raises:
        InvalidRun, InvalidCheckpoint: the run has no usable best checkpoint, or one for other images.
        ExportError: a graph differs from the network by 1e-4 or more (of its largest number, if that is above 1), or
            weights in fewer bits change the RMSE by as much; neither graph is written then.
        CannotWrite: the disk is full, or the folder read-only.
    """
    recipe = run.recipe()
    checkpoint = load_checkpoint(run.best, recipe)
    shape = dataset.shape
    if tuple(checkpoint.shape) != shape.as_tuple():
        raise InvalidCheckpoint(f"the checkpoint {run.best} is not for images of {shape}, as {dataset.name} has them")
    model = build_autoencoder(recipe, shape)
    try:
        model.load_state_dict(checkpoint.ema_weights)
    except RuntimeError as error:
        raise InvalidCheckpoint(f"the checkpoint {run.best} does not fit the network of its recipe") from error
    model.eval()
    best_epoch, best_rmse = checkpoint.best_epoch, checkpoint.best_rmse
    del checkpoint  # with the optimiser's state, which takes three times the memory of the weights

    checkpoint_sha256, sizes = run.best_sha256(), compared_batch_sizes(shape)
    x = image.to_x(dataset.test.pixels[: max(sizes)])
    with torch.no_grad():
        y: Floats = model.encoder(torch.from_numpy(x)).numpy()
    halves = _halves(run, model, shape, recipe.code_size)
    drafts = [half._replace(path=half.path.with_name(f".draft-{half.path.name}")) for half in halves]
    try:
        for draft in drafts:
            write_atomically(draft.path, _with_notes(_to_onnx(draft), recipe, shape, checkpoint_sha256))
        differences = [_difference(draft, values, sizes) for draft, values in zip(drafts, (x, y), strict=True)]
        rmse_change = 0.0
        if recipe.weights != "float32":
            # After the comparison with torch, because this changes more than a wrong graph would.
            pixels = split_training(dataset, recipe).validation.pixels[:_MEASURED_IMAGES]
            before = _rmse(drafts, pixels)
            for draft in drafts:
                write_atomically(draft.path, _shortened(draft.path.read_bytes(), recipe.weights))
            rmse_change = _rmse(drafts, pixels) - before
            if not abs(rmse_change) < MAX_RMSE_CHANGE:
                raise ExportError(
                    f"weights in {recipe.weights} change the RMSE by {rmse_change:.2g}, and less than "
                    f"{MAX_RMSE_CHANGE:g} is allowed; set weights to float32"
                )
        for draft, half in zip(drafts, halves, strict=True):
            draft.path.replace(half.path)
    finally:
        for draft in drafts:
            draft.path.unlink(missing_ok=True)
    report = {
        "checkpoint_sha256": checkpoint_sha256,
        "best_epoch": best_epoch,
        "validation_rmse": best_rmse,
        "opset": OPSET,
        "compared_batch_sizes": list(sizes),
        "weights": recipe.weights,
        "rmse_change_by_weights": rmse_change,
        "encoder": {**graph_file(run.encoder).model_dump(), "max_difference": differences[0]},
        "decoder": {**graph_file(run.decoder).model_dump(), "max_difference": differences[1]},
    }
    run.write_json(run.export_file, report)
    return report


def compared_batch_sizes(shape: ImageShape) -> tuple[int, ...]:
    """Return the sizes of the batches with which graphs are compared with torch, smaller ones for large images."""
    return tuple(sorted({min(size, part_size(shape.as_tuple())) for size in BATCH_SIZES}))


def _halves(run: RunFolder, model: nn.Module, shape: ImageShape, code_size: int) -> tuple[_Half, _Half]:
    height, width, channels = shape.as_tuple()
    x_shape, y_shape = (channels, height, width), (code_size,)
    return (
        _Half(run.encoder, model.get_submodule("encoder"), "x", "y", x_shape, y_shape),
        _Half(run.decoder, model.get_submodule("decoder"), "y", "x_hat", y_shape, x_shape),
    )


def _to_onnx(half: _Half) -> bytes:
    # A batch of two, because the exporter takes one of 1 for a fixed size.
    example = torch.zeros(2, *half.input_shape)
    with _quiet_exporter():
        program = torch.onnx.export(
            half.module,
            (example,),
            dynamo=True,
            input_names=[half.input_name],
            output_names=[half.output_name],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise ExportError(f"torch made no graph for {half.path.name}")
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _with_notes(content: bytes, recipe: Recipe, shape: ImageShape, checkpoint_sha256: str) -> bytes:
    model = onnx.load_from_string(content)
    annotate(model, recipe, shape, checkpoint_sha256)
    return bytes(model.SerializeToString(deterministic=True))


def _shortened(content: bytes, weights: WeightsName) -> bytes:
    """Store a graph's larger weights in fewer bits; onnxruntime makes them float32 again when it opens the graph.

    float16 is a cast. int8 has a factor for each slice along the first axis, whose largest number becomes 127.
    """
    model = onnx.load_from_string(content)
    nodes, factors = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _MIN_SHORTENED_VALUES:
            continue
        name, stored = tensor.name, f"{tensor.name}.{weights}"
        if weights == "float16":
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
            nodes.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
            continue
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        factor = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.rint(values / factor).astype(np.int8), stored))
        factors.append(onnx.numpy_helper.from_array(factor, f"{name}.factor"))
        nodes.append(onnx.helper.make_node("Cast", [stored], [f"{name}.whole"], to=onnx.TensorProto.FLOAT))
        nodes.append(onnx.helper.make_node("Mul", [f"{name}.whole", f"{name}.factor"], [name]))
    model.graph.initializer.extend(factors)
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _rmse(halves: list[_Half], pixels: image.Pixels) -> float:
    """Return the RMSE per pixel, in [0, 1], of images that go through both graphs with float codes."""
    encoder, decoder = (
        open_onnx(half.path, graph_file(half.path), half.input_shape, half.output_shape) for half in halves
    )
    squares = 0.0
    for part in parts(len(pixels), pixels.shape[1:]):
        x = image.to_x(pixels[part])
        squares += float(np.square(decoder.run(encoder.run(x)).astype(np.float64) - x).sum())
    return math.sqrt(squares / pixels.size)


def _strip(model: onnx.ModelProto) -> None:
    """Remove what only debugging needs: stack traces with this machine's paths, names of Python classes."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")


def _difference(half: _Half, values: Floats, sizes: Sequence[int]) -> float:
    """Return the largest absolute difference between graph and network over all batch sizes.

    Raises:
        ExportError: it is not below 1e-4, or 1e-4 of the largest number if that is above 1.
    """
    graph = open_onnx(half.path, graph_file(half.path), half.input_shape, half.output_shape)
    largest = 0.0
    for size in sizes:
        batch = np.resize(values, (size, *half.input_shape))
        with torch.no_grad():
            expected: Floats = half.module(torch.from_numpy(batch)).numpy()
        difference = float(np.abs(graph.run(batch) - expected).max())
        # Codes in units of fine steps are large numbers, whose absolute precision in float32 is lower.
        if not difference < MAX_DIFFERENCE * max(1.0, float(np.abs(expected).max())):
            name = half.path.name.removeprefix(".draft-")
            raise ExportError(
                f"{name} differs from the network by {difference:.2g} for a batch of {size}; "
                f"less than {MAX_DIFFERENCE:g}, absolute or of the largest number, is allowed"
            )
        largest = max(largest, difference)
    return largest


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # The exporter logs that torchvision is not installed, which is not needed.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch.export uses an interface that torch deprecates.
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)
