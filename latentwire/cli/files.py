"""Paths on the command line -> the files to read and to write. A result is written completely or not at all."""

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from latentwire.cli.console import Console, WrongUsage

STREAM = "-"

SUFFIX_OF_FRAMING = {"full": ".lw", "raw": ".raw"}
CONTAINER_SUFFIX = ".lwb"
BITSTREAM_SUFFIXES = {
    "full": frozenset({SUFFIX_OF_FRAMING["full"], CONTAINER_SUFFIX}),
    "raw": frozenset({SUFFIX_OF_FRAMING["raw"]}),
}

PIECE_BYTES = 1 << 16

# Bound on an image or a bitstream; containers are read piece by piece.
MAX_FILE_BYTES = 1 << 28


class FileProblem(Exception):
    """A file cannot be read as it is, or its result cannot be written to its place."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read.

    Attributes:
        name: as on the command line.
        path: None for standard input.
        relative: path within the folder on the command line, or the file name.
    """

    name: str
    path: Path | None
    relative: Path

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file to read bytes.

        Raises:
            OSError: the file cannot be opened.
        """
        if self.path is None:
            yield sys.stdin.buffer
            return
        with self.path.open("rb") as file:
            yield file

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            OSError: the file cannot be read.
            FileProblem: the file is longer than `MAX_FILE_BYTES`.
        """
        with self.open() as file:
            return read_whole(file)


def read_whole(file: BinaryIO, begin: bytes = b"") -> bytes:
    """Return the bytes of a file, of which `begin` has been read already.

    Raises:
        OSError: the file cannot be read.
        FileProblem: the file is longer than `MAX_FILE_BYTES`.
    """
    data = begin + file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FileProblem(f"the file is longer than {MAX_FILE_BYTES:,} bytes")
    return data


def read_pieces(file: BinaryIO, begin: bytes = b"") -> Iterator[bytes]:
    """Yield the bytes of a file, of which `begin` has been read already, in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    if begin:
        yield begin
    while piece := file.read(PIECE_BYTES):
        yield piece


def find_sources(typed: Sequence[str], suffixes: Collection[str], what: str, console: Console) -> list[Source]:
    """Return the files on the command line, and those in its folders at any depth, sorted by name.

    A folder gives its files with one of the suffixes, without those whose path has a part that starts with a dot. A
    folder without such a file is a failure, and so is each folder that cannot be read.

    Args:
        typed: paths on the command line.
        suffixes: of the files in folders.
        what: plural noun for such files.
        console: prints failures.

    Raises:
        WrongUsage: standard input appears twice, or is a terminal.
    """
    sources: list[Source] = []
    if typed.count(STREAM) > 1:
        raise WrongUsage("standard input can be read only once; name - once")
    for name in typed:
        if name == STREAM:
            if sys.stdin is None or sys.stdin.isatty():
                raise WrongUsage(f"standard input is a terminal, or closed; pipe {what} into it, or name files")
            sources.append(Source("standard input", None, Path("stdin")))
        elif _holds((path := Path(name)).is_dir):
            found = [Source(str(file), file, file.relative_to(path)) for file in _walk(path, suffixes, console)]
            if not found:
                console.fail(name, f"this folder holds no {what} ({', '.join(sorted(suffixes))})")
            sources += found
        else:
            sources.append(Source(name, path, Path(path.name)))
    return sources


class OutputPaths:
    """The paths that the results of one command are written to."""

    def __init__(self, out: str | None, typed: Sequence[str], *, force: bool) -> None:
        """Check the command line.

        Args:
            out: value of `--out`.
            typed: paths of the sources on the command line.
            force: whether to overwrite existing files.

        Raises:
            WrongUsage: these results cannot go to `out`.
        """
        self._out = out
        self._force = force
        self.single = len(typed) == 1 and not _holds(Path(typed[0]).is_dir)
        self._taken: dict[Path, str] = {}
        self.to_stream = out == STREAM or (out is None and list(typed) == [STREAM])
        if out == STREAM and not self.single:
            raise WrongUsage("standard output takes the result of one file only; name a folder with --out")
        if out not in (None, STREAM) and not self.single and _holds(Path(str(out)).is_file):
            raise WrongUsage(f"--out {out} is a file; the results of several need a folder")

    def file_for(self, source: Source, suffix: str) -> Path | None:
        """Return the path for the result of a source; None for standard output.

        Raises:
            FileProblem: as `claim`.
        """
        if self.to_stream:
            return None
        return self.claim(self._path(source, suffix), source)

    def folder_for(self, source: Source) -> Path:
        """Return the folder for the many results of a source."""
        if self._out is not None and self.single:
            return Path(self._out)
        return self._path(source, "")

    def claim(self, path: Path, source: Source) -> Path:
        """Reserve a path for the result of a source, and return it.

        Raises:
            FileProblem: the path exists already, or is the result of another source.
        """
        if (other := self._taken.setdefault(path, source.name)) != source.name:
            raise FileProblem(f"its result would overwrite {path}, the result of {other}; choose another --out")
        if path.is_dir():
            raise FileProblem(f"its result would be {path}, which is a folder; choose another --out")
        if source.path is not None and path.exists() and path.samefile(source.path):
            raise FileProblem("its result would overwrite it; choose another --out")
        if path.is_file() and not self._force:
            raise FileProblem(f"{path} exists already; overwrite it with --force, or choose another --out")
        return path

    def _path(self, source: Source, suffix: str) -> Path:
        if self._out is None:
            return (source.path or source.relative).with_suffix(suffix)
        out = Path(self._out)
        if self.single and suffix and not out.is_dir() and not self._out.endswith(os.sep):
            return out
        return out / source.relative.with_suffix(suffix)


@contextmanager
def writing(path: Path | None) -> Iterator[BinaryIO]:
    """Open a file, or standard output for None, to write bytes. The file appears when all is written, or not at all.

    Raises:
        OSError: the file cannot be written.
        WrongUsage: standard output is a terminal.
    """
    if path is None:
        check_stdout()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a new file must not replace a device or a pipe
        with path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(f".latentwire-{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_stdout() -> None:
    """Check that standard output can take bytes.

    Raises:
        WrongUsage: standard output is a terminal, or closed.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise WrongUsage(
            "standard output is a terminal, or closed, and the result is binary; redirect it, or use --out"
        )


def _walk(folder: Path, suffixes: Collection[str], console: Console) -> list[Path]:
    found: list[Path] = []
    for name, folders, files in os.walk(folder, onerror=lambda error: console.fail(error.filename, error)):
        folders[:] = [each for each in folders if not each.startswith(".")]
        paths = [Path(name, file) for file in files if not file.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in suffixes and not _holds(path.is_fifo)]
    return sorted(found)


def _holds(check: Callable[[], bool]) -> bool:
    """Return what a check of a path says; False if the path cannot be looked at, which is said when it is opened."""
    try:
        return check()
    except OSError:
        return False
