"""The folder in which processes share their metrics: made for one parent and its workers, and removed in the end.

Nothing enters; a folder leaves. A parent that was killed cannot remove its own, so the next one does. Whoever has a
folder holds a lock on it, which forked workers hold with it, and which ends with the last of them whatever ended them.
What is written into the folder is not known here.
"""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PREFIX = "latentwire-metrics-"
# Another parent that starts in the same moment may take a new folder for a left one, before it is locked.
TRIES = 100


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder in the one for temporary files, and remove it in the end, with those that others left.

    Raises:
        OSError: none can be made.
    """
    _remove_left(Path(tempfile.gettempdir()))
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _make() -> tuple[Path, int | None]:
    for _ in range(TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        if sys.platform == "win32":
            return folder, None
        if (lock := _lock(folder)) is not None:
            if folder.exists():
                return folder, lock
            os.close(lock)
    raise OSError(errno.EAGAIN, "somebody else removes it at once")


def _remove_left(parent: Path) -> None:
    if sys.platform == "win32":
        return
    for folder in parent.glob(f"{PREFIX}*"):
        if (lock := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder of this user, and return what holds the lock; None if it is another's, or locked, or gone."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(opened).st_uid == os.geteuid():
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return opened
    except OSError:
        pass
    os.close(opened)
    return None
