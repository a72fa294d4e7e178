"""Payloads -> images of any size. The receiver's half, which needs neither encoder.onnx nor its code."""

import base64
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from latentwire.any_size.entropy_model import EntropyModel
from latentwire.any_size.part_reader import read_part
from latentwire.any_size.tiles import with_margin
from latentwire.errors import GoldenMismatch, ImageTooLarge, InvalidCode
from latentwire.format.alpha import read_alpha, split_body
from latentwire.format.any_size import (
    STRIDE,
    Header,
    Parsed,
    Part,
    Rectangle,
    ends_row,
    parts_of,
    pixels_of,
    read_header,
    read_payload,
)
from latentwire.format.any_size_container import read_payloads
from latentwire.format.any_size_lossless import read_lossless_header, read_pixels
from latentwire.format.bitstream import read_bitstream, read_damaged_bitstream
from latentwire.format.container import Frame, PackedImages
from latentwire.format.container_reader import read_frames
from latentwire.format.lossless import is_lossless
from latentwire.imaging import image
from latentwire.imaging.reader import ANY_SIZE_MAX_PIXELS, AnySizeReader
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import DECODER_FILE, check_fingerprint
from latentwire.model.onnx_session import PIXELS, Floats, MapGraph, open_map_graph

# 67 million pixels take 200 MB as RGB.
DEFAULT_MAX_PIXELS = ANY_SIZE_MAX_PIXELS

NOTHING_WHOLE = "no part of the bitstream is whole"

# Floating point differs a little between processors, which may put a value of a network of integers on the other side
# of the middle between two of them; that is up to two levels of a pixel. A wrong graph differs by far more.
GOLDEN_PIXEL_TOLERANCE = 4


# A rectangle of an image, and its pixels, uint8 (h, w, C).
Area = tuple[Rectangle, image.Pixels]


class PartialImage(NamedTuple):
    """What could be decoded of a damaged bitstream.

    Attributes:
        pixels: uint8 (H, W, C), without content in what is missing.
        missing: what could not be decoded. Up to 64 pixels around it, the image is not quite that of a whole bitstream.
    """

    pixels: image.Pixels
    missing: list[Rectangle]


class _ReadPart(NamedTuple):
    """What the body of a part says: its latents, as of `read_part`, and its alpha, uint8 (h, w)."""

    latents: Floats | None
    alpha: image.Pixels | None


_MISSING = _ReadPart(None, None)


class AnySizeDecoder:
    """The receiver's half of a model for images of any size. Several threads may use one."""

    def __init__(self, card: AnySizeCard, entropy: EntropyModel, graph: MapGraph) -> None:
        self.card = card
        self.entropy = entropy
        self._graph = graph

    @classmethod
    def open(cls, folder: Path, card: AnySizeCard, threads: int = 1, entropy: EntropyModel | None = None) -> Self:
        """Open `decoder.onnx`, `entropy.onnx` and `tables.json` in `folder`.

        Args:
            folder: of the model.
            card: its card.
            threads: number of threads that one run of a graph may use.
            entropy: the entropy model, if it is open already.

        Raises:
            ModelError: a file is missing, or is not what the card says.
        """
        entropy = entropy or EntropyModel.open(folder, card, threads)
        channels = entropy.tables.latents
        graph = open_map_graph(folder / DECODER_FILE, card.decoder, {"latents": channels}, {PIXELS: 3}, threads)
        return cls(card, entropy, graph)

    def payload_of(self, bitstream: bytes) -> bytes:
        """Return the payload of a bitstream in the full framing.

        Raises:
            InvalidCode: not a bitstream, or damaged.
            UnsupportedVersion: a bitstream of another version.
            ModelMismatch: another model made it.
        """
        parsed = read_bitstream(bitstream)
        self.check_fingerprint(parsed.fingerprint)
        return parsed.payload

    def damaged_payload_of(self, bitstream: bytes) -> bytes:
        """Return what there is of the payload of a bitstream in the full framing, damaged or not.

        Raises:
            InvalidCode: not a bitstream.
            UnsupportedVersion: a bitstream of another version.
            ModelMismatch: another model made it.
        """
        with suppress(InvalidCode):
            return self.payload_of(bitstream)
        parsed = read_damaged_bitstream(bitstream)
        self.check_fingerprint(parsed.fingerprint)
        return parsed.payload

    def decode_raw(self, payload: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> image.Pixels:
        """Decode a payload to uint8 (H, W, C) pixels, C being 1 for grey, 3 for RGB, and 2 and 4 for these with alpha.

        Pixels of alpha 0 are black.

        Args:
            payload: of one image.
            max_pixels: bound on height × width, checked before memory or time is spent.

        Raises:
            ImageTooLarge: the payload claims more pixels.
            InvalidCode: no encoder of this model makes this payload.
        """
        header, areas = self.decode_areas(payload, max_pixels)
        if is_lossless(payload):
            return next(areas)[1]
        pixels = np.empty((header.height, header.width, header.channels), np.uint8)
        for area, found in areas:
            pixels[area.rows, area.columns] = found
        return pixels

    def decode_areas(self, payload: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[Header, Iterator[Area]]:
        """Decode a payload piece by piece, with few of them in memory at a time.

        Args:
            payload: of one image.
            max_pixels: as in `decode_raw`.

        Returns:
            The header, and areas that together are the image.

        Raises:
            ImageTooLarge: the payload claims more pixels.
            InvalidCode: as `decode_raw`; also while the areas are made.
        """
        if is_lossless(payload):
            header = self.header_of(payload, max_pixels)
            whole = Rectangle(0, 0, header.height, header.width)
            return header, iter([(whole, read_pixels(payload, header))])
        parsed = self._parse(payload, max_pixels)
        parsed.check_whole()
        header, parts = parsed.header, parts_of(parsed.header)
        bodies = zip(parts, parsed.bodies, strict=True)
        return header, self._areas(header, (self._read(body or b"", part, header) for part, body in bodies))

    def decode_partly(self, payload: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> PartialImage:
        """Decode what is whole of a payload that is cut short or damaged.

        Args:
            payload: of one image.
            max_pixels: as in `decode_raw`.

        Raises:
            ImageTooLarge: the payload claims more pixels.
            InvalidCode: no part of the payload is whole.
        """
        if is_lossless(payload):
            return PartialImage(self.decode_raw(payload, max_pixels), [])
        header, bodies, _ = self._parse(payload, max_pixels)
        if not any(body is not None for body in bodies):
            raise InvalidCode(NOTHING_WHOLE)
        missing: list[Rectangle] = []

        def found_parts() -> Iterator[_ReadPart]:
            for part, body in zip(parts_of(header), bodies, strict=True):
                found = _MISSING
                if body is not None:
                    with suppress(InvalidCode):
                        found = self._read(body, part, header)
                if found is _MISSING:
                    missing.append(pixels_of(part, header))
                yield found

        pixels = np.empty((header.height, header.width, header.channels), np.uint8)
        for area, found in self._areas(header, found_parts()):
            pixels[area.rows, area.columns] = found
        if len(missing) == len(bodies):
            raise InvalidCode(NOTHING_WHOLE)
        return PartialImage(pixels, missing)

    def _read(self, body: bytes, part: Part, header: Header) -> _ReadPart:
        alpha = None
        if header.has_alpha:
            coded, body = split_body(body)
            area = pixels_of(part, header)
            alpha = read_alpha(coded, area.height, area.width)
        return _ReadPart(read_part(self.entropy, body, part, header.quality), alpha)

    def _areas(self, header: Header, found: Iterator[_ReadPart]) -> Iterator[Area]:
        """Yield the areas of an image, with its alpha; missing parts are transparent."""
        waiting: deque[image.Pixels | None] = deque()

        def latents() -> Iterator[Floats | None]:
            for part in found:
                waiting.append(part.alpha)
                yield part.latents

        for area, colours in self.synthesize(header, latents()):
            alpha = waiting.popleft()
            yield area, _with_alpha(colours, alpha) if header.has_alpha else colours

    def synthesize(self, header: Header, latents: Iterable[Floats | None]) -> Iterator[Area]:
        """Make an image, without its alpha, of its quantized latents, with two rows of parts in memory at a time.

        Args:
            header: of its payload.
            latents: of each part, float32 (latents, h, w), in quantization steps; None where they are missing.

        Yields:
            The areas of the image.
        """
        inverse = self.entropy.tables.gains(header.quality)[1][:, None, None]
        rows = [list(row) for _, row in groupby(parts_of(header), attrgetter("top"))]
        found = iter(latents)

        def band(row: list[Part]) -> Floats:
            """Return the latents of a row of parts, after the inverse gain; 0 where they are missing."""
            values = np.zeros((len(inverse), row[0].height, header.latent_width), np.float32)
            for part in row:
                if (one := next(found)) is not None:
                    np.multiply(one, inverse, out=values[:, :, part.left : part.left + part.width])
            return values

        above, here = None, band(rows[0])
        for number, row in enumerate(rows):
            below = band(rows[number + 1]) if number + 1 < len(rows) else None
            for part in row:
                yield self._synthesize_part(header, part, above, here, below)
            if below is not None:
                above, here = here[:, -self.card.margins.decoder :].copy(), below

    def run(self, latents: Floats, *, keep_memory: bool = False) -> image.Pixels:
        """Return pixels, uint8 (1, 16 h, 16 w, 3), of latents, float32 (1, latents, h, w), after the inverse gain.

        `keep_memory` as of `MapGraph.run`.
        """
        pixels: image.Pixels = self._graph.run(PIXELS, keep_memory=keep_memory, latents=latents)
        return pixels

    def _synthesize_part(
        self, header: Header, part: Part, above: Floats | None, here: Floats, below: Floats | None
    ) -> Area:
        margin = self.card.margins.decoder
        tile = with_margin(part, header, margin)
        columns = tile.outer[1]
        pieces = [here[:, :, columns]]
        if above is not None:
            pieces.insert(0, above[:, :, columns])
        if below is not None:
            pieces.append(below[:, :margin, columns])
        decoded = self.run(np.concatenate(pieces, 1)[None], keep_memory=not ends_row(part, header))[0]
        area = pixels_of(part, header)
        top, left = (side.start * STRIDE for side in tile.inner)
        inner = decoded[top : top + area.height, left : left + area.width]
        if header.colours == 1:
            inner = ((inner.sum(2, dtype=np.uint16, keepdims=True) + 1) // 3).astype(np.uint8)
        return area, inner

    def decode_batch(self, stream: Iterable[bytes]) -> Iterator[image.Pixels]:
        """Decode a container, with one chunk in memory at a time.

        Args:
            stream: bytes of the container, in pieces of any length.

        Yields:
            uint8 (H, W, C) pixels of each image.

        Raises:
            InvalidCode: not a container, or one that contradicts itself.
            UnsupportedVersion: a container of another version.
            ModelMismatch: a container of another model.
            DamagedChunk: a chunk is damaged, or the container is cut short. All images before it have been yielded.
        """
        for frame in read_frames(stream, self.check_fingerprint):
            yield from self.decode_frame(frame)

    def decode_frame(self, frame: Frame, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[image.Pixels]:
        """Decode one chunk of a container of this model.

        Args:
            frame: the chunk.
            max_pixels: of one image, as in `decode_raw`.

        Yields:
            uint8 (H, W, C) pixels of each image.

        Raises:
            DamagedChunk: the chunk is damaged, or an image has more pixels.
        """
        try:
            for packed in self.open_frame(frame, max_pixels):
                yield from (pixels[0] for pixels in packed.decoding)
        except ImageTooLarge as error:
            raise frame.damaged(str(error)) from error

    def open_frame(self, frame: Frame, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[PackedImages]:
        """Read the headers of the images in one chunk of a container of this model.

        Args:
            frame: the chunk.
            max_pixels: of one image, as in `decode_raw`.

        Yields:
            Each image by itself.

        Raises:
            DamagedChunk: the chunk is damaged; decoding raises this as well.
            ImageTooLarge: an image claims more pixels.
        """

        def decode(number: int, payload: bytes) -> Iterator[image.Pixels]:
            try:
                yield self.decode_raw(payload, max_pixels)[None]
            except InvalidCode as error:
                raise frame.damaged(f"image {number:,}: {error}") from error

        for number, payload in enumerate(read_payloads(frame), frame.first):
            try:
                header = self.header_of(payload, max_pixels)
            except InvalidCode as error:
                raise frame.damaged(f"image {number:,}: {error}") from error
            except ImageTooLarge as error:
                raise ImageTooLarge(f"image {number:,}: {error}") from error
            yield PackedImages(len(payload), header.height * header.width, decode(number, payload))

    def check_fingerprint(self, fingerprint: bytes) -> None:
        """Check that this model made a bitstream.

        Raises:
            ModelMismatch: the fingerprint is not that of this model.
        """
        check_fingerprint(self.card, fingerprint)

    def check_golden(self) -> None:
        """Decode the card's golden payload, and compare the pixels with those in the card.

        Raises:
            GoldenMismatch: a pixel differs by more than 4 of 255.
        """
        golden = self.card.golden
        expected = AnySizeReader().read(base64.b64decode(golden.reconstruction_png_base64)).pixels
        pixels = self.decode_raw(base64.b64decode(golden.payload_base64))
        if np.abs(pixels.astype(np.int16) - expected).max() > GOLDEN_PIXEL_TOLERANCE:
            raise GoldenMismatch(f"the decoder of model '{self.card.name}' does not give its golden pixels")

    def header_of(self, payload: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Header:
        """Return what a payload says of its image; raise as `decode_raw`, without looking at anything else."""
        header = read_lossless_header(payload) if is_lossless(payload) else read_header(payload)[0]
        if header.height * header.width > max_pixels:
            raise ImageTooLarge(
                f"the bitstream claims {header.width:,} × {header.height:,} pixels; at most {max_pixels:,} are allowed"
            )
        if header.quality > (best := self.entropy.tables.best_quality):
            raise InvalidCode(
                f"the bitstream has the quality index {header.quality}; those of this model end at {best}"
            )
        return header

    def _parse(self, payload: bytes, max_pixels: int) -> Parsed:
        self.header_of(payload, max_pixels)
        return read_payload(payload)


def _with_alpha(colours: image.Pixels, alpha: image.Pixels | None) -> image.Pixels:
    """Return colours, uint8 (h, w, 1 or 3), with alpha, uint8 (h, w); None is transparent."""
    pixels = np.zeros((*colours.shape[:2], colours.shape[2] + 1), np.uint8)
    if alpha is not None:
        np.multiply(colours, (alpha > 0)[:, :, None], out=pixels[:, :, :-1])
        pixels[:, :, -1] = alpha
    return pixels
