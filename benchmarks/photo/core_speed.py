"""How fast a core computes convolutions, so that times of other cores can be compared with those of this one."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.model.onnx_session import open_map_graph
from training.release.model_dir import graph_file

CHANNELS, SIDE = 96, 64
RUNS = 15


def measure_core() -> float:
    """Return the multiplications of a 3 x 3 convolution in float32, in thousand millions a second of processor time.

    It is one of 96 channels to as many, as in the network, by onnxruntime with one thread; the median of 15 runs.
    """
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "convolution.onnx"
        _write_convolution(path, random.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32))
        graph = open_map_graph(path, graph_file(path), {"values": CHANNELS}, {"sums": CHANNELS})
    values = random.standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32)
    seconds = []
    for _ in range(RUNS + 1):
        begun = time.process_time()
        graph.run("sums", values=values)
        seconds.append(time.process_time() - begun)
    return 9 * CHANNELS**2 * SIDE**2 / float(np.median(seconds[1:])) / 1e9


def _write_convolution(path: Path, kernel: np.ndarray) -> None:
    values, sums = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, "height", "width"])
        for name in ("values", "sums")
    )
    node = helper.make_node("Conv", ["values", "kernel"], ["sums"], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "convolution", [values], [sums], [numpy_helper.from_array(kernel, "kernel")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
