"""The classical codecs: pixels, uint8 (H, W, 3), to the bytes of a whole file and back, and the settings to try.

Each codec is measured at the settings that suit it best, and WebP and AVIF also at their fast ones. Their own decoders
read the files.
"""

import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from latentwire.imaging.image import Pixels

JPEG, WEBP, WEBP_FAST, AVIF, AVIF_FAST = "JPEG", "WebP m6", "WebP m4", "AVIF s4", "AVIF s6"
JPEG_XL, JPEG_2000 = "JPEG XL e7", "JPEG 2000"

# A search for the best quality that fits a number of bytes tries these.
_JPEG_2000_FINE = tuple(range(10, 52))
_JPEG_XL_FINE = tuple(25 * 0.92**step for step in range(48))


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec at all of its qualities.

    Attributes:
        name: with its setting.
        library: that codes, with its version.
        qualities: that are measured, from the fewest bytes.
        fine: all that a search for a number of bytes tries, from the fewest bytes.
        write: (pixels, quality) -> file.
        read: file -> pixels.
        data_bytes: what of a file is not headers.
    """

    name: str
    library: str
    qualities: tuple[float, ...]
    fine: tuple[float, ...]
    write: Callable[[Pixels, float], bytes]
    read: Callable[[bytes], Pixels]
    data_bytes: Callable[[bytes], int]

    def writer(self, quality: float) -> Callable[[Pixels], bytes]:
        """Return what writes files at one quality."""
        return lambda pixels: self.write(pixels, quality)


def codecs() -> list[Codec]:
    """Return the installed codecs."""
    made = []
    percent = tuple(range(101))
    qualities: tuple[float, ...]
    options: dict[str, Any]
    if features.check("jpg"):
        options = {"optimize": True, "progressive": True, "subsampling": "4:2:0"}
        write = partial(_write, file_format="JPEG", **options)
        qualities = (5, 12, 25, 40, 60, 75, 87, 94)
        library = _pillow("libjpeg_turbo", "libjpeg-turbo")
        made.append(Codec(JPEG, library, qualities, percent, write, _read, jpeg_data_bytes))
    if features.check("webp"):
        for name, method in ((WEBP, 6), (WEBP_FAST, 4)):
            write = partial(_write, file_format="WEBP", method=method)
            qualities = (0, 1, 5, 12, 25, 40, 60, 75, 87, 95)
            library = _pillow("webp", "libwebp")
            made.append(Codec(name, library, qualities, percent, write, _read, webp_data_bytes))
    if features.check("avif"):
        # By default the encoder weighs more than the squared error.
        for name, speed, tuned in ((AVIF, 4, {"advanced": {"tune": "psnr"}}), (AVIF_FAST, 6, {})):
            options = {"speed": speed, "subsampling": "4:2:0", "codec": "aom", "max_threads": 1, **tuned}
            write = partial(_write, file_format="AVIF", **options)
            qualities = (0, 10, 22, 35, 48, 60, 72, 84)
            library = _pillow("avif", "libavif") + (", tune psnr" if tuned else "")
            made.append(Codec(name, library, qualities, percent, write, _read, avif_data_bytes))
    if importlib.util.find_spec("imagecodecs") is not None:
        made.append(_jpeg_xl())
    if features.check("jpg_2000"):
        qualities, library = (22, 25, 28, 31, 34, 37, 41), _pillow("jpg_2000", "OpenJPEG")
        made.append(
            Codec(JPEG_2000, library, qualities, _JPEG_2000_FINE, _write_jpeg_2000, _read, jpeg_2000_data_bytes)
        )
    return made


def lossless_bytes(pixels: Pixels) -> int:
    """Return the bytes of a lossless WebP file."""
    return len(_write(pixels, 100, file_format="WEBP", lossless=True, method=6))


def jpeg_data_bytes(file: bytes) -> int:
    """Return the bytes of the scans, without tables and other segments."""
    count, at = 0, 2
    while file[at : at + 2] != b"\xff\xd9":
        marker, length = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        at += 2 + length
        if marker == 0xDA:
            begin = at
            # Within a scan, 0xff is followed by 0 or by the number of a restart.
            while file[at] != 0xFF or file[at + 1] == 0 or 0xD0 <= file[at + 1] <= 0xD7:
                at += 1
            count += at - begin
    return count


def webp_data_bytes(file: bytes) -> int:
    """Return the bytes of the partitions: without RIFF's headers, and without start code and sides."""
    return len(file) - 20 - 10


def avif_data_bytes(file: bytes) -> int:
    """Return the bytes of the AV1 bitstream, without the boxes that describe it."""
    at = 0
    while at < len(file):
        length, kind = int.from_bytes(file[at : at + 4], "big"), file[at + 4 : at + 8]
        if kind == b"mdat":
            return (length or len(file) - at) - 8
        at += length
    raise ValueError("an AVIF file without mdat")


def jpeg_2000_data_bytes(file: bytes) -> int:
    """Return the bytes after the header of the only tile."""
    return len(file) - file.index(b"\xff\x93") - 4


def _jpeg_xl() -> Codec:
    import imagecodecs

    def write(pixels: Pixels, distance: float) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(pixels, effort=7, distance=distance, usecontainer=False, numthreads=1))

    def read(file: bytes) -> Pixels:
        pixels: Pixels = imagecodecs.jpegxl_decode(file, numthreads=1)
        return pixels

    library = f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}"
    # A bare codestream, whose header of some 10 bytes no simple rule tells from the rest.
    return Codec(JPEG_XL, library, (20, 13, 8, 5, 3.2, 2, 1.2, 0.7), _JPEG_XL_FINE, write, read, len)


def _pillow(feature: str, name: str) -> str:
    return f"Pillow {PIL.__version__}, {name} {features.version(feature)}"


def _write(pixels: Pixels, quality: float, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, quality=int(quality), **options)
    return buffer.getvalue()


def _write_jpeg_2000(pixels: Pixels, quality: float) -> bytes:
    # A comment of one byte replaces the library's own, which is 32 bytes longer. Each resolution halves the sides.
    options: dict[str, Any] = {"no_jp2": True, "comment": " ", "irreversible": True, "mct": 1}
    resolutions = min(6, max(1, min(pixels.shape[:2]).bit_length() - 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer,
        "JPEG2000",
        quality_mode="dB",
        quality_layers=[quality],
        num_resolutions=resolutions,
        **options,
    )
    return buffer.getvalue()


def _read(file: bytes) -> Pixels:
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture.convert("RGB"))
