"""Opens ONNX graphs. The only file that knows onnxruntime.

A graph is opened only if its bytes have the SHA-256 that the card names, and if it has one float32 input and one
float32 output of the card's shapes, with a free batch axis.
"""

import os
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

# Since 1.29, importing it starts a thread that reports its use to Microsoft, unless this says no before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from latentwire.errors import InvalidGraph
from latentwire.model.card import GraphFile
from latentwire.model.model_files import read_onnx
from latentwire.timing import timed_stage

Floats = npt.NDArray[np.float32]


class OnnxModel:
    """One opened graph: float32 (N, *input_shape) -> float32 (N, *output_shape). Safe to run from several threads."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [session.get_outputs()[0].name]

    @timed_stage("infer")
    def run(self, values: Floats) -> Floats:
        """Compute the output for a batch. The shape of `values` is the caller's to keep."""
        result: Floats = self._session.run(self._outputs, {self._input: values})[0]
        return result


# By what was checked of them. Models may have the same graphs, and differ in their quantizers alone.
_opened: WeakValueDictionary[tuple[str, tuple[int, ...], tuple[int, ...], int], OnnxModel] = WeakValueDictionary()


def open_onnx(
    path: Path,
    expected: GraphFile,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    threads: int = 1,
) -> OnnxModel:
    """Open one graph after checking its hash and its signature; a file of the same bytes as another gives that graph.

    Args:
        path: the ONNX file.
        expected: its hash and size, from the card.
        input_shape: of one element of the batch.
        output_shape: the same.
        threads: that onnxruntime may use within one run; graphs this small are fastest with 1.

    Raises:
        MissingGraph: no such file.
        InvalidGraph: another file than the card names, or other inputs and outputs than these.
    """
    graph_bytes = read_onnx(path, expected)
    key = (expected.sha256, input_shape, output_shape, threads)
    if (graph := _opened.get(key)) is not None:
        return graph
    what = f"{path.name} of model '{path.parent.name}'"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no common base but this one
        raise InvalidGraph(f"{what} is not a graph that onnxruntime can open") from error
    _check_signature(what, "input", session.get_inputs(), input_shape)
    _check_signature(what, "output", session.get_outputs(), output_shape)
    graph = _opened[key] = OnnxModel(session)
    return graph


def _check_signature(
    what: str, side: str, arguments: list[onnxruntime.NodeArg], expected_shape: tuple[int, ...]
) -> None:
    found = [(argument.type, argument.shape) for argument in arguments]
    if len(found) == 1:
        kind, shape = found[0]
        if kind == "tensor(float)" and not isinstance(shape[0], int) and tuple(shape[1:]) == expected_shape:
            return
    raise InvalidGraph(f"{what} has the {side} {found}; its card asks for one float32 (batch, {expected_shape})")
