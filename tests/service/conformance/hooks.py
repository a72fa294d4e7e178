"""What schemathesis sends beyond what it makes of the document: names of models, real images and real codes.

It imports this module by itself, in a process of its own; `conformance` says in the environment where they are.
"""

import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.service.conformance import BODIES_VARIABLE, MODELS_VARIABLE

Parameters = dict[str, Any] | None


def _bodies(folder: Path) -> st.SearchStrategy[bytes]:
    whole = st.sampled_from([path.read_bytes() for path in sorted(folder.iterdir())])
    cut = st.builds(lambda data, share: data[: int(len(data) * share)], whole, st.floats(0, 1))
    flipped = st.builds(_flip, whole, st.floats(0, 1, exclude_max=True), st.integers(1, 255))
    return whole | whole | cut | flipped | st.binary(max_size=200)


def _flip(data: bytes, share: float, bits: int) -> bytes:
    at = int(len(data) * share)
    return data[:at] + bytes(byte ^ bits for byte in data[at : at + 1]) + data[at + 1 :]


for _folder in sorted(Path(os.environ[BODIES_VARIABLE]).iterdir()):
    schemathesis.openapi.media_type(_folder.name.replace("_", "/"), _bodies(_folder))
# Files in forms.
schemathesis.openapi.format("binary", _bodies(Path(os.environ[BODIES_VARIABLE]) / "image_png"))

_NAMES = st.sampled_from(os.environ[MODELS_VARIABLE].split(","))


@schemathesis.hook
def flatmap_query(context: schemathesis.HookContext, query: Parameters) -> st.SearchStrategy[Parameters]:
    """Name a model that there is, half of the time."""
    return _perhaps_named("model", query)


@schemathesis.hook
def flatmap_path_parameters(
    context: schemathesis.HookContext, path_parameters: Parameters
) -> st.SearchStrategy[Parameters]:
    """Likewise."""
    return _perhaps_named("name", path_parameters)


def _perhaps_named(parameter: str, given: Parameters) -> st.SearchStrategy[Parameters]:
    if not given or parameter not in given:
        return st.just(given)
    return st.just(given) | _NAMES.map(lambda name: {**given, parameter: name})
