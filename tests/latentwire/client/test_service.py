"""Both clients against real services."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow
from prometheus_client.parser import text_string_to_metric_families

from latentwire import errors
from latentwire.client import Client, ConnectionFailed, Encoded, Image
from latentwire.format.bitstream import write_bitstream
from latentwire.imaging import image
from tests.latentwire.client.conftest import KEY, RECEIVER_KEY, SENDER_KEY, MakeClient, drain
from tests.tiny_any_size_model import drawn_picture
from tests.tiny_model import SHAPE, familiar_pixels, strange_pixels


def test_an_image_is_the_same_from_a_file_bytes_an_array_or_a_pillow_image(client: Any, tmp_path: Path) -> None:
    pixels = familiar_pixels(1, seed=7)[0]
    path = tmp_path / "image.png"
    path.write_bytes(image.write_png(pixels))
    grey = pixels[:, :, 0]
    sources = [path, str(path), path.read_bytes(), pixels, grey, Pillow.open(path), Pillow.fromarray(grey)]
    first, *others = [client.encode(source) for source in sources]
    assert all(other == first for other in others)
    assert (first.model, first.shape, first.sent_as) == ("guarded", SHAPE.as_tuple(), "code")
    assert (first.ood, first.doubt, first.fitted) == (None, None, None)
    assert len(first.code) == 5
    assert first.bpp == 8 * len(first.bitstream) / SHAPE.pixels
    assert first.psnr_db == pytest.approx(-10 * math.log10(first.mse))

    decoded = client.decode(first)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.model, decoded.model_id) == (first.model, first.model_id)
    assert np.mean((decoded.pixels / 255.0 - pixels / 255.0) ** 2) == pytest.approx(first.mse, rel=1e-3)
    (tmp_path / "image.lw").write_bytes(first.bitstream)
    for source in (first.bitstream, tmp_path / "image.lw"):
        assert np.array_equal(client.decode(source).pixels, decoded.pixels)
    for name in ("image.png", "image.webp"):
        decoded.save(tmp_path / name)
        assert np.array_equal(np.asarray(Pillow.open(tmp_path / name).convert("L")), np.asarray(decoded.to_pil()))


def test_options_reach_the_service_and_findings_come_back(client: Any) -> None:
    [strange] = strange_pixels(1)
    exact = client.encode(strange)
    assert exact.sent_as in ("raw", "png", "webp")
    assert exact.psnr_db == math.inf
    assert np.array_equal(client.decode(exact).pixels, strange)
    warned = client.encode(strange, on_ood="warn", model=None)
    assert warned.ood.sentence
    assert all(score.value > score.limit for score in warned.ood.scores.values())
    fitted = client.encode(np.zeros((16, 16, 3), np.uint8), fit="pad", model="tiny").fitted
    assert (fitted.converted, fitted.padded) == ("RGB of 8 bits", (6, 6))
    with pytest.raises(TypeError, match="unknown option ood; the options are model, fit"):
        client.encode(strange, ood="warn")


def test_a_pillow_image_of_any_mode_is_sent_without_loss_or_refused_with_a_sentence(client: Any) -> None:
    pixels = familiar_pixels(1, seed=8)[0]
    grey = Pillow.fromarray(pixels[:, :, 0])
    expected = client.encode(pixels, model="tiny").bitstream
    for mode in ("P", "LA", "CMYK", "RGBA"):
        picture = grey.convert("RGB").convert(mode) if mode == "CMYK" else grey.convert(mode)
        assert client.encode(picture, fit="resize", model="tiny").bitstream == expected, mode
    with pytest.raises(errors.ImageMismatch, match="mode La cannot be sent"):
        client.encode(grey.convert("LA").convert("La"))


def test_what_the_service_refuses_is_the_error_of_the_library(client: Any, tmp_path: Path) -> None:
    [strange] = strange_pixels(1)
    wide = np.zeros((20, 30), np.uint8)
    refusals: list[tuple[type[errors.CodecError], str, int, Any]] = [
        (errors.OutOfDistribution, "out-of-distribution", 422, lambda: client.encode(strange, on_ood="refuse")),
        (errors.ImageMismatch, "image-mismatch", 422, lambda: client.encode(wide)),
        (errors.InvalidImage, "invalid-image", 400, lambda: client.encode(b"not an image")),
        (errors.TargetMissed, "target-missed", 422, lambda: client.encode(strange, target_bytes=1)),
        (errors.UnknownModel, "unknown-model", 404, lambda: client.encode(strange, model="nobody")),
        (errors.InvalidParameter, "invalid-parameter", 400, lambda: client.encode(strange, max_mse=-1)),
        (errors.InvalidCode, "invalid-code", 400, lambda: client.decode(b"not a bitstream")),
        (errors.ModelMismatch, "model-mismatch", 409, lambda: client.decode(write_bitstream(b"payload", b"none"))),
        (errors.BodyTooLarge, "body-too-large", 413, lambda: client.decode(bytes(1 << 20))),
    ]
    for kind, code, status, call in refusals:
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        assert (caught.value.code, caught.value.status) == (code, status)
        assert str(caught.value)
        assert f"request id {caught.value.request_id}" in caught.value.__notes__[0]
    with pytest.raises(FileNotFoundError):
        client.encode(tmp_path / "missing.png")
    with pytest.raises(errors.ImageMismatch, match="float64"):
        client.encode(np.zeros((8, 6)))


def test_keys_open_their_routes(make_client: MakeClient, service: str) -> None:
    [familiar] = familiar_pixels(1)
    with pytest.raises(errors.Unauthenticated):
        make_client(service).models()
    split = make_client(service, receiver=service, api_key=SENDER_KEY + "\n", receiver_api_key=RECEIVER_KEY)
    assert split.decode(split.encode(familiar)).model == "guarded"
    with pytest.raises(errors.Forbidden):
        make_client(service, api_key=RECEIVER_KEY).encode(familiar)
    with pytest.raises(ValueError, match="without its role") as caught:
        make_client(service, api_key=f"sender {KEY}")
    assert KEY not in str(caught.value) + repr(make_client(service, api_key=KEY))


def test_sender_and_receiver_have_an_address_each(make_client: MakeClient, service: str, receiver: str) -> None:
    [familiar] = familiar_pixels(1)
    client = make_client(service, receiver=receiver, api_key=KEY)
    assert client.ready()
    encoded = client.encode(familiar)
    both = make_client(service, api_key=KEY).decode(encoded)
    assert np.array_equal(client.decode(encoded).pixels, both.pixels)
    swapped = make_client(receiver)
    with pytest.raises(errors.WrongRole) as caught:
        swapped.encode(familiar)
    assert (caught.value.status, caught.value.code) == (404, "wrong-role")


def test_models_are_listed(client: Any) -> None:
    guarded, tiny = client.models()
    assert (guarded.name, guarded.is_default, guarded.shape) == ("guarded", True, SHAPE.as_tuple())
    assert (tiny.name, tiny.is_default) == ("tiny", False)


def many_images() -> list[np.ndarray[Any, Any]]:
    """Familiar images, some strange ones among them."""
    images = list(familiar_pixels(140, seed=11))
    for index, strange in zip((0, 70, 139), strange_pixels(3), strict=True):
        images[index] = strange
    return images


@pytest.mark.parametrize("options", [{}, {"model": "tiny"}, {"on_ood": "warn"}, {"target_bytes": 60}], ids=str)
def test_many_images_have_the_results_of_single_ones_in_order(
    client: Any, options: dict[str, Any], service: str, tmp_path: Path
) -> None:
    images = many_images()[:20] if "target_bytes" in options else many_images()
    found = list(client.encode_many(iter(images), **options))
    assert len(found) == len(images)
    with Client(service, api_key=KEY) as single:
        for index in {0, 1, min(128, len(images) - 2), len(images) - 1}:
            assert found[index] == single.encode(images[index], **options), index
    path = tmp_path / "image.png"
    path.write_bytes(image.write_png(images[5]))
    mixed = [path, path.read_bytes(), images[5], np.zeros((4, 4), np.uint8)]
    *same, other = client.encode_many(mixed, **options, fit="resize")
    assert [one.bitstream for one in same] == 3 * [found[5].bitstream]
    assert isinstance(other, Encoded)
    decoded = list(client.decode_many(found[:10]))
    assert [one.model for one in decoded] == [one.model for one in found[:10]]
    if not options:
        assert np.array_equal(decoded[0].pixels, images[0])


def test_small_images_travel_in_batches(client: Any, service: str) -> None:
    def batches() -> float:
        text = httpx.get(f"{service}/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(
            sample.value
            for sample in samples
            if (sample.name, sample.labels.get("route")) == ("latentwire_http_requests_total", "/encode/batch")
        )

    before = batches()
    assert len(list(client.encode_many(familiar_pixels(40), model="tiny"))) == 40
    assert batches() - before >= 1


def pixels_of(images: list[Image]) -> npt.NDArray[np.uint8]:
    return np.stack([one.pixels for one in images])


def test_many_images_travel_in_one_container(client: Any, tmp_path: Path) -> None:
    images = list(familiar_pixels(30, seed=3))
    images[4] = strange_pixels(1)[0]
    encoded = client.encode_container(images, model="guarded")
    assert (encoded.images, encoded.model) == (30, "guarded")
    assert len(encoded.container) < 30 * len(client.encode(images[0]).bitstream)
    decoded = pixels_of(client.decode_container(encoded))
    assert decoded.shape == (30, *SHAPE.as_tuple())
    assert np.array_equal(decoded[4], images[4])
    (tmp_path / "images.lwb").write_bytes(encoded.container)
    assert np.array_equal(pixels_of(client.decode_container(tmp_path / "images.lwb")), decoded)
    files = [image.write_png(images[0]), images[1], Pillow.fromarray(images[2][:, :, 0])]
    verified = client.encode_container(files, verify="latent")
    assert np.array_equal(pixels_of(client.decode_container(verified)), decoded[:3])
    with pytest.raises(errors.DamagedChunk, match="the container is cut short"):
        client.decode_container(encoded.container[:-9])
    with pytest.raises(errors.ImageMismatch):
        client.encode_container([*images, np.zeros((3, 3), np.uint8)])
    with pytest.raises(ValueError, match="one or more images"):
        client.encode_container([])
    with pytest.raises(TypeError, match="the options are model, fit, background, on_ood, quality"):
        client.encode_container(images, max_mse=1)


def test_the_results_before_an_error_are_given_and_its_index_is_told(client: Any) -> None:
    images: list[Any] = 20 * list(familiar_pixels(1, seed=7))
    for bad, kind in (
        (strange_pixels(1)[0], errors.OutOfDistribution),
        (np.zeros((3, 3, 3), np.uint8), errors.ImageMismatch),
    ):
        images[15] = bad
        found, error = drain(client.encode_many(images, on_ood="refuse"))
        assert (len(found), type(error)) == (15, kind)
        assert any("source 15 of encode_many" in note for note in getattr(error, "__notes__", ()))
    found, error = drain(client.decode_many([*client.encode_many(images[:3]), b"bad"]))
    assert (len(found), type(error)) == (3, errors.InvalidCode)

    def failing() -> Any:
        yield from images[:3]
        raise RuntimeError("of the caller")

    found, error = drain(client.encode_many(failing()))
    assert (len(found), str(error)) == (3, "of the caller")
    found, error = drain(client.encode_many(["missing.png"]))
    assert (found, type(error)) == ([], FileNotFoundError)
    assert drain(client.encode_many([])) == ([], None)


def test_images_of_any_size_over_tls(make_client: MakeClient, any_size_service: tuple[str, Path]) -> None:
    address, certificate = any_size_service
    client = make_client(address, tls=certificate)
    assert client.ready()
    [model] = client.models()
    assert (model.kind, model.shape, model.is_default) == ("any-size", None, True)
    picture = drawn_picture(40, 70)
    encoded = client.encode(picture, quality=60)
    assert (encoded.shape, encoded.code, encoded.sent_as) == (picture.shape, None, "code")
    assert encoded.quality == pytest.approx(60, abs=1)
    assert len(client.encode(picture, target_bytes=len(encoded.bitstream)).bitstream) <= len(encoded.bitstream)
    assert client.decode(encoded).pixels.shape == picture.shape
    assert client.decode(encoded, partial=True).missing == ()
    several = [picture, drawn_picture(20, 30), picture]
    for options in ({}, {"model": model.name}):
        assert list(client.encode_many(several, **options)) == [client.encode(one) for one in several]
    decoded = client.decode_container(client.encode_container(several, quality=60))
    assert [one.model for one in decoded] == 3 * [model.name]
    assert np.array_equal(decoded[0].pixels, client.decode(encoded).pixels)
    assert decoded[1].pixels.shape == several[1].shape

    with pytest.raises(ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED"):
        make_client(address, retries=1000).models()


def test_importing_the_client_loads_neither_graphs_nor_the_service() -> None:
    program = "import sys; import latentwire.client; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"onnxruntime", "torch", "starlette", "service", "latentwire.encoder"} & set(printed.split())


def test_without_httpx_a_sentence_says_what_to_install() -> None:
    program = "import sys; sys.modules['httpx'] = None; import latentwire.client"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    sentence = "ImportError: latentwire.client needs httpx; install it by: pip install 'latentwire[client]'\n"
    assert ended.stderr.endswith(sentence)
