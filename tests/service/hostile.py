"""Images that must not be encoded, each with the status and the code of its answer."""

import io
import struct
import zlib

from PIL import Image

from tests.tiny_model import SHAPE

SIZE = (SHAPE.width, SHAPE.height)


def save(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A small, well-formed PNG file with a header that claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\x00" * 100_000)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _animation(file_format: str) -> bytes:
    frames = [Image.new("L", SIZE, shade) for shade in (0, 255)]
    return save(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)


_GREY = Image.new("L", SIZE, 100)
_GOOD = save(_GREY, "PNG")
_JPEG = save(_GREY, "JPEG", progressive=True)
_LAST_SCAN = _JPEG[_JPEG.rfind(b"\xff\xda") : -2]

BAD_IMAGES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "invalid-image"),
    "truncated": (_GOOD[:-20], 400, "invalid-image"),
    "a bit of the picture flipped": (_GOOD[:45] + bytes([_GOOD[45] ^ 1]) + _GOOD[46:], 400, "invalid-image"),
    "text": (b"This is not an image.", 400, "invalid-image"),
    "zeros": (bytes(1000), 400, "invalid-image"),
    "ICO": (save(_GREY, "ICO"), 400, "invalid-image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 400, "invalid-image"),
    "1 × 1": (save(Image.new("L", (1, 1)), "PNG"), 422, "image-mismatch"),
    "one column more": (save(Image.new("L", (SHAPE.width + 1, SHAPE.height)), "PNG"), 422, "image-mismatch"),
    "20,000 × 20,000 claimed": (png_that_claims(20_000, 20_000), 413, "image-too-large"),
    "2³¹ − 1 squared claimed": (png_that_claims(2**31 - 1, 2**31 - 1), 413, "image-too-large"),
    "a JPEG file in thousands of parts": (_JPEG[:2] + b"\xff\xe5\x00\x02" * 5000 + _JPEG[2:], 400, "invalid-image"),
    "a JPEG file of hundreds of scans": (_JPEG[:-2] + _LAST_SCAN * 500 + _JPEG[-2:], 400, "invalid-image"),
    "16 bits": (save(Image.new("I;16", SIZE), "PNG"), 422, "image-mismatch"),
    "CMYK": (save(Image.new("CMYK", SIZE), "JPEG"), 422, "image-mismatch"),
    "palette": (save(Image.new("P", SIZE), "PNG"), 422, "image-mismatch"),
    "alpha": (save(Image.new("LA", SIZE), "PNG"), 422, "image-mismatch"),
    "colour": (save(Image.new("RGB", SIZE), "PNG"), 422, "image-mismatch"),
    "one bit": (save(Image.new("1", SIZE), "PNG"), 422, "image-mismatch"),
    "animated GIF": (_animation("GIF"), 422, "image-mismatch"),
    "animated WebP": (_animation("WEBP"), 422, "image-mismatch"),
    "animated PNG": (_animation("PNG"), 422, "image-mismatch"),
}
