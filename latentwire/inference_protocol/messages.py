"""The body of a request for inference -> the body of its response.

A body is JSON, or JSON with the numbers of tensors behind it (the extension for binary tensors). A request names one
input and at most one output, as each graph has one of both.
"""

import json
import math
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentwire.errors import BatchTooLarge, InvalidTensor
from latentwire.format.json_object import first_fault, parse_json_object
from latentwire.inference_protocol.graphs import DATATYPE, Floats, Graph

BINARY_EXTENSION = "binary_tensor_data"
# Each becomes a Python object, of several times the bytes of a float32.
MAX_JSON_VALUES = 1 << 18
# For the fields beside the data.
_OTHER_COMMAS = 1000

_FLOAT32 = np.dtype("<f4")
_MAX_LENGTH_DIGITS = 9


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)


class _InputParameters(_Strict):
    # Others would change the meaning of the request, as those for shared memory do.
    model_config = ConfigDict(extra="forbid")

    binary_data_size: int | None = None


class _OutputParameters(_Strict):
    model_config = ConfigDict(extra="forbid")

    binary_data: bool | None = None


class _RequestParameters(_Strict):
    binary_data_output: bool = False


class _Input(_Strict):
    name: str
    datatype: str
    shape: list[int] = Field(max_length=8)
    parameters: _InputParameters = _InputParameters()
    data: list[Any] | None = None


class _Output(_Strict):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _Request(_Strict):
    id: str | None = Field(None, max_length=1024)
    parameters: _RequestParameters = _RequestParameters()
    inputs: list[_Input] = Field(min_length=1, max_length=16)
    outputs: list[_Output] = Field(default=[], max_length=16)


class Limits(NamedTuple):
    """How many elements a batch may have, and how many bytes its input and its output."""

    images: int
    tensor_bytes: int


class InferResponse(NamedTuple):
    """The body, and the bytes of the JSON in front of binary tensors; None if there is nothing but JSON."""

    content: bytes
    json_bytes: int | None


def infer(graph: Graph, body: bytes, json_length: bytes | None, limits: Limits) -> InferResponse:
    """Answer a request for inference.

    Args:
        graph: that the request names.
        body: of the request.
        json_length: value of the header `Inference-Header-Content-Length`; None without it.
        limits: of the batch.

    Raises:
        InvalidJson: the JSON cannot be read.
        InvalidTensor: the request is not one for this graph, or a number of its input or its output is not finite.
        BatchTooLarge: more than `limits`, or more numbers in JSON than `MAX_JSON_VALUES`.
    """
    end = len(body) if json_length is None else _json_end(body, json_length)
    commas = MAX_JSON_VALUES + _OTHER_COMMAS
    content = parse_json_object(body[:end], max_lists_and_objects=commas, max_commas=commas)
    try:
        request = _Request.model_validate(content)
    except ValidationError as error:
        raise InvalidTensor(f"the JSON is not a request for inference: {first_fault(error)}") from error
    is_binary = _wants_binary(graph, request)
    values = _input_of(graph, request.inputs, body[end:], limits, is_binary=is_binary)
    return _response(graph, request.id, graph.infer(values), is_binary=is_binary)


def _json_end(body: bytes, json_length: bytes) -> int:
    if not json_length.isdigit() or len(json_length) > _MAX_LENGTH_DIGITS or int(json_length) > len(body):
        raise InvalidTensor(
            "Inference-Header-Content-Length is not the length of the JSON in the body, which has "
            f"{len(body):,} bytes; give the number of bytes before the first binary tensor"
        )
    return int(json_length)


def _wants_binary(graph: Graph, request: _Request) -> bool:
    names = [output.name for output in request.outputs]
    if names not in ([], [graph.output.name]):
        raise InvalidTensor(f"{graph.name} has one output, '{graph.output.name}'; name it once, or leave out outputs")
    wish = request.outputs[0].parameters.binary_data if request.outputs else None
    return request.parameters.binary_data_output if wish is None else wish


def _input_of(graph: Graph, inputs: list[_Input], binary: bytes, limits: Limits, *, is_binary: bool) -> Floats:
    """Return the input, float32 (N, ...)."""
    expected, given = graph.input, inputs[0]
    if len(inputs) > 1 or given.name != expected.name:
        raise InvalidTensor(f"{graph.name} takes one input, '{expected.name}'; send it once, and no other")
    if given.datatype != DATATYPE:
        raise InvalidTensor(f"the datatype of '{given.name}' is {given.datatype[:64]}; send {DATATYPE}")
    if tuple(given.shape[1:]) != expected.shape or not given.shape or given.shape[0] < 1:
        wanted = ["N", *expected.shape]
        message = f"the shape of '{given.name}' is not [{', '.join(map(str, wanted))}] with N from 1 on"
        raise InvalidTensor(message)
    most = max(expected.values, graph.output.values)
    allowed = max(1, min(limits.images, limits.tensor_bytes // (_FLOAT32.itemsize * most)))
    if given.shape[0] > allowed:
        raise BatchTooLarge(f"the batch has more than the {allowed:,} elements that are allowed; send several batches")
    if not is_binary and given.shape[0] * graph.output.values > MAX_JSON_VALUES:
        raise BatchTooLarge(
            f"the output has more than the {MAX_JSON_VALUES:,} numbers that are sent as JSON; ask for binary data"
        )
    size = given.parameters.binary_data_size
    if (size is None) == (given.data is None):
        raise InvalidTensor(f"'{given.name}' takes either data or the parameter binary_data_size")
    if len(binary) != (size or 0):
        raise InvalidTensor(f"{len(binary):,} bytes are behind the JSON, and binary_data_size is {size or 0:,}")
    if size is None:
        values = _numbers(given.data or [], given.shape)
    elif size != math.prod(given.shape) * _FLOAT32.itemsize:
        raise InvalidTensor(f"'{given.name}' has {size:,} bytes of binary data, which are not those of its shape")
    else:
        values = np.frombuffer(binary, _FLOAT32).astype(np.float32)
    if not np.isfinite(values).all():
        raise InvalidTensor(f"'{given.name}' has a number that is not a finite float32 number")
    return values.reshape(given.shape)


def _numbers(data: list[Any], shape: list[int]) -> Floats:
    """Return the numbers of JSON data, which is one flat list, or nested as its shape says."""
    if data and isinstance(data[0], list):
        for length in shape[1:]:
            if not all(isinstance(item, list) and len(item) == length for item in data):
                raise InvalidTensor("the lists in data are not nested as the shape says")
            data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise InvalidTensor(f"data has {len(data):,} numbers; its shape has {math.prod(shape):,}")
    if not {type(number) for number in data} <= {int, float}:
        raise InvalidTensor("data has something else than numbers")
    try:
        with np.errstate(over="ignore"):
            return np.array(data, dtype=np.float64).astype(np.float32)
    except OverflowError as error:
        raise InvalidTensor("data has a number that is too large for float32") from error


def _response(graph: Graph, request_id: str | None, values: Floats, *, is_binary: bool) -> InferResponse:
    output = graph.output.metadata(len(values))
    content: dict[str, Any] = {"model_name": graph.name, "outputs": [output]}
    if request_id is not None:
        content["id"] = request_id
    if not is_binary:
        output["data"] = values.ravel().tolist()
        return InferResponse(json.dumps(content).encode(), None)
    binary = values.astype(_FLOAT32).tobytes()
    output["parameters"] = {"binary_data_size": len(binary)}
    head = json.dumps(content).encode()
    return InferResponse(head + binary, len(head))
