"""Nothing that is read can bring code along, and serving fetches nothing: what the source may import and call."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.goldens import REPOSITORY

ROOMS = ("latentwire", "service", "training", "benchmarks")
SERVING = ("latentwire", "service")
# Their readers run what the file says.
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FETCHING = {"urllib.request", "http.client", "httpx", "requests", "aiohttp", "ftplib", "subprocess", "webbrowser"}
# Which neither half of the service imports.
CLIENT = REPOSITORY / "latentwire" / "client"
# The keyword that each reader must be called with.
SAFELY = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    assert found
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def faults(text: str, forbidden: set[str]) -> list[str]:
    tree = ast.parse(text)
    found = [name for name in imports(tree) if name in forbidden or name.split(".")[0] in forbidden]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in ("eval", "exec", "os.system", "os.popen") or given.get("allow_pickle") == "True":
                found.append(called)
            if called in SAFELY and given.get(SAFELY[called][0]) != str(SAFELY[called][1]):
                found.append(called)
    return found


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in sources(*ROOMS):
        assert faults(path.read_text(encoding="utf-8"), UNPICKLING) == [], path


def test_serving_fetches_nothing_and_starts_no_process() -> None:
    for path in sources(*SERVING):
        if path.parent != CLIENT:
            assert faults(path.read_text(encoding="utf-8"), UNPICKLING | FETCHING) == [], path


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "from urllib import request",
        "import urllib.request",
        "import numpy as np\nnp.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "eval(text)",
    ],
)
def test_what_these_tests_look_for_is_found(text: str) -> None:
    assert faults(text, UNPICKLING | FETCHING)
