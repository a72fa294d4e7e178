"""What was typed -> the files to read, and where the results go. Writes each result whole or not at all.

Knows what files of images and codes are called, and not what is in them.
"""

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from latentwire.cli.console import Desk, WrongUsage

STREAM = "-"

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
SUFFIX_OF_FRAMING = {"full": ".lw", "raw": ".raw"}
CONTAINER_SUFFIX = ".lwb"
CODE_SUFFIXES = {
    "full": frozenset({SUFFIX_OF_FRAMING["full"], CONTAINER_SUFFIX}),
    "raw": frozenset({SUFFIX_OF_FRAMING["raw"]}),
}

PIECE_BYTES = 1 << 16

# More than any image or single code has; containers are read piece by piece.
MAX_FILE_BYTES = 1 << 28


class FileProblem(Exception):
    """A file cannot be read as it is, or its result not be put where it should be."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read: its name as it was typed, its path, None for standard input, and its place in a folder."""

    name: str
    path: Path | None
    place: Path

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it to read bytes.

        Raises:
            OSError: it cannot be opened.
        """
        if self.path is None:
            yield sys.stdin.buffer
            return
        with self.path.open("rb") as file:
            yield file

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            OSError: it cannot be read.
            FileProblem: it is too long to be an image or a code.
        """
        with self.open() as file:
            return read_whole(file)


def read_whole(file: BinaryIO, begin: bytes = b"") -> bytes:
    """Return the bytes of a file, after some that have been read already.

    Raises:
        OSError: it cannot be read.
        FileProblem: it is too long to be an image or a code.
    """
    data = begin + file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FileProblem(f"it is longer than the {MAX_FILE_BYTES:,} bytes that are read at once")
    return data


def read_pieces(file: BinaryIO, begin: bytes = b"") -> Iterator[bytes]:
    """Yield the bytes of a file little by little, after some that have been read already.

    Raises:
        OSError: it cannot be read.
    """
    if begin:
        yield begin
    while piece := file.read(PIECE_BYTES):
        yield piece


def find_sources(typed: Sequence[str], suffixes: Collection[str], what: str, desk: Desk) -> list[Source]:
    """Return the files that were named, and of each folder, at any depth, those with one of the suffixes, by name.

    Files and folders whose names start with a dot are passed over. A folder without such a file is a failure.

    Raises:
        WrongUsage: standard input is named twice, or is a terminal.
    """
    sources: list[Source] = []
    if typed.count(STREAM) > 1:
        raise WrongUsage("standard input can be read once only")
    for name in typed:
        if name == STREAM:
            if sys.stdin is None or sys.stdin.isatty():
                raise WrongUsage(f"standard input is a terminal, or closed; pipe {what} into it, or name files")
            sources.append(Source("standard input", None, Path("stdin")))
        elif (path := Path(name)).is_dir():
            found = [Source(str(each), each, each.relative_to(path)) for each in _walk(path, suffixes)]
            if not found:
                desk.fail(name, f"this folder holds no {what} ({', '.join(sorted(suffixes))})")
            sources += found
        else:
            sources.append(Source(name, path, Path(path.name)))
    return sources


class Places:
    """Where the results of one command go."""

    def __init__(self, out: str | None, typed: Sequence[str], *, force: bool) -> None:
        """Take what was typed after `--out` and as files.

        Raises:
            WrongUsage: standard output cannot take these results.
        """
        self._out = out
        self._force = force
        self.one = len(typed) == 1 and not Path(typed[0]).is_dir()
        self._taken: dict[Path, str] = {}
        self.to_stream = out == STREAM or (out is None and list(typed) == [STREAM])
        if out == STREAM and not self.one:
            raise WrongUsage("standard output takes the result of one file only; name a folder with --out")
        if out not in (None, STREAM) and not self.one and Path(str(out)).is_file():
            raise WrongUsage(f"--out {out} is a file; the results of several need a folder")

    def file_for(self, source: Source, suffix: str) -> Path | None:
        """Return where the result of a source goes, None for standard output.

        Raises:
            FileProblem: it is there already, or has been written for another source.
        """
        if self.to_stream:
            return None
        return self.claim(self._path(source, suffix), source)

    def folder_for(self, source: Source) -> Path:
        """Return the folder that the many results of a source go into."""
        if self._out is not None and self.one:
            return Path(self._out)
        return self._path(source, "")

    def claim(self, path: Path, source: Source) -> Path:
        """Take a path for a source's result.

        Raises:
            FileProblem: it is there already, or has been written for another source.
        """
        if (other := self._taken.setdefault(path, source.name)) != source.name:
            raise FileProblem(f"its result would be {path}, as that of {other} is")
        if path.is_dir():
            raise FileProblem(f"its result would be {path}, which is a folder")
        if source.path is not None and path.exists() and path.samefile(source.path):
            raise FileProblem("its result would take its own place; choose another with --out")
        if path.is_file() and not self._force:
            raise FileProblem(f"{path} is there already; --force overwrites it, --out chooses another place")
        return path

    def _path(self, source: Source, suffix: str) -> Path:
        if self._out is None:
            return (source.path or source.place).with_suffix(suffix)
        out = Path(self._out)
        if self.one and suffix and not out.is_dir() and not self._out.endswith(os.sep):
            return out
        return out / source.place.with_suffix(suffix)


@contextmanager
def writing(path: Path | None) -> Iterator[BinaryIO]:
    """Open a file, or standard output for None, to write bytes; a file is there when all is written, or not at all.

    Raises:
        OSError: it cannot be written.
        WrongUsage: standard output is a terminal.
    """
    if path is None:
        check_stream()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a device, or a pipe: nothing that a new file should take the place of
        with path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_stream() -> None:
    """Check that standard output may carry bytes.

    Raises:
        WrongUsage: it is a terminal, or closed.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise WrongUsage(
            "standard output is a terminal, or closed, and the result is no text; redirect it, or use --out"
        )


def _walk(folder: Path, suffixes: Collection[str]) -> list[Path]:
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found)
