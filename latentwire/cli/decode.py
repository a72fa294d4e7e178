"""`latentwire decode`: bitstreams and containers -> image files.

The results are those of the service. All undamaged images of a damaged container are written.
"""

import argparse
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentwire.any_size.decoder import AnySizeDecoder
from latentwire.cli.chunk_stream import read_frames
from latentwire.cli.console import Console, WrongUsage, pluralize
from latentwire.cli.files import (
    BITSTREAM_SUFFIXES,
    FileProblem,
    OutputPaths,
    Source,
    check_stdout,
    find_sources,
    read_pieces,
    read_whole,
    writing,
)
from latentwire.cli.models import AnyCard, Models
from latentwire.cli.names import read_names
from latentwire.decoder import Decoder
from latentwire.errors import CodecError, CodeError, DamagedChunk
from latentwire.format import container
from latentwire.format.any_size import Rectangle
from latentwire.format.bitstream import read_bitstream, read_damaged_bitstream
from latentwire.format.container import Frame
from latentwire.format.container_reader import FrameReader
from latentwire.format.npy import npy_header
from latentwire.imaging import image

# A million numbered images sort by their names.
_NUMBER_DIGITS = 6


def decode(arguments: argparse.Namespace, console: Console) -> None:
    """Decode all files of a command line.

    Raises:
        WrongUsage: the command line cannot be carried out.
        ModelError: the card of `--model` cannot be used.
    """
    if arguments.framing == "raw" and arguments.model is None:
        raise WrongUsage("--framing raw needs --model, as a payload does not say which model made it")
    outputs = OutputPaths(arguments.out, arguments.files, force=arguments.force)
    if outputs.to_stream:
        check_stdout()
    models = Models(arguments.models_dir)
    wanted = models.card(arguments.model) if arguments.model is not None else None
    sources = find_sources(arguments.files, BITSTREAM_SUFFIXES[arguments.framing], "bitstreams", console)
    names = [] if arguments.names is None else read_names(arguments.names, f".{arguments.format}")
    if names and (len(sources) != 1 or arguments.format == "npy"):
        raise WrongUsage("--names is for one container, and for images in files of their own")
    session = _Session(models, wanted, outputs, names, arguments, console)
    for done, source in enumerate(sources):
        console.progress(done, len(sources))
        session.decode(source)
    if sources and not outputs.single:
        session.report()


class _Session:
    """One run of the command: its models and options, and how many files it has decoded."""

    def __init__(
        self,
        models: Models,
        wanted: AnyCard | None,
        outputs: OutputPaths,
        names: Sequence[Path],
        arguments: argparse.Namespace,
        console: Console,
    ) -> None:
        self._names = names
        self._models = models
        self._wanted = wanted
        self._outputs = outputs
        self._raw: bool = arguments.framing == "raw"
        self._format: str = arguments.format
        self._partial: bool = arguments.partial
        self._console = console
        self._files = self._images = 0

    def decode(self, source: Source) -> None:
        """Decode one file, and print what is wrong with it."""
        try:
            with source.open() as file:
                begin = b"" if self._raw else file.read(1)
                if begin == bytes((container.MAGIC,)):
                    self._decode_container(source, file, begin)
                else:
                    self._decode_single(source, read_whole(file, begin))
        except BrokenPipeError:
            raise
        except (CodecError, FileProblem, OSError) as error:
            self._console.fail(source.name, error)

    def report(self) -> None:
        """Print how many images and files were decoded."""
        self._console.result(f"{pluralize(self._images, 'image')} of {pluralize(self._files, 'file')}")

    def _decode_single(self, source: Source, data: bytes) -> None:
        path = self._outputs.file_for(source, f".{self._format}")
        missing: list[Rectangle] = []
        if self._raw and self._wanted is not None:
            decoder = self._models.decoder(self._wanted)
        else:
            read = read_damaged_bitstream if self._partial else read_bitstream
            decoder = self._decoder(read(data).fingerprint)
        if self._partial and not isinstance(decoder, Decoder):
            payload = data if self._raw else decoder.damaged_payload_of(data)
            pixels, missing = decoder.decode_partly(payload)
        elif isinstance(decoder, Decoder):
            pixels = (decoder.decode_raw if self._raw else decoder.decode)([data])[0]
        else:
            pixels = decoder.decode_raw(data if self._raw else decoder.payload_of(data))
        with writing(path) as file:
            file.write(WRITERS[self._format](pixels))
        height, width, channels = pixels.shape
        what = f"{width} × {height} pixels, {pluralize(channels, 'channel')}, of model {decoder.card.name}"
        self._count(path, 1, what)
        self._console.incomplete += bool(missing)
        for area in missing:
            self._console.warn(
                source.name,
                f"missing are {area.width} × {area.height} pixels, {area.left} from the left and {area.top} from above",
            )

    def _decode_container(self, source: Source, file: BinaryIO, begin: bytes) -> None:
        if self._format == "npy":
            with _seekable(file, begin) as whole:
                self._decode_to_array(source, whole)
            return
        if self._outputs.to_stream:
            raise WrongUsage(
                "standard output takes a container's images as --format npy only; name a folder with --out"
            )
        folder, reader, written = self._outputs.folder_for(source), FrameReader(), 0
        for frame in read_frames(read_pieces(file, begin), reader):
            number = frame.first if isinstance(frame, Frame) else 0
            for pixels in self._images_of(source, frame, reader):
                for item in pixels:
                    path = self._outputs.claim(folder / self._name(number), source)
                    with writing(path) as out:
                        out.write(WRITERS[self._format](item))
                    number += 1
                    written += 1
                    self._console.progress(written)
        if written or (reader.ended and not reader.images):
            self._count(folder, written)

    def _name(self, number: int) -> Path:
        """Return the path of a container's image within its folder."""
        if number < len(self._names):
            return self._names[number]
        return Path(f"{number:0{_NUMBER_DIGITS}d}.{self._format}")

    def _decode_to_array(self, source: Source, file: BinaryIO) -> None:
        """Write one array of all images. Lost images are black in it, so that each image keeps its index."""
        reader = FrameReader()
        errors = [found for found in read_frames(read_pieces(file), reader) if isinstance(found, CodeError)]
        if reader.header is None or (errors and not reader.images):
            raise errors[0]
        decoder = self._decoder(reader.header.fingerprint)
        if not isinstance(decoder, Decoder):
            raise WrongUsage(
                f"{source.name} holds images of any size, which are no array; decode them to --format png or webp"
            )
        path = self._outputs.file_for(source, ".npy")
        shape = decoder.card.image.as_tuple()
        total = reader.images
        file.seek(0)
        reader = FrameReader()
        done = 0
        with writing(path) as out:
            out.write(npy_header(np.uint8, (total, *shape)))
            for frame in read_frames(read_pieces(file), reader):
                for pixels in self._images_of(source, frame, reader):
                    out.write(pixels.tobytes())
                    done += len(pixels)
                while done < reader.images:
                    out.write(np.zeros(shape, np.uint8).tobytes())
                    done += 1
        self._count(path, total)

    def _images_of(self, source: Source, frame: Frame | CodeError, reader: FrameReader) -> Iterator[image.Pixels]:
        """Decode a chunk as far as possible, and print what is lost."""
        if isinstance(frame, CodeError):
            self._console.fail(source.name, frame)
        elif reader.header is not None:
            decoder = self._decoder(reader.header.fingerprint)
            try:
                if isinstance(decoder, Decoder):
                    yield from decoder.decode_frame(frame)
                else:
                    yield from (pixels[None] for pixels in decoder.decode_frame(frame))
            except DamagedChunk as error:
                self._console.fail(source.name, error)

    def _decoder(self, fingerprint: bytes) -> Decoder | AnySizeDecoder:
        decoder = self._models.decoder(self._wanted or self._models.card_of(fingerprint))
        decoder.check_fingerprint(fingerprint)
        return decoder

    def _count(self, path: Path | None, images: int, what: str = "") -> None:
        self._files += 1
        self._images += images
        if self._outputs.single and path is not None:
            self._console.result(f"{path}: {what or pluralize(images, 'image')}")


def _to_npy(pixels: image.Pixels) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[image.Pixels], bytes]] = {
    "png": image.write_png,
    "webp": image.write_webp,
    "npy": _to_npy,
}


@contextmanager
def _seekable(file: BinaryIO, begin: bytes) -> Iterator[BinaryIO]:
    """Yield the file, or a copy of it, at its start, so that it can be read twice."""
    if file.seekable():
        file.seek(0)
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        for piece in read_pieces(file, begin):
            copy.write(piece)
        copy.seek(0)
        yield copy
