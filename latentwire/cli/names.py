"""The names of a container's images, in a file beside it: one JSON string a line, in the order of the images."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from latentwire.cli.console import WrongUsage
from latentwire.cli.files import Source, read_whole

MAX_NAME_CHARACTERS = 1024


def write_names(sources: Sequence[Source]) -> bytes:
    """Return the file for the images of these sources."""
    return b"".join(json.dumps(source.relative.as_posix()).encode() + b"\n" for source in sources)


def read_names(path: str, suffix: str) -> list[Path]:
    """Return relative paths for decoded images, by the names in a file, with `suffix` in place of their own.

    Names that would be the same then keep their own suffix before it.

    Raises:
        WrongUsage: the file cannot be read, or a line is no name of a file in a folder of results.
    """
    try:
        with Path(path).open("rb") as file:
            lines = read_whole(file).decode("utf-8").splitlines()
        names = [_checked(json.loads(line)) for line in lines]
    except (OSError, ValueError) as error:
        raise WrongUsage(f"--names {path} cannot be read: {error}") from error
    paths = [Path(name.with_suffix(suffix)) for name in names]
    uses = Counter(paths)
    return [result if uses[result] == 1 else Path(f"{name}{suffix}") for name, result in zip(names, paths, strict=True)]


def _checked(name: object) -> PurePosixPath:
    """Return a name as a path; raise `ValueError` if it could lead out of a folder, or is too long for a file."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise ValueError("a line is not a JSON string with a name of printable characters")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name or "\\" in name or ":" in name:
        raise ValueError(f"'{name}' is not the name of a file in a folder")
    return path
