import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from latentwire.errors import ImageMismatch, InvalidImage
from latentwire.imaging import image
from latentwire.imaging.exif import UPRIGHT, read_orientation
from latentwire.imaging.strip_jpeg import JPEG_SIGNATURE, MAX_SCANS
from latentwire.imaging.strip_metadata import strip
from latentwire.imaging.strip_png import PNG_SIGNATURE
from latentwire.model.card import ImageShape
from tests.latentwire.imaging.worst_files import tiff

SHAPE = ImageShape(height=8, width=6, channels=1)
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 6), dtype=np.uint8)


def file_of(file_format: str, mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(buffer, file_format, **options)
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
        with pytest.raises(ImageMismatch, match=f"is {width} × {height}"):
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


def test_what_follows_the_picture_of_a_jpeg_file_is_dropped() -> None:
    # Cameras append films, in which the bytes of a scan's marker occur by chance.
    assert strip(file_of("JPEG") + b"film" + b"\xff\xda" * 1000) == (file_of("JPEG"), UPRIGHT)


def test_fill_bytes_of_a_jpeg_file_are_dropped() -> None:
    data = file_of("JPEG")
    scan = data.index(b"\xff\xda")
    filled = data[:2] + b"\xff" * 9 + data[2:scan] + b"\xff" + data[scan:]
    assert strip(filled) == (data, UPRIGHT)


def test_a_large_jpeg_picture_has_few_scans() -> None:
    def claiming(sides: tuple[int, int], scans: int) -> bytes:
        frame = jpeg_segment(0xC2, struct.pack(">BHHB", 8, *sides, 1) + b"\1\x11\0")
        return JPEG_SIGNATURE + frame + jpeg_segment(0xDA, b"\1\1\0\0\0\0") * scans + b"\xff\xd9"

    strip(claiming((2048, 2048), MAX_SCANS))
    strip(claiming((2048, 2049), 20))
    with pytest.raises(InvalidImage, match="more than 20 scans"):
        strip(claiming((2048, 2049), 21))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_more_bytes_than_the_pixels_can_need_are_refused(file_format: str) -> None:
    whole = file_of(file_format)
    many: dict[str, Callable[[int], bytes]] = {
        "PNG": lambda size: in_png(png_chunk(b"IDAT", bytes(size))),
        "JPEG": lambda size: whole[:-2] + bytes(size) + whole[-2:],
        "GIF": lambda size: whole[:-2] + (b"\xff" + bytes(255)) * (size // 256) + whole[-2:],
        "WEBP": lambda size: webp_of(webp_chunks(whole)[0] + b"VP8 " + struct.pack("<I", size) + bytes(size)),
    }
    strip(many[file_format](30_000))
    with pytest.raises(InvalidImage, match="bytes, more than 6 × 8 pixels can need"):
        strip(many[file_format](40_000))


@pytest.mark.parametrize("level", [0, 1, 6])
def test_a_noisy_picture_of_megabytes_is_read(level: int) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (600, 600, 4), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG", compress_level=level)
    assert len(buffer.getvalue()) > 1 << 20
    assert strip(buffer.getvalue()) == (buffer.getvalue(), UPRIGHT)


def test_compressed_data_without_pixels_are_refused() -> None:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1000, 1000, 8, 6, 0, 0, 0))
    nothing = b"\x78\x9c" + b"\0\0\0\xff\xff" * 250_000
    data = PNG_SIGNATURE + head + png_chunk(b"IDAT", nothing) + png_chunk(b"IEND", b"")
    with pytest.raises(InvalidImage, match="compressed data without pixels"):
        strip(data)


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_deflate", "tiff_lzw", "raw"])
def test_a_noisy_tiff_picture_of_megabytes_is_read(compression: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (600, 600, 4), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, "TIFF", compression=compression)
    assert len(buffer.getvalue()) > 1 << 20
    with Image.open(io.BytesIO(strip(buffer.getvalue())[0])) as stripped:
        assert stripped.tobytes() == noise.tobytes()


def test_compressed_strips_without_pixels_are_refused() -> None:
    strips, size = 20, 100_000
    nothing = (b"\x78\x9c" + b"\0\0\0\xff\xff" * (size // 5 - 1)).ljust(size, b"\0") * strips
    offsets = b"".join(struct.pack("<I", 8 + 8 * strips + number * size) for number in range(strips))
    lists = [(273, 4, strips, 8), (279, 4, strips, 8 + 4 * strips)]
    data = offsets + struct.pack("<I", size) * strips + nothing
    with pytest.raises(InvalidImage, match="compressed data without pixels"):
        strip(tiff([*lists, (259, 3, 1, 8), (278, 4, 1, 100)], data, 2000))
    strip(tiff([*lists, (259, 3, 1, 5), (278, 4, 1, 100)], data, 2000))
    with pytest.raises(InvalidImage, match="compressed by the method 50000, which is not read"):
        strip(tiff([*lists, (259, 4, 1, 50_000), (278, 4, 1, 100)], data, 2000))


@pytest.mark.parametrize("parts", [(), (b"IHDR", b"IHDR"), (b"tEXt", b"IHDR")])
def test_a_png_file_begins_with_its_only_header(parts: tuple[bytes, ...]) -> None:
    header = struct.pack(">IIBBBBB", 6, 8, 8, 0, 0, 0, 0)
    chunks = b"".join(png_chunk(kind, header) for kind in parts) + png_chunk(b"IEND", b"")
    with pytest.raises(InvalidImage, match="its header is not its first part, or there are two"):
        strip(PNG_SIGNATURE + chunks)


COMMENT = b"!\xfe\x05hello\x03you\0"
LOOP = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"


def test_a_gif_file_is_stripped_of_comments_and_application_data() -> None:
    whole = file_of("GIF")
    frame = 13 + (3 << (whole[10] & 7) + 1)
    assert strip(whole[:frame] + COMMENT + LOOP + b"\0" + whole[frame:-1] + COMMENT + b";more") == (whole, UPRIGHT)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_a_stripped_gif_file_has_the_same_picture(mode: str) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(PICTURE).convert("RGBA")
    picture.putpixel((1, 1), (0, 0, 0, 0))
    picture.convert(mode).save(buffer, "GIF", comment=b"a comment", interlace=1)
    data, _ = strip(buffer.getvalue())
    assert len(data) < len(buffer.getvalue())
    with Image.open(io.BytesIO(data)) as stripped, Image.open(buffer) as whole:
        assert stripped.mode == whole.mode
        assert stripped.convert("RGBA").tobytes() == whole.convert("RGBA").tobytes()


def webp_chunks(data: bytes) -> list[bytes]:
    chunks, offset = [], 12
    while offset < len(data):
        end = offset + 8 + -(-int.from_bytes(data[offset + 4 : offset + 8], "little") // 2) * 2
        chunks.append(data[offset:end])
        offset = end
    return chunks


def webp_of(content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_file_is_stripped_of_metadata(mode: str, lossless: bool) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(PICTURE).convert(mode)
    if mode == "RGBA":
        picture.putalpha(100)
    picture.save(buffer, "WEBP", lossless=lossless, exif=TURNED, icc_profile=b"any", xmp=b"some")
    whole = webp_of(b"".join(webp_chunks(buffer.getvalue())) + b"JUNK\x03\0\0\0any\0") + b"what follows"
    data, orientation = strip(whole)
    assert orientation == 6
    assert {chunk[:4] for chunk in webp_chunks(data)} <= {b"VP8X", b"VP8 ", b"VP8L", b"ALPH"}
    with Image.open(io.BytesIO(data)) as stripped, Image.open(buffer) as unstripped:
        assert {"exif", "icc_profile", "xmp"} & set(stripped.info) == set()
        assert stripped.mode == unstripped.mode
        assert stripped.tobytes() == unstripped.tobytes()


def test_an_animation_keeps_two_frames_by_which_it_is_refused() -> None:
    frames = [Image.new("RGB", (6, 8), (shade, 0, 9)) for shade in range(0, 250, 50)]
    for file_format in ("GIF", "WEBP"):
        buffer = io.BytesIO()
        frames[0].save(buffer, file_format, save_all=True, append_images=frames[1:])
        with Image.open(io.BytesIO(strip(buffer.getvalue())[0])) as stripped:
            assert getattr(stripped, "n_frames", 1) == 2
        with pytest.raises(ImageMismatch, match="animated"):
            image.read_image(buffer.getvalue(), SHAPE, "resize")


def bmp_of_runs(runs: bytes, width: int = 6, height: int = 8, header_bytes: int = 40) -> bytes:
    palette = bytes(level for level in range(256) for _ in range(4))
    head = struct.pack("<IiiHHIIiiII", header_bytes, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    head += bytes(header_bytes - 40)
    start = 14 + header_bytes + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + palette + runs


@pytest.mark.parametrize("header_bytes", [40, 124])
def test_a_short_bmp_file_of_run_lengths_is_read_and_a_long_one_refused(header_bytes: int) -> None:
    data = bmp_of_runs(b"\6\7\0\0" * 8, header_bytes=header_bytes)
    assert (image.read_image(data, SHAPE) == 7).all()
    for bad in (bmp_of_runs(bytes(1 << 19), header_bytes=header_bytes), bmp_of_runs(b"", 2000, -2000, header_bytes)):
        with pytest.raises(InvalidImage, match="run-length encoded and has more than"):
            strip(bad)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16", "CMYK"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_stripped_tiff_file_has_the_same_picture(mode: str, compression: str | None) -> None:
    data = file_of("TIFF", mode, compression=compression, dpi=(72, 72), icc_profile=b"any", description="a text")
    with Image.open(io.BytesIO(strip(data)[0])) as stripped, Image.open(io.BytesIO(data)) as whole:
        assert isinstance(stripped, TiffImageFile)
        assert {34675, 270, 282} & set(stripped.tag_v2) == set()
        assert stripped.mode == whole.mode
        assert stripped.tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ([(273, 3, 200_000, 8)], "tags .* more than 262,144 bytes"),
        ([(tag, 3, 1, 8) for tag in range(1000, 2000)], "more than 1,000 tags"),
        ([(322, 4, 1, 2000), (323, 4, 1, 2000)], "tiles of more pixels than itself"),
        ([(273, 4, 1, 8), (279, 4, 1, 100_000)], "its parts are longer than the file"),
        ([(273, 4, 2, 8), (279, 4, 2, 8)], "its parts are longer than the file"),
        ([(273, 4, 1, 8), (279, 4, 1, 49_000)], "more than 28 × 28 pixels can need"),
        ([(273, 4, 1, 8), (279, 4, 100, 49_900)], "truncated or damaged"),
    ],
)
def test_a_tiff_file_that_claims_too_much_is_refused(tags: list[tuple[int, int, int, int]], says: str) -> None:
    with pytest.raises(InvalidImage, match=says):
        strip(tiff(tags, struct.pack("<2I", 40_000, 40_000) + bytes(50_000)))


@pytest.mark.parametrize("start", [b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"])
def test_a_big_tiff_file_is_refused(start: bytes) -> None:
    with pytest.raises(InvalidImage, match="BigTIFF"):
        strip(start + bytes(100))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "BMP"])
def test_a_file_that_is_cut_short_anywhere_is_refused(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    whole = file_of(file_format, "L", **options)
    for cut in range(1, len(whole) - 2):
        with pytest.raises(InvalidImage):
            image.read_image(whole[:cut], SHAPE, "resize")


@pytest.mark.parametrize("cut", range(2, 20))
def test_a_jpeg_file_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(InvalidImage):
        image.read_image(file_of("JPEG")[:cut], SHAPE)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_any_damage_is_an_invalid_image_or_none(file_format: str) -> None:
    chance = random.Random(0)
    whole = {
        "PNG": in_png(png_chunk(b"eXIf", TURNED)),
        "JPEG": in_jpeg(jpeg_segment(0xE1, b"Exif\0\0" + TURNED)),
    }.get(file_format, file_of(file_format))
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(2, len(data))] = chance.randrange(256)
        try:
            stripped, orientation = strip(bytes(data[: chance.randint(2, len(data))]))
        except InvalidImage:
            continue
        # A TIFF file gets another directory.
        assert len(stripped) <= (2 if file_format == "TIFF" else 1) * len(data) + 1
        assert 1 <= orientation <= 8
