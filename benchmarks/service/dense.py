"""An untrained model with a dense encoder of 784-512-128-10: a graph that takes little time beside the request itself.

Its weights are random, which does not change its speed.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.entropy import quantizer
from latentwire.imaging import image
from latentwire.model.card import ImageShape, UniformQuantizer
from latentwire.model.onnx_session import open_onnx
from training.data.synthetic import draw_digits
from training.release.frequency_tables import count_tables
from training.release.model_dir import graph_file, make_card, write_model

NAME = "dense-784-512-128-10"
SIZES = (784, 512, 128, 10)
SHAPE = ImageShape(height=28, width=28, channels=1)
LEVELS = 64


def publish_dense(models_dir: Path, scratch: Path) -> Path:
    """Write the model into `models_dir`, by way of `scratch`, and return its folder."""
    random = np.random.default_rng(0)
    pixels, _ = draw_digits(200, 1)
    encoder, decoder = scratch / "encoder.onnx", scratch / "decoder.onnx"
    x_shape, y_shape = (SHAPE.channels, SHAPE.height, SHAPE.width), (SIZES[-1],)
    _write_layers(encoder, SIZES, x_shape, y_shape, random)
    _write_layers(decoder, SIZES[::-1], y_shape, x_shape, random)
    y = open_onnx(encoder, graph_file(encoder), x_shape, y_shape).run(image.to_x(pixels)).astype(np.float64)
    step = np.maximum(np.ptp(y, axis=0), 1e-3) / (LEVELS - 1)
    parameters = UniformQuantizer(low=tuple(y.mean(axis=0).tolist()), step=tuple(step.tolist()))
    tables = count_tables(quantizer.quantize(y, parameters))
    return write_model(models_dir, make_card(NAME, encoder, decoder, SHAPE, parameters, tables), encoder, decoder)


def _write_layers(
    path: Path, sizes: tuple[int, ...], inputs: tuple[int, ...], outputs: tuple[int, ...], random: np.random.Generator
) -> None:
    """Write dense layers, with a sigmoid between each two, as a graph from (batch, *inputs) to (batch, *outputs)."""
    nodes = [helper.make_node("Flatten", ["values"], ["layer0"], axis=1)]
    constants = [numpy_helper.from_array(np.array([-1, *outputs], dtype=np.int64), "shape")]
    for number, (size, next_size) in enumerate(pairwise(sizes)):
        weight = random.normal(0, size**-0.5, (size, next_size)).astype(np.float32)
        constants += [
            numpy_helper.from_array(weight, f"weight{number}"),
            numpy_helper.from_array(np.zeros(next_size, np.float32), f"bias{number}"),
        ]
        source = f"layer{number}" if number == 0 else f"active{number}"
        nodes.append(helper.make_node("Gemm", [source, f"weight{number}", f"bias{number}"], [f"layer{number + 1}"]))
        nodes.append(helper.make_node("Sigmoid", [f"layer{number + 1}"], [f"active{number + 1}"]))
    last = f"active{len(sizes) - 1}" if len(outputs) > 1 else f"layer{len(sizes) - 1}"
    nodes.append(helper.make_node("Reshape", [last, "shape"], ["result"]))
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", *inputs])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", *outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
