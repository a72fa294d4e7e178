"""The Python API: the bytes of the service, and no more code than a half needs."""

import base64
import doctest
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import latentwire
from latentwire import Codec, DecodedImage, Receiver, Sender, codec
from latentwire.imaging.fitting import Fitting
from latentwire.imaging.image import Pixels, write_png
from latentwire.options import FRAMINGS, Framing
from service.settings import Role, Settings
from tests.service.conftest import serve
from tests.tiny_model import SHAPE, familiar_pixels, strange_pixels

ROOT = Path(__file__).parents[2]
OCTETS, NPY = "application/octet-stream", "application/x-npy"


@pytest.fixture(scope="module")
def both(guarded_model: Path) -> Codec:
    return Codec.load(guarded_model)


@pytest.fixture(scope="module")
def sender(guarded_model: Path) -> Sender:
    return Sender.load(guarded_model)


@pytest.fixture(scope="module")
def receiver(guarded_model: Path) -> Receiver:
    return Receiver.load(guarded_model)


@pytest.fixture(scope="module")
def mixed() -> Pixels:
    return np.concatenate([familiar_pixels(5, seed=2), strange_pixels(2), familiar_pixels(300, seed=3)])


def test_the_example_of_the_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    results = doctest.testmod(codec)
    assert results.attempted >= 7
    assert results.failed == 0


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("role", ["both", "sender"])
def test_the_bytes_are_those_of_the_service(
    both: Codec, sender: Sender, guarded_model: Path, mixed: Pixels, role: Role, framing: Framing
) -> None:
    ours = both if role == "both" else sender
    with serve(Settings(models_dir=guarded_model.parent, role=role)) as client:
        for pixels in mixed[:7]:
            png = write_png(pixels)
            encoded = ours.encode(png, framing=framing)
            assert encoded.bitstream == client.encode(png, accept=OCTETS, framing=framing).content
            answer = client.encode(png).json()
            assert (encoded.mse, encoded.max_error, encoded.sent_as) == (
                answer["mse"],
                answer["max_error"],
                answer["sent_as"],
            )
            assert encoded.model == f"{answer['model']}@{answer['model_id']}"
            assert encoded.payload_bytes == answer["payload_bytes"]
            assert (encoded.ood is None) == (answer["ood"] is None)
            np.testing.assert_allclose(encoded.code, answer["code"], rtol=1e-6)


def test_containers_are_those_of_the_service(both: Codec, sender: Sender, guarded_model: Path, mixed: Pixels) -> None:
    array = io.BytesIO()
    np.save(array, mixed)
    with serve(Settings(models_dir=guarded_model.parent)) as client:
        container = client.post("/encode/batch", array.getvalue(), NPY, OCTETS).content
        verified = client.post("/encode/batch", array.getvalue(), NPY, OCTETS, verify="reconstruction").content
    for ours in (both, sender):
        encoded = ours.encode_many(list(mixed))
        assert encoded.container == container
        assert encoded.images == len(mixed)
        assert {5, 6} <= set(encoded.ood)
    assert both.encode_many(list(mixed), verify="reconstruction").container == verified


def test_containers_come_back_in_order(both: Codec, receiver: Receiver, mixed: Pixels) -> None:
    encoded = both.encode_many(iter(mixed))
    back = list(receiver.decode_many([encoded.container[:100], encoded.container[100:]]))
    assert len(back) == len(mixed)
    for index in encoded.ood:
        np.testing.assert_array_equal(back[index], mixed[index])
    assert all(isinstance(image, DecodedImage) and image.shape == SHAPE.as_tuple() for image in back)
    assert list(both.decode_many(both.encode_many([]).container)) == []


def test_golden_codes_of_a_shipped_model() -> None:
    model = Codec.load(ROOT / "models" / "mnist-conv-10")
    goldens = json.loads((ROOT / "tests" / "contract" / "goldens" / "mnist-conv-10.json").read_text())
    assert goldens["cases"]
    for case in goldens["cases"]:
        bitstream = bytes.fromhex(case["bitstream_hex"])
        reconstruction = Image.open(io.BytesIO(base64.b64decode(case["reconstruction_png_base64"])))
        decoded = model.decode(bitstream)[:, :, 0].astype(int)
        assert np.abs(decoded - np.asarray(reconstruction)).max() <= 2
        # Floating point may move a symbol by 1 on another processor.
        encoded = model.encode(base64.b64decode(case["image_png_base64"]), on_ood="warn")
        assert abs(len(encoded.bitstream) - len(bitstream)) <= 1


def test_every_kind_of_source_gives_the_same_bytes(both: Codec, tmp_path: Path) -> None:
    pixels = familiar_pixels(1, seed=4)[0]
    path = tmp_path / "image.png"
    path.write_bytes(write_png(pixels))
    expected = both.encode(path).bitstream
    picture = Image.fromarray(pixels[:, :, 0])
    for source in (str(path), path.read_bytes(), pixels, pixels[:, :, 0], picture):
        assert both.encode(source).bitstream == expected
    with Image.open(path) as opened:
        assert both.encode(opened).bitstream == expected


def test_other_sizes_are_fitted_on_request(both: Codec, tmp_path: Path) -> None:
    large = np.kron(familiar_pixels(1, seed=5)[0], np.ones((3, 3, 1), np.uint8))
    colours = np.repeat(large, 3, axis=2)
    path = tmp_path / "image.png"
    path.write_bytes(write_png(colours))
    for fit in ("resize", "pad"):
        expected = both.encode(path, fit=fit).bitstream
        assert both.encode(colours, fit=fit).bitstream == expected
        assert both.encode(Image.fromarray(colours), fit=fit).bitstream == expected
    for source in (path, colours, Image.fromarray(colours)):
        with pytest.raises(latentwire.ImageMismatch, match="fit=resize"):
            both.encode(source)
    with pytest.raises(latentwire.ImageMismatch, match="pass uint8"):
        both.encode(large.astype(float))
    assert both.encode(Image.new("L", (9000, 9000)), fit="resize").fitted == Fitting(resized=(9000, 9000))


def test_what_was_lost_before_encoding_is_told(both: Codec) -> None:
    drawing = Image.new("RGBA", (60, 80), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (20, 10, 30, 70))
    encoded = both.encode(drawing, fit="resize")
    assert encoded.fitted == Fitting("white", 0, "RGBA of 8 bits", (80, 60))
    assert encoded.sent_as != "code"
    assert (encoded.mse, encoded.psnr_db, encoded.max_error) == (None, None, None)
    assert encoded.ood is not None
    assert encoded.ood.sentence.endswith(f", after {encoded.fitted.sentence}")
    many = both.encode_many([familiar_pixels(1, seed=1)[0], drawing], fit="resize")
    assert many.fitted == {1: encoded.fitted}
    assert both.decode(encoded.bitstream).max() == 255
    assert both.encode(drawing, fit="resize", background="black").fitted == Fitting("black", 1, *encoded.fitted[2:])
    as_code = both.encode(drawing, fit="resize", on_ood="warn")
    assert as_code.psnr_db is not None
    assert as_code.fitted == encoded.fitted


def test_out_of_distribution_images(both: Codec) -> None:
    strange, familiar = strange_pixels(1, seed=1)[0], familiar_pixels(1, seed=1)[0]
    exact = both.encode(strange)
    assert exact.ood is not None
    assert (exact.mse, exact.psnr_db, exact.sent_as) == (0, math.inf, "raw")
    np.testing.assert_array_equal(both.decode(exact.bitstream), strange)
    warned = both.encode(strange, on_ood="warn")
    assert warned.ood == exact.ood
    assert warned.sent_as == "code"
    with pytest.raises(latentwire.OutOfDistribution, match="not of the kind"):
        both.encode(strange, on_ood="refuse")
    with pytest.raises(latentwire.OutOfDistribution):
        both.encode_many([familiar, strange], on_ood="refuse")
    assert both.encode(familiar, max_mse=0).ood is not None


def test_a_decoded_image_is_written_as_the_service_does(both: Codec, receiver: Receiver) -> None:
    encoded = both.encode(familiar_pixels(1, seed=6)[0], framing="raw")
    decoded = receiver.decode(encoded.bitstream, framing="raw")
    assert decoded.to_png() == write_png(np.asarray(decoded))
    for file in (decoded.to_png(), decoded.to_webp()):
        picture = Image.open(io.BytesIO(file)).convert("L")
        np.testing.assert_array_equal(np.asarray(picture), decoded[:, :, 0])
    assert decoded.to_pillow().mode == "L"
    near = receiver.decode_code(encoded.code)
    assert near.shape == decoded.shape
    np.testing.assert_array_equal(receiver.decode_code(encoded.code.tolist()), near)
    with pytest.raises(latentwire.InvalidVector):
        receiver.decode_code([0.0])
    with pytest.raises(latentwire.InvalidCode):
        receiver.decode(encoded.bitstream)


def test_results_are_frozen(both: Codec) -> None:
    encoded = both.encode(familiar_pixels(1)[0])
    with pytest.raises(AttributeError):
        encoded.bitstream = b""  # type: ignore[misc]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import latentwire; latentwire.CodecError; latentwire.__version__", "numpy"),
        ("from latentwire import Sender; Sender.load({model!r})", "latentwire.decoder"),
        ("from latentwire import Receiver; Receiver.load({model!r})", "latentwire.encoder"),
    ],
)
def test_a_half_does_not_import_the_other(guarded_model: Path, code: str, absent: str) -> None:
    program = f"import sys\n{code.format(model=str(guarded_model))}\nsys.exit({absent!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_every_public_name_is_there() -> None:
    assert all(getattr(latentwire, name) is not None for name in latentwire.__all__)
    assert set(latentwire.__all__) <= set(dir(latentwire))
    with pytest.raises(AttributeError, match="no attribute 'Kodec'"):
        latentwire.Kodec  # type: ignore[attr-defined]  # noqa: B018
