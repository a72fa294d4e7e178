"""Bytes -> a file, whole or not at all. The former content stays until the new one is safely on the disk."""

import os
import tempfile
from pathlib import Path

from training.errors import CannotWrite


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` through a temporary file in the same folder.

    Raises:
        CannotWrite: the disk is full, or the folder cannot be written; `path` is as it was.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}; what was there before is intact") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
