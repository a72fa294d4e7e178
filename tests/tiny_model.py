"""Publishes tiny untrained models, so that tests of the codec and the service need no torch and no shipped model."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from latentwire.entropy import quantizer
from latentwire.imaging import image
from latentwire.model import onnx_session
from latentwire.model.card import (
    DECODER_FILE,
    ENCODER_FILE,
    ImageShape,
    ModelCard,
    Quality,
    UniformQuantizer,
    load_card,
)
from training.data.datasets import Dataset, TrainingSplit
from training.data.images import Images
from training.release.fit_guard import OodImages, make_guard
from training.release.frequency_tables import count_tables
from training.release.model_dir import draw_golden_image, graph_file, make_card, write_model

SHAPE = ImageShape(height=8, width=6, channels=1)
CODE_SIZE = 5
LEVELS = 64


def _write_linear(path: Path, weight: NDArray[np.float32], inputs: list[int], outputs: list[int]) -> None:
    """Write sigmoid(flatten(x) @ weight) - 0.5 + 0.5 as a graph from (batch, *inputs) to (batch, *outputs)."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        helper.make_node("Sigmoid", ["product"], ["squashed"]),
        helper.make_node("Reshape", ["squashed", "shape"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(weight, "weight"),
        numpy_helper.from_array(np.array([-1, *outputs], dtype=np.int64), "shape"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def publish_tiny_model(
    models_dir: Path, scratch: Path, name: str = "tiny", seed: int = 0, shape: ImageShape = SHAPE
) -> Path:
    """Publish a random linear autoencoder of `shape` under `models_dir/name`; return its folder."""
    scratch.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    height, width, channels = shape.as_tuple()
    values = height * width * channels
    encoder, decoder = scratch / "encoder.onnx", scratch / "decoder.onnx"
    weight = random.normal(size=(values, CODE_SIZE)).astype(np.float32) / np.float32(4)
    _write_linear(encoder, weight, [channels, height, width], [CODE_SIZE])
    _write_linear(decoder, np.float32(4) * weight.T, [CODE_SIZE], [channels, height, width])
    pixels = random.integers(0, 256, size=(64, height, width, channels), dtype=np.uint8)
    graph = onnx_session.open_onnx(encoder, graph_file(encoder), (channels, height, width), (CODE_SIZE,))
    training_pixels = np.concatenate([pixels, draw_golden_image(shape)[None]])
    y = graph.run(image.to_x(training_pixels)).astype(np.float64)
    step = np.maximum(np.ptp(y, axis=0), 1e-3) / (LEVELS - 1)
    parameters = UniformQuantizer(low=tuple(y.mean(axis=0).tolist()), step=tuple(step.tolist()))
    tables = count_tables(quantizer.quantize(y, parameters))
    description = "A random linear model for tests."
    card = make_card(name, encoder, decoder, shape, parameters, tables, description=description)
    return write_model(models_dir, card, encoder, decoder, replace=True)


def familiar_pixels(count: int, seed: int = 0, shape: ImageShape = SHAPE) -> image.Pixels:
    """The golden drawing, lighter, darker, a little noisy, uint8 (N, H, W, C): what a guarded model is for."""
    random = np.random.default_rng(seed)
    light = random.uniform(0.5, 0.9, size=(count, 1, 1, 1))
    noise = random.normal(0, 4, size=(count, *shape.as_tuple()))
    return np.clip(np.rint(light * draw_golden_image(shape) + noise), 0, 255).astype(np.uint8)


def strange_pixels(count: int, seed: int = 0, shape: ImageShape = SHAPE) -> image.Pixels:
    """Noise, uint8 (N, H, W, C): what a guarded model is not for."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, size=(count, *shape.as_tuple()), dtype=np.uint8)


def publish_guarded_model(
    models_dir: Path, scratch: Path, name: str = "guarded", seed: int = 0, shape: ImageShape = SHAPE
) -> Path:
    """Publish a tiny model with a guard of `familiar_pixels`, measured on `strange_pixels`; return its folder."""
    folder = publish_tiny_model(models_dir, scratch, name, seed, shape)
    labels = np.zeros(400, dtype=np.uint8)
    train, validation, test = (Images(familiar_pixels(400, seed, shape), labels) for seed in (1, 2, 3))
    dataset = Dataset("drawings", train, test)
    strange = OodImages("noise", strange_pixels(100, 4, shape))
    guard = make_guard(folder, dataset, TrainingSplit(train, validation), [strange])
    card = load_card(folder).model_copy(update={"guard": guard})
    return write_model(models_dir, card, folder / ENCODER_FILE, folder / DECODER_FILE, replace=True)


def with_quality(card: ModelCard, mse: float) -> ModelCard:
    """Return the card of a model that was measured to deliver with this mean squared error."""
    quality = Quality.from_means(
        dataset="drawings test",
        images=1,
        shape=SHAPE,
        float_mse=mse,
        mse=mse,
        ideal_bits=32,
        payload_bytes=4,
        bitstream_bytes=12,
    )
    return card.model_copy(update={"quality": quality})
