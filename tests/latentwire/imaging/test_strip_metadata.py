import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from latentwire.errors import ImageMismatch, InvalidImage
from latentwire.imaging import image
from latentwire.imaging.strip_metadata import JPEG_SIGNATURE, MAX_SCANS, PNG_SIGNATURE, UPRIGHT, read_orientation, strip
from latentwire.model.card import ImageShape

SHAPE = ImageShape(height=8, width=6, channels=1)
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 6), dtype=np.uint8)


def file_of(file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, file_format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg_segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(data)) + data


def in_png(part: bytes) -> bytes:
    """A PNG file with this chunk after its header."""
    png = file_of("PNG")
    end = len(PNG_SIGNATURE) + 25
    return png[:end] + part + png[end:]


def in_jpeg(part: bytes) -> bytes:
    """A JPEG file with this segment at its beginning."""
    return JPEG_SIGNATURE + part + file_of("JPEG")[2:]


def exif_of(tags: list[tuple[int, int, int, int]], order: str = "<") -> bytes:
    entries = b"".join(struct.pack(order + "HHIHxx", *tag) for tag in tags)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return start + struct.pack(order + "H", len(tags)) + entries + bytes(4)


ORIENTATION = 0x0112
TURNED = exif_of([(ORIENTATION, 3, 1, 6)])


def test_a_file_of_nothing_but_a_picture_comes_back_as_it_is() -> None:
    for data in (file_of("PNG"), file_of("JPEG"), file_of("WEBP"), file_of("BMP"), file_of("GIF"), b"no image"):
        assert strip(data) == (data, UPRIGHT)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"prVt", b"gAMA"])
def test_a_png_file_is_stripped_of_all_but_its_picture(kind: bytes) -> None:
    assert strip(in_png(png_chunk(kind, b"something"))) == (file_of("PNG"), UPRIGHT)
    before_end = file_of("PNG")[:-12] + png_chunk(kind, b"") + file_of("PNG")[-12:]
    assert strip(before_end) == (file_of("PNG"), UPRIGHT)


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEF, 0xFE])
def test_a_jpeg_file_is_stripped_of_comments_and_applications(marker: int) -> None:
    assert strip(in_jpeg(jpeg_segment(marker, b"something") * 3)) == (file_of("JPEG"), UPRIGHT)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "RGBA", "1", "I;16"])
def test_a_stripped_png_file_has_the_same_picture(mode: str) -> None:
    buffer = io.BytesIO()
    palette = {"transparency": 3} if mode == "P" else {}
    Image.fromarray(PICTURE).convert(mode).save(buffer, "PNG", dpi=(72, 72), icc_profile=b"any", **palette)
    data, _ = strip(buffer.getvalue())
    assert len(data) < len(buffer.getvalue())
    with Image.open(io.BytesIO(data)) as stripped, Image.open(buffer) as whole:
        assert stripped.mode == whole.mode
        assert stripped.convert("RGBA").tobytes() == whole.convert("RGBA").tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_stripped_jpeg_file_has_the_same_picture(mode: str, progressive: bool) -> None:
    buffer = io.BytesIO()
    options = {"progressive": progressive, "exif": b"Exif\0\0", "comment": b"a comment", "icc_profile": b"any"}
    Image.fromarray(PICTURE).convert(mode).save(buffer, "JPEG", **options)
    data, _ = strip(buffer.getvalue())
    assert len(data) < len(buffer.getvalue())
    with Image.open(io.BytesIO(data)) as stripped, Image.open(buffer) as whole:
        assert stripped.mode == whole.mode
        assert stripped.tobytes() == whole.tobytes()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(9))
def test_a_picture_is_turned_as_pillow_turns_it(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[ORIENTATION] = orientation
    turned = Image.fromarray(PICTURE)
    buffer = io.BytesIO()
    turned.save(buffer, file_format, exif=exif, **({"lossless": True} if file_format == "WEBP" else {}))

    with Image.open(buffer) as saved:
        expected = np.asarray(ImageOps.exif_transpose(saved).convert("L"))
    height, width = expected.shape
    shape = ImageShape(height=height, width=width, channels=1)
    if file_format == "WEBP":
        found = image.read_image(buffer.getvalue(), shape, "resize")
    else:
        found = image.read_image(buffer.getvalue(), shape)
        swapped = ImageShape(height=width, width=height, channels=1)
        with pytest.raises(ImageMismatch, match=f"is {height} × {width}"):
            image.read_image(buffer.getvalue(), swapped)
    np.testing.assert_array_equal(found[:, :, 0], expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_orientation_is_read_in_either_order_with_and_without_its_mark(order: str) -> None:
    exif = exif_of([(0x010F, 2, 1, 0), (ORIENTATION, 3, 1, 8)], order)
    assert read_orientation(exif) == read_orientation(b"Exif\0\0" + exif) == 8


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"JJ*\0" + TURNED[4:],
        TURNED[:4] + b"\xff\xff\xff\xff" + TURNED[8:],
        TURNED[:15],
        exif_of([(ORIENTATION, 3, 1, 9)]),
        exif_of([(ORIENTATION, 3, 1, 0)]),
        exif_of([(ORIENTATION, 4, 1, 6)]),
        exif_of([(1, 3, 1, 6)] * 1000 + [(ORIENTATION, 3, 1, 6)]),
    ],
    ids=["empty", "cut", "no order", "far away", "cut tag", "nine", "zero", "another type", "too late"],
)
def test_an_orientation_that_is_not_sound_is_none(exif: bytes) -> None:
    assert read_orientation(exif) == UPRIGHT


@pytest.mark.parametrize(
    "wrap",
    [lambda exif: in_png(png_chunk(b"eXIf", exif)), lambda exif: in_jpeg(jpeg_segment(0xE1, b"Exif\0\0" + exif))],
)
def test_what_exif_data_claim_is_not_looked_at(wrap: Callable[[bytes], bytes]) -> None:
    claims = exif_of([(tag, 1, 60_000, 8) for tag in range(1, 200)])
    expected = image.read_image(wrap(exif_of([])), SHAPE)
    # Pillow would warn of each of them, and warnings are errors here.
    np.testing.assert_array_equal(image.read_image(wrap(claims), SHAPE), expected)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (in_png(png_chunk(b"prVt", b"") * 2000), "PNG image is in too many small parts"),
        (in_jpeg(jpeg_segment(0xE5, b"") * 2000), "JPEG image is in too many small parts"),
        (in_jpeg(jpeg_segment(0xE1, b"Exif\0\0") * 2000), "JPEG image is in too many small parts"),
        (in_jpeg(b"\xff\x01" * 2000), "JPEG image is in too many small parts"),
    ],
)
def test_a_file_in_too_many_small_parts_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(InvalidImage, match=says):
        image.read_image(data, SHAPE)


def test_a_large_file_may_have_many_parts() -> None:
    small = png_chunk(b"prVt", bytes(8192)) * 2000
    assert strip(in_png(small))[0] == file_of("PNG")


def test_a_jpeg_file_of_too_many_scans_is_refused() -> None:
    data = file_of("JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    scans = data.count(b"\xff\xda")
    most = data[:-2] + last * (MAX_SCANS - scans) + data[-2:]
    image.read_image(most, SHAPE)
    with pytest.raises(InvalidImage, match="more than 100 scans"):
        image.read_image(most[:-2] + last + most[-2:], SHAPE)


def test_the_first_picture_of_a_jpeg_file_with_several_is_taken() -> None:
    buffer = io.BytesIO()
    first = Image.fromarray(PICTURE)
    first.save(buffer, "MPO", save_all=True, append_images=[Image.fromarray(PICTURE[::-1])])
    alone = file_of("JPEG")
    np.testing.assert_array_equal(image.read_image(buffer.getvalue(), SHAPE), image.read_image(alone, SHAPE))


@pytest.mark.parametrize("cut", range(2, 20))
def test_a_jpeg_file_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(InvalidImage):
        image.read_image(file_of("JPEG")[:cut], SHAPE)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_any_damage_is_an_invalid_image_or_none(file_format: str) -> None:
    chance = random.Random(0)
    whole = (
        in_png(png_chunk(b"eXIf", TURNED))
        if file_format == "PNG"
        else in_jpeg(jpeg_segment(0xE1, b"Exif\0\0" + TURNED))
    )
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(2, len(data))] = chance.randrange(256)
        try:
            stripped, orientation = strip(bytes(data[: chance.randint(2, len(data))]))
        except InvalidImage:
            continue
        assert len(stripped) <= len(data)
        assert 1 <= orientation <= 8
