"""Folders that cost much to fill, filled by one of the processes that run tests, for all of them."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(temporary: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Return the folder of this name, filled by the first process that asks for it; the others wait. Only to be read.

    `fill` writes into a folder that gets its name afterwards, so nothing in it may depend on its path.
    """
    base = temporary.getbasetemp()
    # Each process of pytest-xdist has a folder of its own in that of the run.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"made-once-{name}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = temporary.mktemp(name)
            fill(draft)
            draft.rename(folder)
    return folder
