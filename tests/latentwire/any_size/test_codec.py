import base64
import io
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentwire import (
    Codec,
    CodeError,
    GoldenMismatch,
    ImageMismatch,
    ImageTooLarge,
    InvalidCode,
    InvalidImage,
    InvalidVector,
    MissingGraph,
    ModelMismatch,
    Receiver,
    Sender,
    TargetMissed,
    UncodableImage,
)
from latentwire.any_size.bit_map import bit_map
from latentwire.any_size.decoder import AnySizeDecoder
from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.any_size.entropy_model import EntropyModel, squash
from latentwire.any_size.part_reader import read_part
from latentwire.any_size.transparency import fill_transparent
from latentwire.format import any_size_lossless
from latentwire.format.any_size import Header, Part, parts_of
from latentwire.format.bitstream import OVERHEAD_BYTES, read_bitstream, write_bitstream
from latentwire.imaging import image
from latentwire.imaging.fitting import Fitting
from latentwire.imaging.reader import AnySizeReader
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from latentwire.model.onnx_session import Floats, MapGraph, Maps
from tests.tiny_any_size_model import drawn_logo, drawn_picture, publish_tiny_any_size_model

SIDES_OF_MANY_PARTS = (1060, 1300)


@pytest.fixture(scope="module")
def codec(any_size_model: Path) -> Codec:
    return Codec.load(any_size_model)


@pytest.fixture(scope="module")
def large() -> image.Pixels:
    return drawn_picture(*SIDES_OF_MANY_PARTS)


@pytest.fixture(scope="module")
def large_bitstream(codec: Codec, large: image.Pixels) -> bytes:
    return codec.encode(large, quality=50).bitstream


def halves(folder: Path) -> tuple[AnySizeEncoder, AnySizeDecoder]:
    card = load_any_card(folder)
    assert isinstance(card, AnySizeCard)
    encoder = AnySizeEncoder.open(folder, card)
    return encoder, AnySizeDecoder.open(folder, card, entropy=encoder.entropy)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (15, 17), (64, 64), (130, 90)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_image_of_any_size_comes_back(codec: Codec, size: tuple[int, int], channels: int) -> None:
    pixels = drawn_logo(*size, channels)
    encoded = codec.encode(pixels, quality=80)
    received = codec.decode(encoded.bitstream)
    assert received.shape == pixels.shape
    visible = np.ones(size, bool)
    if channels in (2, 4):
        assert np.array_equal(received[:, :, -1], pixels[:, :, -1])
        visible = pixels[:, :, -1] > 0
        assert not received[~visible].any()
    errors = (pixels.astype(int) - received)[visible][:, : 1 if channels < 3 else 3]
    assert encoded.mse is not None
    assert encoded.mse == pytest.approx(np.square(errors).mean() / 255**2)
    assert encoded.psnr_db == pytest.approx(-10 * math.log10(encoded.mse) if encoded.mse else math.inf)
    assert encoded.max_error == np.abs(errors).max() / 255


def test_nobody_pays_for_colours_behind_transparency(codec: Codec) -> None:
    logo = drawn_logo(100, 90, 4)
    hidden = logo[:, :, 3] == 0
    assert hidden.mean() > 0.3
    noisy = logo.copy()
    noisy[hidden, :3] = np.random.default_rng(0).integers(0, 256, (hidden.sum(), 3))
    assert codec.encode(noisy).bitstream == codec.encode(logo).bitstream


def test_transparent_pixels_go_on_smoothly_from_around_them() -> None:
    pixels = np.zeros((37, 50, 4), np.uint8)
    assert (fill_transparent(pixels) == 128).all()
    pixels[5:9, 4:40] = (10, 200, 90, 1)
    assert (fill_transparent(pixels) == (10, 200, 90)).all()
    pixels[30:, 20:] = (50, 100, 90, 255)
    filled = fill_transparent(pixels).astype(int)
    visible = pixels[:, :, 3] > 0
    assert np.array_equal(filled[visible], pixels[visible][:, :3])
    assert np.ptp(filled, (0, 1)).tolist() == [40, 100, 0]
    for axis in (0, 1):
        assert np.abs(np.diff(filled, axis=axis)).max() <= 50


def test_alpha_comes_back_in_parts_and_as_far_as_they_are_whole(codec: Codec) -> None:
    pixels = drawn_logo(1040, 740, 4)
    encoded = codec.encode(pixels, target_bytes=45_000)
    assert encoded.sent_as == "code"
    assert len(encoded.bitstream) <= 45_000
    assert np.array_equal(codec.decode(encoded.bitstream)[:, :, 3], pixels[:, :, 3])
    partial = codec.decode_partial(encoded.bitstream[: len(encoded.bitstream) * 2 // 3])
    expected = pixels[:, :, 3].copy()
    for area in partial.missing:
        expected[area.rows, area.columns] = 0
    assert 1 <= len(partial.missing) < 4
    assert np.array_equal(partial.pixels[:, :, 3], expected)


def test_transparent_images_of_each_kind_of_file(codec: Codec) -> None:
    logo = Image.fromarray(drawn_logo(40, 50, 4))
    grey = logo.convert("LA")
    palette = Image.fromarray(drawn_logo(40, 50, 3)).quantize(8)
    palette.info["transparency"] = palette.getpixel((0, 0))
    for picture, shape in ((logo, (40, 50, 4)), (grey, (40, 50, 2)), (grey.convert("RGBA"), (40, 50, 2))):
        for file_format in ("PNG", "TIFF"):
            buffer = io.BytesIO()
            picture.save(buffer, file_format)
            encoded = codec.encode(buffer.getvalue())
            assert encoded.fitted is None
            received = codec.decode(encoded.bitstream)
            assert received.shape == shape
            assert np.array_equal(received[:, :, -1], np.array(logo)[:, :, 3])
            assert np.array_equal(np.array(received.to_pillow()), received)
            with Image.open(io.BytesIO(received.to_png())) as png:
                assert np.array_equal(np.array(png), received)
    received = codec.decode(codec.encode(palette).bitstream)
    assert set(np.unique(received[:, :, 3])) == {0, 255}


def test_sender_and_receiver_are_one_codec(codec: Codec, any_size_model: Path, tmp_path: Path) -> None:
    folders = []
    for half, missing in (("sender", "decoder.onnx"), ("receiver", "encoder.onnx")):
        folders.append(Path(shutil.copytree(any_size_model, tmp_path / half / any_size_model.name)))
        (folders[-1] / missing).unlink()
    sender, receiver = Sender.load(folders[0]), Receiver.load(folders[1])
    pixels = drawn_picture(100, 120)
    encoded = sender.encode(pixels, quality=70)
    assert encoded.psnr_db is None
    assert encoded.bitstream == codec.encode(pixels, quality=70, effort=1).bitstream
    assert np.array_equal(receiver.decode(encoded.bitstream), codec.decode(encoded.bitstream))
    with pytest.raises(MissingGraph):
        Receiver.load(folders[0])


def test_a_sender_does_not_load_the_decoders_code(any_size_model: Path) -> None:
    script = f"""
import sys, numpy
from latentwire import Sender
Sender.load({str(any_size_model)!r}).encode(numpy.zeros((40, 40), numpy.uint8), target_bytes=500)
assert "latentwire.any_size.decoder" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_overhead_is_small(codec: Codec, channels: int) -> None:
    for side, header_bytes in ((64, 3), (128, 4)):
        encoded = codec.encode(drawn_picture(side, side, channels))
        assert encoded.payload_bytes - encoded.ideal_bits / 8 <= header_bytes + 3
        assert len(encoded.bitstream) == encoded.payload_bytes + OVERHEAD_BYTES


def test_the_overhead_of_many_parts_is_small(codec: Codec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1100, 400, 3), np.uint8)
    encoded = codec.encode(noise, quality=100)
    assert encoded.payload_bytes * 8 < 1.005 * encoded.ideal_bits + 8 * 30


def test_parts_and_tiles_are_computed_as_in_the_whole(any_size_model: Path, large: image.Pixels) -> None:
    encoder, decoder = halves(any_size_model)
    header = encoder.header(large, 60)
    parts = parts_of(header)
    assert len(parts) == 4
    whole = encoder.analyse(large, header, Part(0, 0, header.latent_height, header.latent_width))
    quantized = np.rint(8 * whole)
    pieces = []
    for part in parts:
        rows, columns = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
        assert np.array_equal(encoder.analyse(large, header, part), whole[:, rows, columns])
        pieces.append(quantized[:, rows, columns])
    inverse = encoder.entropy.tables.gains(60)[1][:, None, None]
    expected = decoder.run((quantized * inverse)[None])[0, : header.height, : header.width]
    for area, found in decoder.synthesize(header, pieces):
        assert np.array_equal(found, expected[area.rows, area.columns])


def test_more_quality_takes_more_bytes_and_gives_a_better_image(codec: Codec) -> None:
    pixels = drawn_picture(200, 300)
    encoded = [codec.encode(pixels, quality=quality) for quality in (0, 12.5, 33.3, 50, 100)]
    sizes, psnr_db = [len(each.bitstream) for each in encoded], [each.psnr_db for each in encoded]
    assert sizes == sorted(set(sizes))
    assert psnr_db == sorted(psnr_db, key=lambda value: value or 0)
    assert encoded[3].bitstream == codec.encode(pixels).bitstream
    assert [each.quality for each in encoded] == pytest.approx([0, 12.5, 33.3, 50, 100], abs=0.6)


def test_target_bytes_gives_the_best_quality_that_fits(codec: Codec, large: image.Pixels) -> None:
    pixels = drawn_picture(200, 300)
    step = 100 / 96
    for target in (2500, 2800, 3333):
        encoded = codec.encode(pixels, target_bytes=target, effort=1)
        assert encoded.quality is not None
        assert len(encoded.bitstream) <= target
        assert len(codec.encode(pixels, quality=encoded.quality + step, effort=1).bitstream) > target
    raw = codec.encode(pixels, target_bytes=2500, framing="raw")
    assert len(raw.bitstream) <= 2500
    assert len(codec.encode(large, target_bytes=60_000).bitstream) <= 60_000
    exact = codec.encode(pixels, target_bytes=10**9)
    assert (exact.sent_as, exact.quality, exact.mse) == ("webp", None, 0)
    assert np.array_equal(codec.decode(exact.bitstream), pixels)


def test_a_large_drawing_is_exact_after_a_look_at_few_parts(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    analysed: list[Part] = []
    analyse = AnySizeEncoder.analyse

    def count(self: AnySizeEncoder, pixels: image.Pixels, header: Header, part: Part) -> Floats:
        analysed.append(part)
        return analyse(self, pixels, header, part)

    monkeypatch.setattr(AnySizeEncoder, "analyse", count)
    squares = np.random.default_rng(0).integers(0, 2, (8, 4, 1), np.uint8) * 255
    drawing = squares.repeat(258, axis=0).repeat(258, axis=1)
    for min_psnr_db in (None, 20):
        encoded = codec.encode(drawing, min_psnr_db=min_psnr_db)
        assert (encoded.sent_as, encoded.quality, len(analysed)) == ("webp", None, 3)
        analysed.clear()
    assert np.array_equal(codec.decode(encoded.bitstream), drawing)


def test_a_large_photograph_is_not_tried_losslessly(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2060, 1030, 1), np.uint8)
    monkeypatch.setattr(any_size_lossless, "write_payload", lambda _: pytest.fail("it is written losslessly"))
    assert codec.encode(noise, quality=0).sent_as == "code"


def test_the_error_of_one_image_of_many_has_its_number(codec: Codec) -> None:
    with pytest.raises(InvalidImage, match=r"^image 1: "):
        codec.encode_many([drawn_picture(9, 9), b"not an image"])


@pytest.mark.parametrize("target", [-1, 0, 5, 9, 100])
def test_too_few_target_bytes_are_refused(codec: Codec, target: int) -> None:
    with pytest.raises(TargetMissed):
        codec.encode(drawn_picture(100, 100), target_bytes=target)


def test_min_psnr_gives_the_lowest_quality_that_reaches_it(codec: Codec, large: image.Pixels) -> None:
    pixels = drawn_picture(200, 300)
    for wanted in (28.0, 33.0):
        encoded = codec.encode(pixels, min_psnr_db=wanted)
        assert encoded.psnr_db is not None
        assert encoded.quality is not None
        assert encoded.psnr_db >= wanted
        lower = codec.encode(pixels, quality=encoded.quality - 100 / 96).psnr_db
        assert lower is not None
        assert lower < wanted
    reached = codec.encode(large, min_psnr_db=30, effort=1).psnr_db
    assert reached is not None
    assert reached >= 30
    assert codec.encode(pixels, min_psnr_db=-5).quality == 0
    with pytest.raises(TargetMissed, match="best quality gives"):
        codec.encode(pixels, min_psnr_db=90)


def test_options_that_contradict_each_other_or_the_model_are_refused(
    codec: Codec, any_size_model: Path, tiny_model: Path
) -> None:
    pixels = drawn_picture(20, 20)
    for quality in (math.nan, math.inf, -0.1, 100.1):
        with pytest.raises(ValueError, match="from 0 to 100"):
            codec.encode(pixels, quality=quality)
    with pytest.raises(ValueError, match="exclude each other"):
        codec.encode(pixels, quality=5, target_bytes=100)
    with pytest.raises(ValueError, match="finite"):
        codec.encode(pixels, min_psnr_db=math.nan)
    with pytest.raises(ValueError, match="max_mse"):
        codec.encode(pixels, max_mse=0.1)
    with pytest.raises(ValueError, match="one quality"):
        Codec.load(tiny_model).encode(np.zeros((8, 6), np.uint8), quality=5)
    with pytest.raises(ValueError, match="one quality"):
        Sender.load(tiny_model).encode(np.zeros((8, 6), np.uint8), target_bytes=5)
    with pytest.raises(ValueError, match="one quality"):
        Sender.load(tiny_model).encode_many([np.zeros((8, 6), np.uint8)], quality=5)


def test_what_only_vector_models_have_is_refused(codec: Codec, tiny_model: Path, large_bitstream: bytes) -> None:
    with pytest.raises(InvalidVector):
        codec.decode_code([0.0])
    with pytest.raises(InvalidCode, match="no parts"):
        Receiver.load(tiny_model).decode_partial(large_bitstream)


def test_grey_stays_grey(codec: Codec) -> None:
    pixels = drawn_picture(50, 70, 1)
    assert codec.decode(codec.encode(pixels).bitstream).shape == (50, 70, 1)
    picture = Image.fromarray(pixels[:, :, 0])
    for grey in (picture, picture.convert("RGB"), picture.convert("RGBA"), picture.convert("P")):
        encoded = codec.encode(grey)
        assert encoded.bitstream == codec.encode(pixels).bitstream
        assert encoded.fitted is None
    # The same bytes as in colour would be, but for the header's kind of channels.
    assert (
        codec.encode(np.repeat(pixels, 3, 2), framing="raw", effort=1).bitstream[1:]
        == codec.encode(pixels, framing="raw", effort=1).bitstream[1:]
    )


def test_sources_of_all_kinds(codec: Codec, tmp_path: Path) -> None:
    pixels = drawn_picture(40, 50)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    expected = codec.encode(pixels).bitstream
    opaque = Image.fromarray(pixels).convert("RGBA")
    for source in (path, str(path), path.read_bytes(), Image.fromarray(pixels), opaque):
        assert codec.encode(source).bitstream == expected
    opaque.putpixel((3, 3), (1, 2, 3, 0))
    for background, level in (("white", 255), ("black", 0)):
        flat = pixels.copy()
        flat[3, 3] = level
        for transparent in (opaque, np.array(opaque)):
            encoded = codec.encode(transparent, background=background)  # type: ignore[arg-type]
            assert encoded.bitstream == codec.encode(flat).bitstream
            assert encoded.fitted == Fitting(background, 0, "RGBA of 8 bits")  # type: ignore[arg-type]
    wrong: Any
    for wrong in (np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ImageMismatch):
            codec.encode(wrong)


def test_deep_and_palette_images(codec: Codec) -> None:
    deep = Image.fromarray((np.arange(600, dtype=np.uint16) * 100).reshape(20, 30))
    encoded = codec.encode(deep)
    assert codec.decode(encoded.bitstream).shape == (20, 30, 1)
    assert encoded.fitted is not None
    assert encoded.fitted.sentence == "the image was converted from grey of 16 bits"
    assert encoded.bitstream == codec.encode((np.array(deep) >> 8).astype(np.uint8)).bitstream
    palette = Image.fromarray(drawn_picture(20, 30)).quantize(16)
    assert codec.decode(codec.encode(palette).bitstream).shape == (20, 30, 3)
    assert codec.decode(codec.encode(Image.new("1", (30, 20))).bitstream).shape == (20, 30, 1)


def test_a_large_claim_is_refused_before_anything_is_made(codec: Codec) -> None:
    for header in (Header(65535, 65535, 3, 5), Header(9000, 9000, 1, 5)):
        bitstream = write_bitstream(header.write() + bytes(30), codec.card.fingerprint)
        with pytest.raises(ImageTooLarge, match="claims"):
            codec.decode(bitstream)
    fifty = write_bitstream(Header(7000, 7000, 3, 5).write() + bytes(20), codec.card.fingerprint)
    with pytest.raises(InvalidCode, match="cut short"):
        codec.decode(fifty)


def test_a_quality_that_the_model_does_not_have_is_refused(codec: Codec) -> None:
    payload = codec.encode(drawn_picture(40, 40), quality=100, framing="raw").bitstream
    changed = Header(40, 40, 3, 97).write() + payload[3:]
    for decode in (codec.decode, codec.decode_partial):
        with pytest.raises(InvalidCode, match="end at 96"):
            decode(changed, framing="raw")


def test_another_model_is_refused(codec: Codec, tmp_path: Path) -> None:
    other = Codec.load(publish_tiny_any_size_model(tmp_path / "models", tmp_path / "scratch", seed=1))
    bitstream = codec.encode(drawn_picture(40, 40)).bitstream
    for decode in (other.decode, other.decode_partial):
        with pytest.raises(ModelMismatch):
            decode(bitstream)


def test_models_that_do_not_give_their_golden_data_are_refused(any_size_model: Path) -> None:
    encoder, decoder = halves(any_size_model)
    golden = encoder.card.golden
    inverted = base64.b64encode(
        image.write_png(255 - AnySizeReader().read(base64.b64decode(golden.image_png_base64)).pixels)
    )
    encoder.card = encoder.card.model_copy(
        update={"golden": golden.model_copy(update={"image_png_base64": inverted.decode()})}
    )
    decoder.card = decoder.card.model_copy(
        update={"golden": golden.model_copy(update={"reconstruction_png_base64": golden.image_png_base64})}
    )
    with pytest.raises(GoldenMismatch, match="latents"):
        encoder.check_golden()
    with pytest.raises(GoldenMismatch, match="pixels"):
        decoder.check_golden()


def test_a_whole_bitstream_has_no_missing_parts(codec: Codec, large_bitstream: bytes) -> None:
    partial = codec.decode_partial(large_bitstream)
    assert partial.missing == []
    assert np.array_equal(partial.pixels, codec.decode(large_bitstream))


def test_a_cut_bitstream_is_decoded_as_far_as_it_goes(codec: Codec, large_bitstream: bytes) -> None:
    whole = codec.decode(large_bitstream)
    cut = large_bitstream[: len(large_bitstream) * 2 // 3]
    with pytest.raises(InvalidCode):
        codec.decode(cut)
    partial = codec.decode_partial(cut)
    assert 1 <= len(partial.missing) < 4
    above = np.s_[: partial.missing[0].top - 64]
    assert partial.missing[0].top > 64
    assert np.array_equal(partial.pixels[above], whole[above])
    for area in partial.missing:
        assert not np.array_equal(partial.pixels[area.rows, area.columns], whole[area.rows, area.columns])


def test_a_damaged_part_costs_only_itself(codec: Codec, large_bitstream: bytes) -> None:
    whole = codec.decode(large_bitstream)
    damaged = bytearray(large_bitstream)
    damaged[len(damaged) // 8] ^= 4
    partial = codec.decode_partial(bytes(damaged))
    assert len(partial.missing) == 1
    assert partial.missing[0][:2] == (0, 0)
    assert np.array_equal(partial.pixels[-400:, -400:], whole[-400:, -400:])


def test_a_bitstream_without_a_whole_part_is_refused(codec: Codec, large_bitstream: bytes) -> None:
    for data in (
        b"",
        large_bitstream[:9],
        large_bitstream[:200],
        b"L\2" + large_bitstream[2:],
        b"M" + large_bitstream[1:],
    ):
        with pytest.raises(CodeError):
            codec.decode_partial(data)


def test_hard_images_come_back(codec: Codec) -> None:
    rows, columns = np.mgrid[:150, :170]
    noise = np.random.default_rng(0).integers(0, 256, (150, 170, 3), np.uint8)
    checkerboard = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[:, :, None], 3, 2)
    for pixels in (noise, checkerboard, np.zeros_like(noise), np.full_like(noise, 255)):
        for quality in (0, 100):
            assert codec.decode(codec.encode(pixels, quality=quality).bitstream).shape == pixels.shape


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_an_image_of_one_line_comes_back(codec: Codec, size: tuple[int, int]) -> None:
    pixels = drawn_picture(*size)
    encoded = codec.encode(pixels, target_bytes=30_000, effort=1)
    assert len(encoded.bitstream) <= 30_000
    assert codec.decode(encoded.bitstream).shape == pixels.shape


def test_a_machine_that_computes_other_integers_gets_no_picture(any_size_model: Path, tmp_path: Path) -> None:
    encoder, decoder = halves(any_size_model)
    other, _ = halves(publish_tiny_any_size_model(tmp_path / "models", tmp_path / "scratch", seed=1))
    drifting = AnySizeDecoder(decoder.card, EntropyModel(encoder.entropy.tables, other.entropy._graph), decoder._graph)
    for number in range(10):
        coded = encoder.encode(drawn_logo(10 + 9 * number, 90, 1 + number % 4), 10 * number)
        with pytest.raises(InvalidCode):
            drifting.decode_raw(coded.payload)


@pytest.mark.parametrize("size", [1e3, 1e9, 1e37])
def test_latents_beyond_every_table_are_limited(any_size_model: Path, size: float) -> None:
    encoder, _ = halves(any_size_model)
    for height, width in ((3, 5), (20, 12)):
        signs = np.random.default_rng(0).choice([-1, 1], (encoder.entropy.tables.latents, height, width))
        coded = encoder.encode_part((size * signs).astype(np.float32), 40)
        received = read_part(encoder.entropy, coded.body, Part(0, 0, height, width), 40)
        assert np.array_equal(received, coded.latents)
        assert np.isfinite(received).all()


def test_latents_that_are_no_numbers_are_refused(any_size_model: Path) -> None:
    encoder, _ = halves(any_size_model)

    class Broken(MapGraph):
        def __init__(self) -> None:
            pass

        def run(self, output: str, *, keep_memory: bool = False, **inputs: Maps) -> Floats:  # noqa: ARG002
            of_output = {"latents": 12, "hyper": 4}
            return np.full((1, of_output[output], 160, 160), np.nan * len(inputs), np.float32)

    encoder._graph = Broken()
    with pytest.raises(UncodableImage):
        encoder.encode(drawn_picture(30, 30), 40)
    with pytest.raises(UncodableImage):
        encoder.encode_part(np.zeros((12, 3, 3), np.float32), 40)


def test_squashed_symbols_are_those_of_the_document() -> None:
    symbols = np.array([-1000, -240, -239, -2, -1, 0, 1, 2, 3, 239, 240, 10**6])
    exact = [min(127, max(k for k in range(200) if 2 ** (2 * k - 1) <= (1 + abs(int(s))) ** 32)) for s in symbols if s]
    signed = squash(symbols)
    assert np.abs(signed[symbols != 0]).tolist() == exact
    assert np.sign(signed).tolist() == np.sign(symbols).tolist()


def test_the_bit_map_tells_where_the_bits_go(codec: Codec, any_size_model: Path) -> None:
    entropy = halves(any_size_model)[0].entropy

    def payload_of(pixels: image.Pixels) -> bytes:
        return read_bitstream(codec.encode(pixels, quality=50).bitstream).payload

    pixels = np.full((100, 1300, 3), 128, np.uint8)
    pixels[:, 656:] = np.random.default_rng(0).integers(0, 256, (100, 644, 3))
    alpha = np.full((100, 1300, 1), 255, np.uint8)
    alpha[:40, :40] = 0
    for image_of in (pixels, np.concatenate([pixels, alpha], 2)):
        payload = payload_of(image_of)
        bits = bit_map(entropy, payload)
        assert bits is not None
        assert bits.shape == (7, 82)
        assert bits[:, 45:].mean() > bits[:, :37].mean() > 0
        assert 0.5 * 8 * len(payload) < bits.sum() < 8 * len(payload)
    # The second part is cut off.
    cut = bit_map(entropy, payload_of(pixels)[:-9])
    assert cut is not None
    assert (cut[:, :30] > 0).all()
    assert not cut[:, -30:].any()
    assert bit_map(entropy, payload_of(np.zeros((40, 40, 1), np.uint8))) is None
