"""Opens ONNX files. The only module that imports onnxruntime.

A file is opened only if its bytes have the SHA-256 in the model card, and if its inputs and outputs are those that the
card's kind of model has. A vector model's graphs have one float32 input and one float32 output of the card's shapes,
with a free batch axis; those of a model for images of any size have named inputs and outputs of free height and width.
"""

import ctypes
import os
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

# Since 1.29, importing onnxruntime starts a thread that reports its use to Microsoft, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from latentwire.cancelling import check_cancelled
from latentwire.errors import InvalidGraph
from latentwire.model.card import DECODER_FILE, ENCODER_FILE, GraphFile, ModelCard
from latentwire.model.model_files import read_file
from latentwire.timing import timed_stage

Floats = npt.NDArray[np.float32]
# Of glibc's malloc.h: from how many bytes on a block is given back to the system by itself, and how many free ones
# among smaller blocks stay. New memory costs time: an eighth of a photograph's.
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 32 << 20
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 64 << 20
# The memory for a run of a graph of feature maps stays with the graph, up to an input of so many values: those of a
# picture of 362 × 362 pixels. Tiles of large pictures take 100 MB and more.
_MOST_KEPT_VALUES = 3 << 17
# A graph of one `MatMulInteger`, version 10: a, uint8 (m, k), b, int8 (k, n) -> y, int32 (m, n).
_PRODUCT = b64decode(
    "CAg6YgoYCgFhCgFiEgF5Ig1NYXRNdWxJbnRlZ2VyEgFnWhUKAWESEAoOCAISCgoDEgFtCgMSAWtaFQoBYhIQCg4IAxIKCgMSAWsKAxIBbmIVCgF5"
    "EhAKDggGEgoKAxIBbQoDEgFuQgQKABAK"
)
Half = Literal["encoder", "decoder"]
# The name of those feature maps that are an image.
PIXELS = "pixels"
Maps = Floats | npt.NDArray[np.uint8]


class OnnxModel:
    """An opened graph: float32 (N, *input_shape) -> float32 (N, *output_shape). Several threads may run it at once."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [session.get_outputs()[0].name]

    @timed_stage("infer")
    def run(self, values: Floats) -> Floats:
        """Return the output for a batch. The caller ensures that `values` has the input's shape."""
        result: Floats = self._session.run(self._outputs, {self._input: values})[0]
        return result


# Models that differ in their quantizers alone share their graphs. The key is all that was checked of a graph.
_opened: WeakValueDictionary[tuple[str, tuple[int, ...], tuple[int, ...], int], OnnxModel] = WeakValueDictionary()


def open_half(folder: Path, card: ModelCard, half: Half, threads: int = 1) -> OnnxModel:
    """Open the encoder's or the decoder's graph of the model in `folder`; see `open_onnx`."""
    x_shape = (card.image.channels, card.image.height, card.image.width)
    y_shape = (card.code_size,)
    if half == "encoder":
        return open_onnx(folder / ENCODER_FILE, card.encoder, x_shape, y_shape, threads)
    return open_onnx(folder / DECODER_FILE, card.decoder, y_shape, x_shape, threads)


def open_onnx(
    path: Path,
    expected: GraphFile,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    threads: int = 1,
) -> OnnxModel:
    """Open a graph after checking its hash and its signature. Files with the same bytes share one graph.

    Args:
        path: the ONNX file.
        expected: its hash and size, from the card.
        input_shape: of one element of the batch.
        output_shape: of one element of the batch.
        threads: number of threads that onnxruntime may use within one run; small graphs are fastest with 1.

    Raises:
        MissingGraph: the file is missing.
        InvalidGraph: the file is not the one in the card, or has other inputs and outputs than these.
    """
    data = read_file(path, expected)
    key = (expected.sha256, input_shape, output_shape, threads)
    if (model := _opened.get(key)) is not None:
        return model
    what = f"{path.name} of model '{path.parent.name}'"
    session = _open_session(what, data, threads)
    _check_signature(what, "input", session.get_inputs(), input_shape)
    _check_signature(what, "output", session.get_outputs(), output_shape)
    model = _opened[key] = OnnxModel(session)
    return model


class MapGraph:
    """An opened graph of feature maps, float32 (1, channels, h, w) each, with named inputs and outputs.

    Those with the name `PIXELS` are uint8 (1, h, w, 3). Several threads may run it at once.
    """

    def __init__(self, session: onnxruntime.InferenceSession, inputs: Mapping[str, int], side: int) -> None:
        self._session = session
        # Parts of a graph share nothing; those that a run is not about get the smallest input.
        self._nothing = {
            name: np.zeros((1, side, side, 3), np.uint8)
            if name == PIXELS
            else np.zeros((1, channels, side, side), np.float32)
            for name, channels in inputs.items()
        }

    @timed_stage("infer")
    def run(self, output: str, *, keep_memory: bool = False, **inputs: Maps) -> Any:
        """Return one output, float32 or uint8; inputs that are not given do not bear on it.

        Args:
            output: its name.
            keep_memory: a run of as large inputs follows soon.
            inputs: values by the names of inputs.

        Raises:
            Cancelled: the work that this is a step of was given up.
        """
        check_cancelled()
        options = onnxruntime.RunOptions()
        if not keep_memory and max(values.size for values in inputs.values()) > _MOST_KEPT_VALUES:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return self._session.run([output], {**self._nothing, **inputs}, options)[0]


def open_map_graph(
    path: Path,
    expected: GraphFile,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    threads: int = 1,
    side: int = 1,
) -> MapGraph:
    """Open a graph of feature maps after checking its hash and its signature.

    Args:
        path: the ONNX file.
        expected: its hash and size, from the card.
        inputs: number of channels by name.
        outputs: number of channels by name.
        threads: number of threads that onnxruntime may use within one run.
        side: the smallest height and width that all inputs can have.

    Raises:
        MissingGraph: the file is missing.
        InvalidGraph: the file is not the one in the card, or has other inputs and outputs than these.
    """
    _give_back_large_blocks()
    data = read_file(path, expected)
    what = f"{path.name} of model '{path.parent.name}'"
    session = _open_session(what, data, threads, maps=True)
    _check_maps(what, "inputs", session.get_inputs(), inputs)
    _check_maps(what, "outputs", session.get_outputs(), outputs)
    return MapGraph(session, inputs, side)


@cache
def _give_back_large_blocks() -> None:
    """Have large blocks given back to the system once they are free, as large images take many of them.

    glibc by itself gives back less and less: it keeps blocks of up to 32 MiB, 100 MB and more in all.
    """
    # Other C libraries have no such function, or do nothing.
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


@cache
def multiplies_bytes_exactly() -> bool:
    """Return whether onnxruntime's fastest products of integers of 8 bits are exact on this processor.

    Those of x86 processors without VNNI add pairs of products in 16 bits, which is wrong beyond 32,767. There, the
    option `session.x64quantprecision` takes exact ones, which are slower.
    """
    session = onnxruntime.InferenceSession(_PRODUCT, providers=["CPUExecutionProvider"])
    largest = np.full((8, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    products = session.run(None, dict(zip("ab", largest, strict=True)))[0]
    return bool((products == 64 * 255 * 127).all())


def _open_session(what: str, data: bytes, threads: int, maps: bool = False) -> onnxruntime.InferenceSession:
    """Open a graph; one of feature maps has inputs of any size, and may have products of integers of 8 bits."""
    options = onnxruntime.SessionOptions()
    # A memory pattern is kept for each shape of the inputs, and is for graphs of one shape.
    options.enable_mem_pattern = not maps
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if maps:
        options.add_session_config_entry("session.x64quantprecision", "0" if multiplies_bytes_exactly() else "1")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's own errors have no common base but this one
        raise InvalidGraph(f"{what} is not a graph that onnxruntime can open") from error


def _check_maps(what: str, side: str, arguments: Sequence[onnxruntime.NodeArg], expected: Mapping[str, int]) -> None:
    found = {argument.name: (argument.type, argument.shape) for argument in arguments}
    if found.keys() != expected.keys() or not all(_is_map(name, *found[name], expected[name]) for name in found):
        raise InvalidGraph(
            f"{what} has the {side} {found}; its tables require float32 (1, channels, height, width), and of {PIXELS} "
            f"uint8 (1, height, width, channels), with these channels: {dict(expected)}"
        )


def _is_map(name: str, kind: str, shape: Sequence[object], channels: int) -> bool:
    if len(shape) != 4:
        return False
    if name == PIXELS:
        one, height, width, found = shape
    else:
        one, found, height, width = shape
    is_free = not isinstance(height, int) and not isinstance(width, int)
    return kind == f"tensor({'uint8' if name == PIXELS else 'float'})" and (one, found) == (1, channels) and is_free


def _check_signature(
    what: str, side: str, arguments: list[onnxruntime.NodeArg], expected_shape: tuple[int, ...]
) -> None:
    found = [(argument.type, argument.shape) for argument in arguments]
    if len(found) == 1:
        kind, shape = found[0]
        if kind == "tensor(float)" and not isinstance(shape[0], int) and tuple(shape[1:]) == expected_shape:
            return
    raise InvalidGraph(f"{what} has the {side} {found}; its card requires one float32 (batch, {expected_shape})")
