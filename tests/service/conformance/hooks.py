"""What schemathesis sends beyond what it makes of the document: names of models, real images, codes and tensors.

It imports this module by itself, in a process of its own; `conformance` says in the environment where they are.
"""

import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.service.conformance import BODIES_VARIABLE, INFERENCES, MODELS_VARIABLE

Parameters = dict[str, Any] | None


def _bodies(folder: Path) -> st.SearchStrategy[bytes]:
    whole = st.sampled_from([path.read_bytes() for path in sorted(folder.iterdir())])
    cut = st.builds(lambda data, share: data[: int(len(data) * share)], whole, st.floats(0, 1))
    flipped = st.builds(_flip, whole, st.floats(0, 1, exclude_max=True), st.integers(1, 255))
    return whole | whole | cut | flipped | st.binary(max_size=200)


def _flip(data: bytes, share: float, bits: int) -> bytes:
    at = int(len(data) * share)
    return data[:at] + bytes(byte ^ bits for byte in data[at : at + 1]) + data[at + 1 :]


for _folder in sorted(path for path in Path(os.environ[BODIES_VARIABLE]).iterdir() if path.is_dir()):
    schemathesis.openapi.media_type(_folder.name.replace("_", "/"), _bodies(_folder))
# Files in forms.
schemathesis.openapi.format("binary", _bodies(Path(os.environ[BODIES_VARIABLE]) / "image_png"))

_MODELS = os.environ[MODELS_VARIABLE].split(",")
_NAMES = st.sampled_from(_MODELS)
_GRAPHS = st.sampled_from([f"{model}.{half}" for model in _MODELS for half in ("encoder", "decoder")])
# By the half that takes it.
_INFERENCES = json.loads((Path(os.environ[BODIES_VARIABLE]) / INFERENCES).read_bytes())


@schemathesis.hook
def flatmap_query(context: schemathesis.HookContext, query: Parameters) -> st.SearchStrategy[Parameters]:
    """Name a model that there is, half of the time."""
    return _perhaps_named("model", query)


@schemathesis.hook
def flatmap_path_parameters(
    context: schemathesis.HookContext, path_parameters: Parameters
) -> st.SearchStrategy[Parameters]:
    """Likewise."""
    is_graph = _path_of(context).startswith("/v2/")
    return _perhaps_named("name", path_parameters, _GRAPHS if is_graph else _NAMES)


@schemathesis.hook
def flatmap_body(context: schemathesis.HookContext, body: Any) -> st.SearchStrategy[Any]:
    """Send a tensor that a graph takes, mostly."""
    is_inference = _path_of(context).endswith("/infer") and not isinstance(body, bytes)
    return st.sampled_from([body, *_INFERENCES.values()]) if is_inference else st.just(body)


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Send such a tensor to a graph that takes it."""
    for half, body in _INFERENCES.items():
        if case.body == body:
            case.path_parameters["name"] = f"{_MODELS[0]}.{half}"
            case.headers.pop("Inference-Header-Content-Length", None)  # nothing is behind the JSON
    return case


def _path_of(context: schemathesis.HookContext) -> str:
    return context.operation.path if context.operation else ""


def _perhaps_named(
    parameter: str, given: Parameters, names: st.SearchStrategy[str] = _NAMES
) -> st.SearchStrategy[Parameters]:
    if not given or parameter not in given:
        return st.just(given)
    return st.just(given) | names.map(lambda name: {**given, parameter: name})
