"""The Open Inference Protocol on `/v2`: by its own words, and by Triton's client."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import InvalidTensor
from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from latentwire.inference_protocol.graphs import find_graph
from latentwire.inference_protocol.messages import Limits
from latentwire.inference_protocol.messages import infer as answer
from latentwire.problems import PROBLEM_MEDIA_TYPE
from latentwire.registry import open_registry
from tests.service.client import Client
from tests.service.launching import LaunchServer
from tests.tiny_any_size_model import publish_tiny_any_size_model
from tests.tiny_model import CODE_SIZE, SHAPE

LENGTH = "Inference-Header-Content-Length"
X_SHAPE = [SHAPE.channels, SHAPE.height, SHAPE.width]
VALUES = SHAPE.height * SHAPE.width
MANY_BYTES = 1 << 16


def tensor(data: object, **changes: object) -> dict[str, object]:
    given: dict[str, object] = {"name": "y", "shape": [1, CODE_SIZE], "datatype": "FP32", "data": data, **changes}
    return {name: value for name, value in given.items() if value is not None}


def infer(client: Client, graph: str, content: object, **headers: str) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.request("POST", f"/v2/models/{graph}/infer", content=body, headers=headers)


def with_tail(content: object, tail: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(content).encode()
    return head + tail, {LENGTH: str(len(head))}


def assert_refused(response: Any, status: int, code: str, says: str = "") -> None:
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE, response.text
    document = response.json()
    assert (response.status_code, document["code"]) == (status, code), response.text
    # What clients of the protocol read.
    assert document["error"] == document["detail"]
    assert says in document["error"], response.text


def test_the_server_and_its_health(client: Client) -> None:
    described = client.get("/v2").json()
    assert (described["name"], described["extensions"]) == ("latentwire", ["binary_tensor_data"])
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_the_metadata_of_both_graphs(client: Client) -> None:
    x, y = ({"datatype": "FP32", "shape": [-1, *shape]} for shape in (X_SHAPE, [CODE_SIZE]))
    shared = {"platform": "onnx_onnxv1"}
    encoder = {"name": "tiny.encoder", **shared, "inputs": [{"name": "x", **x}], "outputs": [{"name": "y", **y}]}
    decoder = {"name": "tiny.decoder", **shared, "inputs": [{"name": "y", **y}], "outputs": [{"name": "x_hat", **x}]}
    for expected in (encoder, decoder):
        path = f"/v2/models/{expected['name']}"
        assert client.get(path).json() == expected
        assert client.get(f"{path}/ready").json() == {"name": expected["name"], "ready": True}


@pytest.mark.parametrize("name", ["tiny", "nobody.encoder", "tiny.entropy", ".encoder", "%00.decoder", "a" * 3000])
def test_an_unknown_graph_is_refused(client: Client, name: str) -> None:
    assert_refused(client.get(f"/v2/models/{name}"), 404, "unknown-model")
    assert_refused(client.get(f"/v2/models/{name}/ready"), 404, "unknown-model")
    assert_refused(infer(client, name, {"inputs": [tensor([0] * CODE_SIZE)]}), 404, "unknown-model")


def test_a_model_for_images_of_any_size_has_no_graph_here(
    start: Callable[..., Client], own_models_dir: Path, tmp_path: Path
) -> None:
    name = publish_tiny_any_size_model(own_models_dir, tmp_path / "any-size").name
    client = start(models_dir=own_models_dir)
    assert_refused(client.get(f"/v2/models/{name}.encoder"), 404, "unknown-model", "fixed shape")
    assert client.get("/v2/models/tiny.encoder").status_code == 200


def test_a_role_has_its_half(start: Callable[..., Client]) -> None:
    for role, own, other in (("sender", "encoder", "decoder"), ("receiver", "decoder", "encoder")):
        client = start(role=role)
        assert client.get(f"/v2/models/tiny.{own}/ready").status_code == 200
        assert_refused(infer(client, f"tiny.{other}", {}), 404, "wrong-role", other)


def test_keys_open_their_half(start: Callable[..., Client]) -> None:
    sender, receiver = "0123456789abcdefsend", "0123456789abcdefrecv"
    client = start(api_keys=f"sender:{sender}\nreceiver:{receiver}")
    for probe in ("live", "ready"):
        assert client.get(f"/v2/health/{probe}").status_code == 200
    content = {"inputs": [tensor([0] * CODE_SIZE)]}
    assert_refused(client.get("/v2"), 401, "unauthenticated")
    assert_refused(infer(client, "tiny.decoder", content), 401, "unauthenticated")
    for path in ("tiny.decoder", "/tiny.decoder", "tiny.decoder/"):
        refused = infer(client, path, content, Authorization=f"Bearer {sender}")
        assert_refused(refused, 403, "forbidden")
    assert infer(client, "tiny.decoder", content, Authorization=f"Bearer {receiver}").status_code == 200
    assert_refused(infer(client, "tiny.encoder", content, Authorization=f"Bearer {receiver}"), 403, "forbidden")


@pytest.fixture(scope="module")
def x(pixels: Pixels) -> image.Floats:
    return image.to_x(np.stack([pixels, pixels[::-1]]))


@pytest.mark.parametrize("nested", [False, True])
def test_json_in_and_out(client: Client, models_dir: Path, x: image.Floats, nested: bool) -> None:
    data = x.tolist() if nested else x.ravel().tolist()
    given = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": data}
    response = infer(client, "tiny.encoder", {"id": "42", "inputs": [given], "outputs": [{"name": "y"}]})
    content = response.json()
    assert (content["model_name"], content["id"]) == ("tiny.encoder", "42")
    assert LENGTH not in response.headers
    (output,) = content["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [2, CODE_SIZE])
    y = Encoder.open(models_dir / "tiny").y_of(x)
    assert np.array_equal(np.float32(output["data"]), y.ravel())


@pytest.mark.parametrize(
    "wish",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "x_hat", "parameters": {"binary_data": True}}]},
    ],
)
def test_binary_in_and_out(client: Client, models_dir: Path, wish: dict[str, Any]) -> None:
    y = np.random.default_rng(0).normal(size=(3, CODE_SIZE)).astype("<f4")
    given = tensor(None, shape=[3, CODE_SIZE], parameters={"binary_data_size": y.nbytes})
    body, headers = with_tail({"inputs": [given], **wish}, y.tobytes())
    response = infer(client, "tiny.decoder", body, **headers)
    length = int(response.headers[LENGTH])
    (output,) = json.loads(response.content[:length])["outputs"]
    tail = response.content[length:]
    assert (output["shape"], output["parameters"]) == ([3, *X_SHAPE], {"binary_data_size": len(tail)})
    x_hat = Decoder.open(models_dir / "tiny").x_hat(y)
    assert np.array_equal(np.frombuffer(tail, "<f4"), x_hat.ravel())


ZEROS = [0.0] * CODE_SIZE
BINARY = {"binary_data_size": 4 * CODE_SIZE}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [tensor(ZEROS), tensor(ZEROS)]}, "one input"),
        ({"inputs": [tensor(ZEROS, name="x")]}, "'y'"),
        ({"inputs": [tensor(ZEROS, datatype="FP64")]}, "FP64"),
        ({"inputs": [tensor(["a"] * CODE_SIZE, datatype="BYTES")]}, "BYTES"),
        *(
            ({"inputs": [tensor(ZEROS, shape=shape)]}, "shape")
            for shape in (
                [],
                [CODE_SIZE],
                [0, CODE_SIZE],
                [-1, CODE_SIZE],
                [1, CODE_SIZE, 1],
                [1.0, CODE_SIZE],
                [True, CODE_SIZE],
                [1 << 32, 1 << 32],
                [1] * 100,
                "1",
            )
        ),
        *(
            ({"inputs": [tensor(data)]}, "data")
            for data in (
                [],
                ZEROS[1:],
                [*ZEROS, 0],
                ["0"] * CODE_SIZE,
                [True] * CODE_SIZE,
                [None] * CODE_SIZE,
                [ZEROS, ZEROS],
                [ZEROS[1:]],
                [[ZEROS]],
                [[], *ZEROS[1:]],
                [*ZEROS[1:], []],
                [10**400] * CODE_SIZE,
                {"0": 1},
            )
        ),
        ({"inputs": [tensor([1e39] * CODE_SIZE)]}, "finite"),
        ({"inputs": [tensor(None)]}, "either data"),
        ({"inputs": [tensor(ZEROS, parameters=BINARY)]}, "either data"),
        ({"inputs": [tensor(None, parameters=BINARY)]}, "0 bytes are behind"),
        ({"inputs": [tensor(None, parameters={"binary_data_size": -4})]}, "0 bytes are behind"),
        ({"inputs": [tensor(None, parameters={"binary_data_size": 0})]}, "binary data"),
        ({"inputs": [tensor(None, parameters={"shared_memory_region": "a"})]}, "shared_memory_region"),
        ({"inputs": [tensor(ZEROS)], "outputs": [{"name": "y"}]}, "x_hat"),
        ({"inputs": [tensor(ZEROS)], "outputs": [{"name": "x_hat"}, {"name": "x_hat"}]}, "once"),
        (
            {"inputs": [tensor(ZEROS)], "outputs": [{"name": "x_hat", "parameters": {"classification": 1}}]},
            "classification",
        ),
        ({"inputs": [tensor(ZEROS)], "id": 1}, "id"),
    ],
)
def test_a_wrong_tensor_is_refused(client: Client, content: object, says: str) -> None:
    assert_refused(infer(client, "tiny.decoder", content), 400, "invalid-tensor", says)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"inputs": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b"[" * 500_000,
        b'{"inputs": [' + b"0," * 500_000 + b"0]}",
        b'{"inputs": [], "inputs": []}',
        b'{"inputs": [{"data": [NaN]}]}',
        b'{"id": "' + "\N{GRINNING FACE}".encode() * 30_000 + b'"}',
    ],
)
def test_json_that_cannot_be_read_is_refused(client: Client, body: bytes) -> None:
    assert_refused(infer(client, "tiny.decoder", body), 400, "invalid-json")


@pytest.mark.parametrize(
    ("length", "numbers"),
    [("-1", 1), ("+1", 1), ("1e2", 1), ("", 1), ("99999", 1), ("9" * 30, 1), (None, 0), (None, 2)],
)
def test_a_wrong_length_of_json_or_data_is_refused(client: Client, length: str | None, numbers: int) -> None:
    content = {"inputs": [tensor(None, parameters=BINARY)]}
    body, headers = with_tail(content, bytes(4 * CODE_SIZE * numbers))
    response = infer(client, "tiny.decoder", body, **(headers if length is None else {LENGTH: length}))
    assert_refused(response, 400, "invalid-tensor")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_binary_numbers_must_be_finite(client: Client, number: float) -> None:
    y = np.full((1, CODE_SIZE), number, dtype="<f4")
    body, headers = with_tail({"inputs": [tensor(None, parameters=BINARY)]}, y.tobytes())
    assert_refused(infer(client, "tiny.decoder", body, **headers), 400, "invalid-tensor", "finite")


def test_an_output_that_is_not_finite_is_refused(models_dir: Path) -> None:
    graph = find_graph(open_registry(models_dir, default="tiny"), "tiny.decoder")
    overflowing = graph._replace(run=lambda values: np.full((len(values), *X_SHAPE), np.inf, dtype=np.float32))
    body = json.dumps({"inputs": [tensor(ZEROS)]}).encode()
    with pytest.raises(InvalidTensor, match="is not finite for this input"):
        answer(overflowing, body, None, Limits(1, 1000))


def test_a_compressed_body_is_refused(client: Client) -> None:
    body = gzip.compress(json.dumps({"inputs": [tensor(ZEROS)]}).encode())
    refused = infer(client, "tiny.decoder", body, **{"Content-Encoding": "gzip"})
    assert_refused(refused, 415, "unsupported-media-type", "without Content-Encoding")


def test_a_batch_is_bounded(start: Callable[..., Client]) -> None:
    # The output of a decoder is many times its input, and counts, too.
    client = start(max_body_bytes=MANY_BYTES, max_batch_images=1000)
    most = MANY_BYTES // (4 * VALUES)
    for count, is_taken in ((most, True), (most + 1, False), (1 << 70, False)):
        sent = bytes(4 * CODE_SIZE * min(count, most + 1))
        given = tensor(None, shape=[count, CODE_SIZE], parameters={"binary_data_size": len(sent)})
        body, headers = with_tail({"inputs": [given], "parameters": {"binary_data_output": True}}, sent)
        response = infer(client, "tiny.decoder", body, **headers)
        if is_taken:
            assert response.status_code == 200, response.text
        else:
            assert_refused(response, 413, "batch-too-large", str(most))
    assert_refused(infer(client, "tiny.decoder", bytes(MANY_BYTES + 1)), 413, "body-too-large")
    few = start(max_batch_images=2)
    given = tensor(ZEROS * 3, shape=[3, CODE_SIZE])
    assert_refused(infer(few, "tiny.decoder", {"inputs": [given]}), 413, "batch-too-large")


def test_output_in_json_is_bounded(client: Client) -> None:
    count = (1 << 18) // VALUES + 1
    given = tensor([0] * (count * CODE_SIZE), shape=[count, CODE_SIZE])
    assert_refused(infer(client, "tiny.decoder", {"inputs": [given]}), 413, "batch-too-large", "binary")


def test_the_route_and_the_model_are_counted(start: Callable[..., Client]) -> None:
    client = start()
    assert infer(client, "tiny.decoder", {"inputs": [tensor(ZEROS)]}).headers["latentwire-model"].startswith("tiny@")
    infer(client, "made-up.decoder", {})
    counted = client.get("/metrics").text
    route = 'route="/v2/models/{name}/infer"'
    assert f'{{method="POST",outcome="ok",{route},status="200"}} 1.0' in counted
    assert "made-up" not in counted


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_triton_s_client_encodes_and_decodes(launch_server: LaunchServer, models_dir: Path, x: image.Floats) -> None:
    from tritonclient import http
    from tritonclient.utils import InferenceServerException

    server = launch_server(models_dir, "--default-model", "tiny")
    y = Encoder.open(models_dir / "tiny").y_of(x)
    x_hat = Decoder.open(models_dir / "tiny").x_hat(y)
    host, port = server.address
    with http.InferenceServerClient(f"{host}:{port}") as triton:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.is_model_ready("tiny.encoder")
        assert not triton.is_model_ready("nobody.encoder")
        assert triton.get_server_metadata()["name"] == "latentwire"
        described = triton.get_model_metadata("tiny.encoder")["inputs"][0]
        assert (described["name"], described["datatype"]) == ("x", "FP32")

        def run(graph: str, sent: str, values: image.Floats, wanted: str, *, binary: bool, ask: bool) -> Any:
            given = http.InferInput(sent, list(values.shape), "FP32")
            given.set_data_from_numpy(values, binary_data=binary)
            outputs = [http.InferRequestedOutput(wanted, binary_data=binary)] if ask else None
            return triton.infer(graph, [given], outputs=outputs, request_id="7").as_numpy(wanted)

        for binary in (False, True):
            for ask in (False, True):
                coded = run("tiny.encoder", "x", x, "y", binary=binary, ask=ask)
                assert np.array_equal(coded, y)
                assert np.array_equal(run("tiny.decoder", "y", coded, "x_hat", binary=binary, ask=ask), x_hat)
        with pytest.raises(InferenceServerException, match="takes one input, 'x'"):
            run("tiny.encoder", "z", x, "y", binary=True, ask=False)
        with pytest.raises(InferenceServerException, match="no model is called"):
            triton.get_model_metadata("nobody.encoder")
