"""What callers give for an image or a bitstream -> the bytes of a request."""

import io
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from latentwire.client.results import Encoded, EncodedMany
from latentwire.errors import ImageMismatch
from latentwire.format.npy import npy_header
from latentwire.imaging import image
from latentwire.imaging.fitting import MODE_OF_CHANNELS

# An image file as its path or its bytes; uint8 pixels (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); or a Pillow image.
ImageSource = str | os.PathLike[str] | bytes | npt.NDArray[np.uint8] | Pillow.Image
# A bitstream, the path of a file with one, or what `encode` has returned.
BitstreamSource = bytes | str | os.PathLike[str] | Encoded
# A container, the path of a file with one, or what `encode_container` has returned.
ContainerSource = bytes | str | os.PathLike[str] | EncodedMany

OCTETS = "application/octet-stream"
JSON = "application/json"
NPY = "application/x-npy"

# An image as the bytes of a file, or as pixels, uint8 (H, W, C).
Prepared = bytes | image.Pixels

_PNG_MODES = frozenset(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))
# Pixels are compressed once more by the model, so their file is written in little time rather than in few bytes.
_PNG_LEVEL = 1


class Body(NamedTuple):
    """The body of a request, and its media type."""

    content: bytes
    media_type: str


def prepare(source: ImageSource) -> Prepared:
    """Return an image as a file or as pixels.

    Raises:
        OSError: the file cannot be read.
        ImageMismatch: an array of another type or number of axes, or a Pillow image of a rare mode.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, np.ndarray):
        # A copy, as the caller may draw the next image into the same array before this one is sent.
        return image.as_pixels(source).copy()
    if not isinstance(source, Pillow.Image):
        return Path(source).read_bytes()
    if source.mode in MODE_OF_CHANNELS.values() and "transparency" not in source.info:
        return image.as_pixels(np.asarray(source))
    buffer = io.BytesIO()
    try:
        source.save(buffer, "PNG" if source.mode in _PNG_MODES else "TIFF")
    except (OSError, KeyError) as error:
        raise ImageMismatch(
            f"a Pillow image of the mode {source.mode} cannot be sent; convert it to L, RGB or RGBA"
        ) from error
    return buffer.getvalue()


def image_body(prepared: Prepared) -> Body:
    """Return the body of a request with one image."""
    if isinstance(prepared, bytes):
        return Body(prepared, OCTETS)
    if prepared.shape[2] == 1:
        return Body(image.write_png(prepared), OCTETS)
    return Body(image.write_file(prepared, "PNG", compress_level=_PNG_LEVEL), OCTETS)


def batch_body(batch: Sequence[Prepared]) -> Body:
    """Return the body of a request with one or more images: an array of pixels of one shape, or a form of files."""
    arrays = [one for one in batch if not isinstance(one, bytes)]
    if len(arrays) == len(batch) and len({one.shape for one in arrays}) == 1:
        pixels = np.stack(arrays)
        return Body(npy_header(pixels.dtype, pixels.shape) + pixels.tobytes(), NPY)
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n\r\n'.encode()
    parts = [part for one in batch for part in (head, image_body(one).content, b"\r\n")]
    return Body(b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}")


def bitstream_of(source: BitstreamSource | ContainerSource) -> bytes:
    """Return a bitstream or a container; raise OSError if its file cannot be read."""
    if isinstance(source, Encoded):
        return source.bitstream
    if isinstance(source, EncodedMany):
        return source.container
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    return Path(source).read_bytes()
