"""The targets of fuzzing: functions that read bytes, and may only raise the documented errors.

Each target also wraps its input in a frame with valid checksums, which hardly any random bytes would have. All targets
use the card of `tests.contract.hostile_codes`, whose graphs do not exist.
"""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from latentwire.decoder import Decoder
from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.entropy.coder_tables import Tables
from latentwire.entropy.lanes import SymbolWriter, open_reader
from latentwire.entropy.symbols import Symbols
from latentwire.errors import CodeError, DamagedChunk, ImageError, InvalidCard, InvalidCode
from latentwire.format import any_size, lossless
from latentwire.format.bitstream import write_bitstream
from latentwire.format.container_reader import FrameReader
from latentwire.format.container_writer import FrameWriter
from latentwire.imaging.formats import DEFAULT_FORMATS, FORMATS
from latentwire.imaging.image import write_file
from latentwire.imaging.png_fast_path import read_plain_png
from latentwire.imaging.reader import ImageReader
from latentwire.imaging.strip_metadata import strip
from latentwire.imaging.strip_png import PNG_SIGNATURE
from latentwire.model.card import read_card
from latentwire.model.onnx_session import Floats, OnnxModel
from tests.contract.hostile_codes import FOLDER, NAME, SHAPE, card, sound_bitstream, sound_image, sound_payload
from tests.latentwire.pictures import png_chunk

_CARD = card()
_CODER = ArithmeticCoder(_CARD.tables)
_LANE_TABLES = Tables(_CARD.tables)
_ANY_SIZE_CHECK = 0xBEEF
_MAX_IMAGES = 1 << 14
_MAX_PIXELS = 1 << 14
_PIXELS = np.arange(SHAPE.pixels, dtype=np.uint8).reshape(SHAPE.as_tuple())


class _Grey(OnnxModel):
    """A decoder's graph that always gives a grey image."""

    def __init__(self) -> None:
        pass

    def run(self, values: Floats) -> Floats:
        return np.full((len(values), SHAPE.channels, SHAPE.height, SHAPE.width), 0.5, np.float32)


_DECODER = Decoder(_CARD, _Grey())


def fuzz_code(data: bytes) -> None:
    """Decode a bitstream in the full framing: the input, and the input as the payload of a valid frame."""
    for bitstream in (data, write_bitstream(data, _CARD.fingerprint)):
        try:
            pixels = _DECODER.decode([bitstream])
        except CodeError:
            continue
        _expect(pixels.shape == (1, *SHAPE.as_tuple()), "an image of another shape")


def fuzz_raw(data: bytes) -> None:
    """Decode a payload in the raw framing; encoding the result must give the same bytes."""
    try:
        pixels = _DECODER.decode_raw([data])
    except InvalidCode:
        return
    if lossless.is_lossless(data):
        again = lossless.read_payload(lossless.write_payload(pixels[0]), SHAPE)
        _expect(np.array_equal(again, pixels[0]), "a lossless image that is not written as it was read")
    else:
        _expect(_CODER.encode(_CODER.decode(data).tolist())[0] == data, "two payloads of the same symbols")


def fuzz_card(data: bytes) -> None:
    """Read a model card; a valid card must be the same after writing and reading it."""
    try:
        found = read_card(data, NAME)
    except InvalidCard:
        return
    _expect(read_card(found.to_json().encode(), NAME) == found, "a card that changes by being written")


def fuzz_container(data: bytes) -> None:
    """Decode a container: the input, fed in two pieces, and the input as the body of a valid chunk."""
    half = len(data) // 2
    _read_container(data[:half], data[half:])
    writer = FrameWriter(_CARD.fingerprint)
    images = 1 + int.from_bytes(data[:2], "big") % 64
    _read_container(writer.header() + writer.chunk(images, data[2:]) + writer.end())


def fuzz_image(data: bytes) -> None:
    """Read an image file: the input, and the input as the lines of a valid PNG file. Pillow must read the same."""
    for file in (data, _png_of(data)):
        for fit in ("strict", "resize", "pad"):
            try:
                pixels = ImageReader(SHAPE, fit, max_pixels=_MAX_PIXELS).read(file).pixels
            except ImageError:
                continue
            _expect(pixels.shape == SHAPE.as_tuple(), "an image of another shape")
        try:
            stripped, _ = strip(file)
        except ImageError:
            continue
        if (plain := read_plain_png(stripped, SHAPE)) is not None:
            with Image.open(io.BytesIO(stripped), formats=["PNG"]) as picture:
                _expect(np.array_equal(plain[:, :, 0], np.asarray(picture)), "pixels that Pillow does not see")


def fuzz_any_size(data: bytes) -> None:
    """Take the payload of an image of any size apart, and read symbols from its end; both must be written as read."""
    try:
        parsed = any_size.read_payload(data)
        parsed.check_whole()
    except InvalidCode:
        return
    bodies = [body for body in parsed.bodies if body is not None]
    _expect(any_size.write_payload(parsed.header, bodies) == data, "two payloads of the same parts")
    _expect(len(bodies) == len(any_size.parts_of(parsed.header)), "another number of parts")
    numbers = np.arange(parsed.header.height % 64) % len(_CARD.tables)
    lanes = _any_size_lanes(len(numbers))
    try:
        reader = open_reader(_LANE_TABLES, bodies[0], lanes)
        symbols = reader.read(numbers)
        reader.finish(_ANY_SIZE_CHECK)
    except InvalidCode:
        return
    _expect(_any_size_body(symbols, lanes) == bodies[0], "two bodies of the same symbols")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "code": fuzz_code,
    "raw": fuzz_raw,
    "card": fuzz_card,
    "container": fuzz_container,
    "image": fuzz_image,
    "any-size": fuzz_any_size,
}


def seeds(target: str) -> dict[str, bytes]:
    """Return the inputs that fuzzing of a target starts from, by name: valid bytes, hostile files and the corpus."""
    return {**written_seeds(target), **{path.name: path.read_bytes() for path in _kept_files(target)}}


def written_seeds(target: str) -> dict[str, bytes]:
    """Return the valid bytes and the hostile files of a target, by name."""
    whole = {
        "code": {"sound": sound_bitstream(), "sound-image": write_bitstream(sound_image(), _CARD.fingerprint)},
        "raw": {"sound": sound_payload(), "sound-image": sound_image()},
        "card": {"sound": _CARD.to_json().encode()},
        "container": {},
        "image": {f"sound-{name}": write_file(_PIXELS, FORMATS[name].pillow) for name in DEFAULT_FORMATS},
        "any-size": {f"sound-{height}": _any_size_payload(height) for height in (1, 9, 31, 63, 64, 1100, 5000)},
    }[target]
    return {**whole, **{path.name: path.read_bytes() for path in sorted(FOLDER.glob(f"{target}-*"))}}


def kept_seeds(target: str) -> list[bytes]:
    """Return the corpus of a target, which earlier runs found."""
    return [path.read_bytes() for path in _kept_files(target)]


def _kept_files(target: str) -> list[Path]:
    return sorted((Path(__file__).parent / "corpus" / target).glob("*"))


def _any_size_payload(height: int) -> bytes:
    """Return a payload whose parts all have the same symbols, as many as the height says."""
    header = any_size.Header(height, 20, 3, height % 256)
    symbols = np.random.default_rng(height).integers(-3, 50, height % 64)
    body = _any_size_body(symbols, _any_size_lanes(len(symbols)))
    return any_size.write_payload(header, [body] * any_size.part_count(header))


def _any_size_lanes(count: int) -> int:
    """Return a number of lanes for which so many symbols of a payload have enough bits."""
    return (1, 2, 4)[count // 22]


def _any_size_body(symbols: Symbols, lanes: int) -> bytes:
    writer = SymbolWriter(_LANE_TABLES)
    writer.write(np.arange(len(symbols)) % len(_CARD.tables), symbols)
    return writer.finish(_ANY_SIZE_CHECK, lanes)


def _read_container(*pieces: bytes) -> None:
    images = 0
    try:
        for pixels in _DECODER.decode_batch(pieces):
            images += len(pixels)
            _expect(pixels.shape[1:] == SHAPE.as_tuple(), "images of another shape")
    except CodeError:
        pass
    # `latentwire decode` reads on after damage.
    reader = FrameReader()
    for piece in pieces:
        reader.feed(piece)
    for _ in range(len(b"".join(pieces)) + 2):
        try:
            if reader.take() is None:
                break
        except DamagedChunk as error:
            if error.images is None:
                break
        except CodeError:
            break
    else:
        raise AssertionError("a reader that does not end")
    _expect(images <= _MAX_IMAGES * (1 + reader.chunks), "more images than chunks can have")


def _png_of(data: bytes) -> bytes:
    """Return a PNG file of the model's shape whose lines are these bytes, each with a valid filter."""
    line_bytes = 1 + SHAPE.width
    lines = bytearray(data[: SHAPE.height * line_bytes].ljust(SHAPE.height * line_bytes, b"\0"))
    lines[::line_bytes] = bytes(kind % 5 for kind in lines[::line_bytes])
    head = struct.pack(">IIBBBBB", SHAPE.width, SHAPE.height, 8, 0, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(bytes(lines), 1)), png_chunk(b"IEND", b"")]
    return b"".join([PNG_SIGNATURE, *chunks])


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
