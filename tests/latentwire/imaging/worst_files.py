"""Files of up to 10 MiB that cost a reader without bounds the most, by format. Run as a program, it measures each.

It prints a JSON object: for each file, seconds of processor time, the least of three, and bytes of memory at the peak
beyond those of the file.
"""

import contextlib
import gc
import json
import os
import resource
import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any

import numpy as np
from PIL import Image

from latentwire.errors import ImageError
from latentwire.imaging.formats import DEFAULT_FORMATS
from latentwire.imaging.reader import ImageReader
from latentwire.imaging.strip_bmp import MAX_RUN_LENGTH_BYTES
from latentwire.imaging.strip_jpeg import MAX_SCANS
from latentwire.model.card import ImageShape
from tests.latentwire.pictures import file_of, png_chunk

MAX_BYTES = 10 << 20
READER = ImageReader(ImageShape(height=28, width=28, channels=1), "resize", formats=(*DEFAULT_FORMATS, "tiff"))
_SIDE, _LARGE_SIDE = 28, 2048
_KIBIBYTES = 1024 if sys.platform == "linux" else 1

_GREY = Image.new("L", (_SIDE, _SIDE), 90)
_COLOURS = Image.new("RGB", (_SIDE, _SIDE), (9, 99, 200))
_JPEG, _GIF, _WEBP = file_of(_GREY, "JPEG"), file_of(_GREY, "GIF"), file_of(_COLOURS, "WEBP")
_FRAME_AT, _SCAN_AT = _GIF.index(b",", 13), _JPEG.index(b"\xff\xda")


class Bits:
    """Bits in the order of deflate and of WebP: the lowest of a byte first."""

    def __init__(self) -> None:
        self.bits: list[int] = []

    def add(self, *values_and_widths: tuple[int, int]) -> "Bits":
        """Add numbers, each with its width in bits."""
        for value, width in values_and_widths:
            self.bits += [value >> index & 1 for index in range(width)]
        return self

    def repeated(self, size: int) -> bytes:
        """About `size` bytes that repeat the bits."""
        unit = np.packbits(np.tile(np.array(self.bits, np.uint8), 8), bitorder="little").tobytes()
        return unit * (size // len(unit))


def png(parts: bytes, side: int = _SIDE, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG file of these chunks between header and end."""
    head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + parts + png_chunk(b"IEND", b"")


def gif_frame(blocks: bytes, side: int = _SIDE) -> bytes:
    """A GIF file of one frame without a palette."""
    screen = b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x08" + blocks + b"\0;"


def bmp_of_runs(runs: bytes, side: int = _SIDE) -> bytes:
    """A BMP file with run lengths of bytes."""
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256))
    start = 54 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + palette + runs


def webp_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a WebP file."""
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp(*chunks: bytes, flags: int = 0, side: int = _SIDE) -> bytes:
    """A WebP file with an extended header and these chunks."""
    last = struct.pack("<I", side - 1)[:3]
    content = b"WEBP" + webp_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + last + last) + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def webp_of_tables(groups: int) -> bytes:
    """A lossless WebP file with this many groups of Huffman tables, of which it uses the last."""

    def simple(symbol: int) -> tuple[tuple[int, int], ...]:
        return (1, 1), (0, 1), (1, 1), (symbol, 8)

    head = Bits().add((0x2F, 8), (_SIDE - 1, 14), (_SIDE - 1, 14), (0, 1), (0, 3))
    # No transform, a colour cache of 11 bits, and a group for each 4 × 4 pixels.
    head.add((0, 1), (1, 1), (11, 4), (1, 1), (0, 3), (0, 1))
    for symbol in (groups - 1 & 0xFF, groups - 1 >> 8, 0, 0xFF, 0):
        head.add(*simple(symbol))
    tables = np.tile(np.array(Bits().add(*[(1, 1), (0, 1), (0, 1), (0, 1)] * 5).bits, np.uint8), groups)
    bits = np.concatenate([np.array(head.bits, np.uint8), tables, np.zeros(64, np.uint8)])
    return webp(webp_chunk(b"VP8L", np.packbits(bits, bitorder="little").tobytes()))


def tiff(tags: Sequence[tuple[int, int, int, int]], data: bytes, side: int = _SIDE) -> bytes:
    """A TIFF file of grey pixels with `data` at its byte 8, and these tags: number, type, count and value."""
    common = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted([*common, *tags]))
    count = len(common) + len(tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", count) + entries + bytes(4)


def jpeg_of_scans(scans: int, side: int) -> bytes:
    """A progressive JPEG file whose last scan occurs many times."""
    data = file_of(Image.new("RGB", (side, side)), "JPEG", progressive=True)
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def _segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(data)) + data


def _empty_deflate_blocks(size: int) -> bytes:
    """Compressed data of blocks with tables and without content."""
    block = Bits().add((0, 1), (2, 2), (0, 5), (0, 5), (14, 4))
    # Lengths of the codes of lengths: one bit for 18, which repeats zeros, and for 1.
    block.add(*((int(symbol in (2, 17)), 3) for symbol in range(18)))
    block.add((1, 1), (138 - 11, 7), (1, 1), (118 - 11, 7), (0, 1), (0, 1), (0, 1))
    return b"\x78\x9c" + block.repeated(size)


def _clear_codes(size: int) -> bytes:
    """Blocks of a GIF frame that begins its table of strings again and again."""
    return (b"\xff" + Bits().add((256, 9)).repeated(2600)[:255]) * (size // 256)


_FILL = b"\xff" * (MAX_BYTES - len(_JPEG))
_EMPTY_IDAT = png_chunk(b"IDAT", zlib.compress(bytes(_SIDE * (_SIDE + 1))))
_ANIMATION = 0x02

FILES: dict[str, Callable[[], bytes]] = {
    "PNG, small chunks of text": lambda: png(png_chunk(b"tEXt", b"a\0b") * (MAX_BYTES // 15 - 99) + _EMPTY_IDAT),
    "PNG, small chunks of the picture": lambda: png(png_chunk(b"IDAT", bytes(1012)) * (MAX_BYTES // 1024 - 9)),
    "PNG, a palette of megabytes": lambda: png(png_chunk(b"PLTE", bytes(MAX_BYTES - 999)) + _EMPTY_IDAT, colour=3),
    "PNG, empty blocks": lambda: png(png_chunk(b"IDAT", _empty_deflate_blocks(MAX_BYTES - 999))),
    "PNG, empty blocks that claim many pixels": lambda: png(
        png_chunk(b"IDAT", _empty_deflate_blocks(MAX_BYTES - 999)), _LARGE_SIDE, 8, 6
    ),
    "PNG, many zeros": lambda: png(png_chunk(b"IDAT", zlib.compress(bytes(1 << 26), 1))),
    "JPEG, fill bytes before the picture": lambda: _JPEG[:2] + _FILL + _JPEG[2:],
    "JPEG, fill bytes before the scan": lambda: _JPEG[:_SCAN_AT] + _FILL + _JPEG[_SCAN_AT:],
    "JPEG, fill bytes in the scan": lambda: _JPEG[:-2] + _FILL + _JPEG[-2:],
    "JPEG, fill bytes that are none": lambda: _JPEG[:-2] + _FILL[1:] + b"\0" + _JPEG[-2:],
    "JPEG, small comments": lambda: _JPEG[:2] + _segment(0xFE, b"") * (MAX_BYTES // 4 - 999) + _JPEG[2:],
    "JPEG, small comments after the scan": lambda: (
        _JPEG[:-2] + _segment(0xFE, b"") * (MAX_BYTES // 4 - 999) + _JPEG[-2:]
    ),
    "JPEG, tables": lambda: (
        _JPEG[:_SCAN_AT] + _segment(0xC4, bytes(17) * 60) * (MAX_BYTES // 1024 - 9) + _JPEG[_SCAN_AT:]
    ),
    "JPEG, positions": lambda: _JPEG[:-2] + b"\xff\xd0" * (MAX_BYTES // 2 - 999) + _JPEG[-2:],
    "JPEG, scans": lambda: jpeg_of_scans(MAX_SCANS, 1024),
    "JPEG, bytes after the picture": lambda: _JPEG + np.random.default_rng(0).bytes(MAX_BYTES - len(_JPEG)),
    "GIF, a comment in small blocks": lambda: (
        _GIF[:_FRAME_AT] + b"!\xfe" + b"\1a" * (MAX_BYTES // 2 - 999) + b"\0" + _GIF[_FRAME_AT:]
    ),
    "GIF, frames": lambda: _GIF[:-1] + _GIF[_FRAME_AT:-1] * (MAX_BYTES // len(_GIF)) + b";",
    "GIF, a picture in small blocks": lambda: gif_frame(b"\1\0" * (MAX_BYTES // 2 - 999)),
    "GIF, control blocks": lambda: _GIF[:_FRAME_AT] + b"!\xf9\4\0\0\0\0\0" * (MAX_BYTES // 8 - 999) + _GIF[_FRAME_AT:],
    "GIF, bytes between blocks": lambda: _GIF[:_FRAME_AT] + bytes(MAX_BYTES - 999) + _GIF[_FRAME_AT:],
    "GIF, clear codes": lambda: gif_frame(_clear_codes(MAX_BYTES - 999)),
    "GIF, clear codes that claim many pixels": lambda: gif_frame(_clear_codes(MAX_BYTES - 999), _LARGE_SIDE),
    "BMP, steps of no size": lambda: bmp_of_runs(b"\0\2\0\0" * (MAX_BYTES // 4 - 999)),
    "BMP, ends of lines": lambda: bmp_of_runs(b"\0\0" * (MAX_BYTES // 2 - 999)),
    "BMP, ends of lines, as many as are read": lambda: bmp_of_runs(b"\0\0" * (MAX_RUN_LENGTH_BYTES // 2 - 999)),
    "BMP, runs of one pixel": lambda: bmp_of_runs(b"\1\1" * (1 << 22), _LARGE_SIDE),
    "BMP, runs of one pixel, as many as are read": lambda: bmp_of_runs(
        b"\1\1" * (MAX_RUN_LENGTH_BYTES // 2 - 999), 1024
    ),
    "TIFF, tags of megabytes": lambda: tiff(
        [(tag, 3, MAX_BYTES // 2 - 999, 8) for tag in (273, 279, *range(40_000, 40_100))], bytes(MAX_BYTES - 1999)
    ),
    "TIFF, many tags": lambda: tiff([(tag, 3, 1, 8) for tag in range(5000, 65_000)], bytes(99)),
    "TIFF, strips that share their bytes": lambda: tiff(
        [(259, 3, 1, 8), (278, 3, 1, 1), (273, 4, _LARGE_SIDE, 8), (279, 4, _LARGE_SIDE, 8 + 4 * _LARGE_SIDE)],
        struct.pack("<I", 8) * _LARGE_SIDE
        + struct.pack("<I", MAX_BYTES - 99_999) * _LARGE_SIDE
        + bytes(MAX_BYTES - 99_999),
        _LARGE_SIDE,
    ),
    "TIFF, empty blocks": lambda: tiff(
        [(259, 3, 1, 8), (273, 4, 1, 8), (279, 4, 1, MAX_BYTES - 999)], _empty_deflate_blocks(MAX_BYTES - 999)
    ),
    "TIFF, empty blocks that claim many pixels": lambda: tiff(
        [(259, 3, 1, 8), (273, 4, 1, 8), (278, 4, 1, _LARGE_SIDE), (279, 4, 1, MAX_BYTES - 999)],
        _empty_deflate_blocks(MAX_BYTES - 999).ljust(MAX_BYTES - 999, b"\0"),
        _LARGE_SIDE,
    ),
    "TIFF, fax without pixels": lambda: tiff(
        [(259, 3, 1, 3), (273, 4, 1, 8), (279, 4, 1, MAX_BYTES - 999)], bytes(MAX_BYTES - 999), _LARGE_SIDE
    ),
    "TIFF, a large tile": lambda: tiff(
        [(322, 4, 1, 1 << 15), (323, 4, 1, 1 << 15), (324, 4, 1, 8), (325, 4, 1, 99)], bytes(99)
    ),
    "WebP, empty chunks": lambda: webp(b"JUNK\0\0\0\0" * (MAX_BYTES // 8 - 999), _WEBP[12:]),
    "WebP, a profile of megabytes": lambda: webp(webp_chunk(b"ICCP", bytes(MAX_BYTES - 999)), _WEBP[12:], flags=0x20),
    "WebP, frames": lambda: webp(
        webp_chunk(b"ANIM", bytes(6)),
        webp_chunk(b"ANMF", bytes(6) + struct.pack("<I", _SIDE - 1)[:3] * 2 + bytes(4) + _WEBP[12:])
        * (MAX_BYTES // (len(_WEBP) + 24)),
        flags=_ANIMATION,
    ),
    "WebP, tables that are not used": lambda: webp_of_tables(1 << 16),
    "WebP, tables, as many as are read": lambda: webp_of_tables(12_000),
}


def _read(data: bytes) -> tuple[float, int]:
    """Read a file; return seconds of processor time, and the peak of this process's memory so far in bytes."""
    started_s = process_time()
    with contextlib.suppress(ImageError):
        READER.read(data)
    return process_time() - started_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTES


def _measure(name: str) -> tuple[float, int]:
    """Measure in a process of its own, whose peak begins at what this one has."""
    data = FILES[name]()
    gc.collect()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTES
        measured = [_read(data) for _ in range(3)]
        os.write(writer, json.dumps([min(measured)[0], max(peak for _, peak in measured) - before]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        seconds, peak = json.load(pipe)
    return seconds, peak


def main() -> None:
    """Measure all files."""
    for plain in (_JPEG, _GIF, _WEBP, bmp_of_runs(b"\1\1" * _SIDE * _SIDE), file_of(_GREY)):
        _read(plain)  # loads the reader
    results: dict[str, Any] = {name: _measure(name) for name in FILES}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
