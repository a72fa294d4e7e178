"""What fuzzing found -> the few inputs worth keeping: those that go a way through the library that no other goes."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import latentwire

Step = tuple[str, int, int]

_ROOM = str(Path(latentwire.__file__).parent)
CORPUS = Path(__file__).parent / "corpus"


def keep(target: Callable[[bytes], None], given: list[bytes], found: list[bytes], folder: Path) -> list[bytes]:
    """Put the shortest inputs into `folder` that between them go every way that `found` go and `given` do not.

    What was in it goes, if it is not among them.
    """
    known = set[Step]().union(*(steps(target, data) for data in given))
    kept = []
    for data in sorted(set(found), key=lambda data: (len(data), data)):
        if not (ways := steps(target, data)) <= known:
            known |= ways
            kept.append(data)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number, data in enumerate(kept):
        (folder / f"{number:03d}").write_bytes(data)
    return kept


def steps(target: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return which line of the library was run after which other when a target ran on some bytes."""
    found: set[Step] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        file, line = frame.f_code.co_filename, frame.f_lineno
        if not file.startswith(_ROOM):
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
