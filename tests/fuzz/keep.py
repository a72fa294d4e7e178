"""Minimizes a corpus: same coverage of the library, fewest inputs."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import latentwire

Step = tuple[str, int, int]

_LIBRARY = str(Path(latentwire.__file__).parent)
CORPUS = Path(__file__).parent / "corpus"


def keep(target: Callable[[bytes], None], given: list[bytes], found: list[bytes], folder: Path) -> list[bytes]:
    """Replace the files in `folder` by the shortest inputs that take all steps that `found` take and `given` do not.

    Args:
        target: function that is fuzzed.
        given: inputs that are tested anyway.
        found: inputs to choose from.
        folder: of the corpus.

    Returns:
        The inputs in the folder.
    """
    known = set[Step]().union(*(steps(target, data) for data in given))
    kept = []
    for data in sorted(set(found), key=lambda data: (len(data), data)):
        if not (taken := steps(target, data)) <= known:
            known |= taken
            kept.append(data)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number, data in enumerate(kept):
        (folder / f"{number:03d}").write_bytes(data)
    return kept


def steps(target: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return the steps from line to line of the library that a target takes on an input."""
    found: set[Step] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        file, line = frame.f_code.co_filename, frame.f_lineno
        if not file.startswith(_LIBRARY):
            return None

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal line
            found.add((file, line, frame.f_lineno))
            line = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        target(data)
    finally:
        sys.settrace(before)
    return found
