"""`/encode/batch` and `/decode/batch`, inside this process."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from tests.service.client import JSON, OCTETS, Client, assert_problem, in_chunks
from tests.tiny_model import CODE_SIZE, SHAPE

NPY = "application/x-npy"


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def loaded(response: httpx.Response) -> NDArray[np.generic]:
    assert response.status_code == 200, response.content[:500]
    assert response.headers["content-type"] == NPY
    array: NDArray[np.generic] = np.load(io.BytesIO(response.content), allow_pickle=False)
    return array


def draw(images: int) -> Pixels:
    return np.random.default_rng(images).integers(0, 256, (images, *SHAPE.as_tuple()), dtype=np.uint8)


def files_of(pixels: Pixels) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{at}.png", image.write_png(one))) for at, one in enumerate(pixels)]


@pytest.fixture(scope="module")
def encoder(models_dir: Path) -> Encoder:
    return Encoder.open(models_dir / "tiny")


@pytest.fixture(scope="module")
def decoder(models_dir: Path) -> Decoder:
    return Decoder.open(models_dir / "tiny")


@pytest.mark.parametrize("images", [0, 1, 33, 300])
def test_many_images_go_round(client: Client, decoder: Decoder, encoder: Encoder, images: int) -> None:
    pixels = draw(images)
    answer = client.post("/encode/batch", npy(pixels), NPY)
    assert answer.headers["content-type"] == OCTETS
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["latentwire-model"] == f"tiny@{encoder.card.model_id}"
    assert answer.headers["vary"] == "Accept"
    assert answer.content == b"".join(encoder.encode_batch([pixels], announced=images))
    back = client.post("/decode/batch", answer.content, OCTETS)
    assert back.headers["latentwire-model"] == f"tiny@{encoder.card.model_id}"
    assert back.headers["content-length"] == str(len(back.content))
    found = loaded(back)
    assert found.dtype == np.uint8
    assert found.shape == (images, *SHAPE.as_tuple())
    expected = list(decoder.decode_batch([answer.content]))
    if images:
        assert np.array_equal(found, np.concatenate(expected))


def test_bodies_may_come_in_any_pieces(client: Client) -> None:
    body = npy(draw(40))
    whole = client.post("/encode/batch", body, NPY).content
    pieces = in_chunks([body[at : at + 7] for at in range(0, len(body), 7)])
    assert client.post("/encode/batch", pieces, NPY).content == whole
    back = client.post("/decode/batch", whole, OCTETS).content
    pieces = in_chunks([whole[at : at + 3] for at in range(0, len(whole), 3)])
    assert client.post("/decode/batch", pieces, OCTETS).content == back


def test_grey_images_need_no_channels(client: Client) -> None:
    pixels = draw(5)
    with_channels = client.post("/encode/batch", npy(pixels), NPY).content
    assert client.post("/encode/batch", npy(pixels[..., 0]), NPY).content == with_channels


def test_a_form_of_files_is_a_batch(client: Client) -> None:
    pixels = draw(40)
    response = client.request("POST", "/encode/batch", files=files_of(pixels))
    assert response.content[6:10] == bytes(4)  # the number of images was not known before
    found = loaded(client.post("/decode/batch", response.content, OCTETS))
    from_array = client.post("/encode/batch", npy(pixels), NPY).content
    assert np.array_equal(found, loaded(client.post("/decode/batch", from_array, OCTETS)))


@pytest.mark.parametrize("as_form", [False, True])
def test_codes_come_as_an_array_when_asked(client: Client, encoder: Encoder, as_form: bool) -> None:
    pixels = draw(40)
    if as_form:
        response = client.request("POST", "/encode/batch", files=files_of(pixels), headers={"Accept": NPY})
    else:
        response = client.post("/encode/batch", npy(pixels), NPY, accept=NPY)
    codes = loaded(response)
    assert codes.dtype == np.float32
    assert codes.shape == (40, CODE_SIZE)
    assert np.allclose(codes, encoder.y(pixels), atol=1e-5)


def test_codes_come_as_json_when_asked(client: Client, png: bytes) -> None:
    pixels = np.stack([image.read_image(png, SHAPE)] * 40)
    answer = client.post("/encode/batch", npy(pixels), NPY, accept=JSON).json()
    alone = client.encode(png).json()
    assert [answer[name] for name in ("model", "model_id", "shape")] == [
        alone[name] for name in ("model", "model_id", "shape")
    ]
    assert len(answer["images"]) == 40
    for entry in answer["images"]:
        assert list(entry) == [name for name in alone if name not in ("model", "model_id", "shape")]
        assert entry["bitstream"] == alone["bitstream"]
        assert entry["bpp"] == alone["bpp"]
    assert client.post("/encode/batch", npy(draw(0)), NPY, accept=JSON).json()["images"] == []


def test_images_come_as_json_when_asked(client: Client) -> None:
    container = client.post("/encode/batch", npy(draw(40)), NPY).content
    answer = client.post("/decode/batch", container, OCTETS, accept=JSON).json()
    assert list(answer) == ["model", "model_id", "shape", "images"]
    found = np.stack([image.read_image(base64.b64decode(png), SHAPE) for png in answer["images"]])
    assert np.array_equal(found, loaded(client.post("/decode/batch", container, OCTETS)))


@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_latent_vectors_are_decoded_as_one_by_one(client: Client, decoder: Decoder, dtype: str) -> None:
    codes = np.random.default_rng(0).normal(size=(40, CODE_SIZE)).astype(dtype)
    found = loaded(client.post("/decode/batch", npy(codes), NPY, model="tiny"))
    expected = np.stack([decoder.decode_vector(code.tolist()) for code in codes])
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert client.post("/decode/batch", npy(codes), NPY, model="other").content != npy(found)


def test_the_model_is_chosen_by_name_and_a_container_knows_its_own(client: Client) -> None:
    body = npy(draw(3))
    container = client.post("/encode/batch", body, NPY, model="other").content
    back = client.post("/decode/batch", container, OCTETS)
    assert back.headers["latentwire-model"].startswith("other@")
    assert client.post("/decode/batch", container, OCTETS, model="other").content == back.content
    assert_problem(client.post("/decode/batch", container, OCTETS, model="tiny"), 409, "model-mismatch")
    assert_problem(client.post("/decode/batch", container, OCTETS, model="x"), 404, "unknown-model")
    assert_problem(client.post("/encode/batch", body, NPY, model="x"), 404, "unknown-model")


@pytest.mark.parametrize("shape", [(2, 9, 9), (2, 50, 40, 3), (2, 8, 6, 4)])
def test_images_that_do_not_fit_are_refused_or_converted(client: Client, shape: tuple[int, ...]) -> None:
    body = npy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert_problem(client.post("/encode/batch", body, NPY), 422, "image-mismatch", "fit=resize")
    for fit in ("resize", "pad"):
        container = client.post("/encode/batch", body, NPY, fit=fit).content
        assert len(loaded(client.post("/decode/batch", container, OCTETS))) == 2


def test_an_array_is_converted_as_a_file_is(client: Client) -> None:
    large = np.random.default_rng(0).integers(0, 256, (1, 50, 40, 3), dtype=np.uint8)
    [entry] = client.post("/encode/batch", npy(large), NPY, accept=JSON, fit="pad").json()["images"]
    assert entry["bitstream"] == client.encode(image.write_png(large[0]), fit="pad").json()["bitstream"]


def test_a_batch_flattens_and_tells_as_a_single_request_does(client: Client) -> None:
    drawings = np.zeros((3, 16, 12, 4), np.uint8)
    drawings[0, 4:12, 4:8] = (0, 0, 0, 255)
    drawings[1, 4:12, 4:8] = 255
    drawings[2, :, :, 3] = 255
    files = files_of(drawings)
    for query in ({"fit": "resize"}, {"fit": "pad", "background": "white"}):
        single = [client.encode(file, **query).json() for _, (_, file) in files]
        headers = {"Accept": JSON}
        form = client.request("POST", "/encode/batch", files=files, headers=headers, params=query).json()["images"]
        array = client.post("/encode/batch", npy(drawings), NPY, accept=JSON, **query).json()["images"]
        for found in (form, array):
            assert [entry["fitted"] for entry in found] == [answer["fitted"] for answer in single]
            assert [entry["bitstream"] for entry in found] == [answer["bitstream"] for answer in single]
    assert [answer["fitted"]["flattened"] for answer in single] == ["white", "white", None]


def header(text: str, version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode("latin-1")


def claims(shape: str, descr: str = "'|u1'", order: str = "False") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}")


ONE = bytes(SHAPE.pixels)

BAD_ARRAYS: dict[str, tuple[bytes, int, str, str]] = {
    "empty": (b"", 400, "invalid-array", "empty"),
    "not npy": (b"PK\3\4", 400, "invalid-array", "npy"),
    "magic only": (b"\x93NUMPY", 400, "invalid-array", "cut short"),
    "header cut": (claims("(1, 8, 6)")[:-3], 400, "invalid-array", "cut short"),
    "version 9": (header("{}", b"\x09\0"), 400, "invalid-array", "version 9"),
    "long header": (b"\x93NUMPY\2\0\xff\xff\xff\xff{", 400, "invalid-array", "4,294,967,295"),
    "not a literal": (header("__import__('os')"), 400, "invalid-array", "cannot be read"),
    "deep": (header("(" * 4000), 400, "invalid-array", "cannot be read"),
    "a list": (header("[]"), 400, "invalid-array", "cannot be read"),
    "more fields": (
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'x': 1}"),
        400,
        "invalid-array",
        "",
    ),
    "objects": (claims("(1, 8, 6)", "'|O'") + ONE, 400, "invalid-array", "send uint8"),
    "records": (claims("(1, 8, 6)", "[('a', '|u1')]") + ONE, 400, "invalid-array", "send uint8"),
    "floats": (npy(np.zeros((1, 8, 6), np.float32)), 400, "invalid-array", "float32"),
    "Fortran order": (claims("(1, 8, 6)", order="True") + ONE, 400, "invalid-array", "ascontiguousarray"),
    "negative": (claims("(-1, 8, 6)"), 400, "invalid-array", "shape"),
    "not integers": (claims("(1.0, 8, 6)"), 400, "invalid-array", "cannot be read"),
    "true": (claims("(True, 8, 6)"), 400, "invalid-array", "shape"),
    "scalar": (claims("()"), 400, "invalid-array", "shape"),
    "one dimension": (claims("(48,)"), 400, "invalid-array", "dimensions"),
    "five dimensions": (claims("(1, 1, 1, 8, 6)"), 400, "invalid-array", "shape"),
    "cut short": (claims("(2, 8, 6)") + ONE, 400, "invalid-array", "last 1 of 2"),
    "appended to": (claims("(1, 8, 6)") + ONE + b"\0", 400, "invalid-array", "after its end"),
    "four billion": (claims("(4294967296, 8, 6)"), 413, "batch-too-large", "100,000"),
    "2 ** 62 rows of nothing": (claims(f"({1 << 62}, 0, 0)"), 413, "batch-too-large", "100,000"),
    "vast images": (claims(f"(1, {1 << 40}, {1 << 40})"), 413, "image-too-large", "pixels"),
    "many channels": (claims(f"(1, 8, 6, {1 << 40})"), 422, "image-mismatch", "channels"),
    "images of nothing": (claims("(1, 0, 6)"), 422, "image-mismatch", "6 × 0"),
}


@pytest.mark.parametrize(("body", "status", "code", "says"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
@pytest.mark.parametrize("fit", ["strict", "pad"])
def test_bad_arrays_are_refused(client: Client, body: bytes, status: int, code: str, says: str, fit: str) -> None:
    assert_problem(client.post("/encode/batch", body, NPY, fit=fit), status, code, says)


@pytest.mark.parametrize(
    ("codes", "status", "code"),
    [
        (np.zeros((2, CODE_SIZE + 1), np.float32), 400, "invalid-vector"),
        (np.zeros(CODE_SIZE, np.float32), 400, "invalid-vector"),
        (np.zeros((2, CODE_SIZE)), 400, "invalid-array"),
        (np.full((2, CODE_SIZE), np.nan, np.float32), 400, "invalid-vector"),
        (np.full((2, CODE_SIZE), np.inf, np.float32), 400, "invalid-vector"),
    ],
)
def test_invalid_latent_vectors_are_refused(client: Client, codes: NDArray[np.generic], status: int, code: str) -> None:
    assert_problem(client.post("/decode/batch", npy(codes), NPY), status, code)


def test_a_bad_file_of_a_form_is_named(client: Client) -> None:
    files = [*files_of(draw(3)), ("file", ("x.png", b"not an image"))]
    response = client.request("POST", "/encode/batch", files=files)
    assert_problem(response, 400, "invalid-image", "image 3")


def test_a_form_that_is_empty_or_cut_short_is_refused(client: Client) -> None:
    kind = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + image.write_png(draw(1)[0])
    assert client.post("/encode/batch", part + b"\r\n--b--\r\n", kind).status_code == 200
    assert_problem(client.post("/encode/batch", part, kind), 400, "invalid-multipart", "cut short")
    assert_problem(client.post("/encode/batch", b"", kind), 400, "invalid-multipart")
    assert_problem(client.post("/encode/batch", part, "multipart/form-data"), 400, "invalid-multipart", "boundary")


def test_the_other_fields_of_a_form_are_passed_over(client: Client) -> None:
    fields = {"fit": "pad", "send": "Send"}
    with_fields = client.request("POST", "/encode/batch", files=files_of(draw(3)), data=fields)
    assert with_fields.content == client.request("POST", "/encode/batch", files=files_of(draw(3))).content


def test_every_flip_of_one_bit_of_a_container_is_refused(client: Client) -> None:
    container = client.post("/encode/batch", npy(draw(2)), NPY).content
    for at in range(8 * len(container)):
        damaged = bytearray(container)
        damaged[at // 8] ^= 1 << at % 8
        assert client.post("/decode/batch", bytes(damaged), OCTETS).status_code in (400, 409)


def test_damage_late_in_a_batch_is_said_with_its_images_before_anything_is_sent(
    client: Client, encoder: Encoder
) -> None:
    container = b"".join(encoder.encode_batch([draw(4100)]))
    damaged = container[:-20] + bytes([container[-20] ^ 1]) + container[-19:]
    response = client.post("/decode/batch", damaged, OCTETS)
    assert_problem(response, 400, "damaged-chunk", "images 4,096 to 4,099")
    response = client.post("/decode/batch", container[:-9], OCTETS)
    assert_problem(response, 400, "damaged-chunk", "image 4,100 and any after it")


def test_single_codes_and_containers_are_told_apart(client: Client, bitstream: bytes) -> None:
    assert_problem(client.post("/decode/batch", bitstream, OCTETS), 400, "invalid-code", "letter B")
    container = client.post("/encode/batch", npy(draw(1)), NPY).content
    assert_problem(client.decode(container), 400, "invalid-code")
    assert_problem(client.post("/decode/batch", b"", OCTETS), 400, "invalid-code", "empty")


def test_types_and_parameters_that_are_not_taken_are_refused(client: Client) -> None:
    body = npy(draw(1))
    assert client.post("/encode/batch", body).status_code == 200  # a body without a type is an array
    assert_problem(client.post("/encode/batch", body, "image/png"), 415, "unsupported-media-type", NPY)
    assert_problem(client.post("/decode/batch", body, JSON), 415, "unsupported-media-type")
    assert_problem(client.post("/encode/batch", body, NPY, accept="image/png"), 406, "not-acceptable")
    assert_problem(client.post("/decode/batch", body, NPY, accept=OCTETS), 406, "not-acceptable")
    assert_problem(client.post("/encode/batch", body, NPY, fit="x"), 400, "invalid-parameter")
    assert_problem(client.post("/decode/batch", body, NPY, fit="pad"), 400, "invalid-parameter")


def test_batches_are_bounded(start: Callable[..., Client]) -> None:
    client = start(max_batch_images=10, max_batch_bytes=1000)
    assert client.post("/encode/batch", npy(draw(10)), NPY).status_code == 200
    assert_problem(client.post("/encode/batch", npy(draw(11)), NPY), 413, "batch-too-large", "10 images")
    assert_problem(client.post("/encode/batch", npy(draw(30)), NPY), 413, "body-too-large", "1,000")
    long_body = in_chunks([npy(draw(10))] * 3)
    assert_problem(client.post("/decode/batch", long_body, OCTETS), 400, "invalid-code")
    wide = start(max_batch_images=10)
    assert_problem(wide.request("POST", "/encode/batch", files=files_of(draw(11))), 413, "batch-too-large")


@pytest.mark.parametrize("announced", [0, 11])
def test_a_container_of_too_many_images_is_refused(
    start: Callable[..., Client], encoder: Encoder, announced: int
) -> None:
    container = b"".join(encoder.encode_batch([draw(11)], announced))
    response = start(max_batch_images=10).post("/decode/batch", container, OCTETS)
    assert_problem(response, 413, "batch-too-large", "10 images")


def test_a_container_longer_than_what_is_held_streams_if_it_says_its_count(
    start: Callable[..., Client], encoder: Encoder
) -> None:
    client = start(max_body_bytes=20_000)
    blocks = [draw(4096), draw(4096), draw(100)]
    for announced in (0, 8292):
        container = b"".join(encoder.encode_batch(blocks, announced))
        assert len(container) > 30_000
        pieces = in_chunks([container[at : at + 1000] for at in range(0, len(container), 1000)])
        response = client.post("/decode/batch", pieces, OCTETS)
        if announced:
            assert len(loaded(response)) == announced
        else:
            assert_problem(response, 413, "batch-too-large", "does not say how many")


def test_an_array_of_a_form_that_is_too_large_to_be_held_is_refused(start: Callable[..., Client]) -> None:
    client = start(max_body_bytes=500)
    response = client.request("POST", "/encode/batch", files=files_of(draw(40)), headers={"Accept": NPY})
    assert_problem(response, 413, "batch-too-large", OCTETS)


def test_each_batch_route_belongs_to_one_half(start: Callable[..., Client]) -> None:
    sender, receiver = start(role="sender"), start(role="receiver")
    assert_problem(sender.post("/decode/batch", b"", OCTETS), 404, "wrong-role", "receiver")
    assert_problem(receiver.post("/encode/batch", b"", NPY), 404, "wrong-role", "sender")
    container = sender.post("/encode/batch", npy(draw(3)), NPY).content
    assert loaded(receiver.post("/decode/batch", container, OCTETS)).shape == (3, *SHAPE.as_tuple())
