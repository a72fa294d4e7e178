"""The real server, in its own process."""

import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latentwire.imaging import image
from latentwire.model.card import CARD_FILE, DECODER_FILE, ENCODER_FILE, ImageShape
from service.__main__ import main
from service.server.server import listen
from tests.service.client import JSON, OCTETS, assert_problem
from tests.service.hostile import png_that_claims
from tests.service.launching import PATIENCE_S, ROOT, LaunchServer, Server, start_in_vain, wait_until
from tests.tiny_model import CODE_SIZE, publish_tiny_model
from training.release.model_dir import draw_golden_image


@pytest.fixture(scope="module")
def server(launch_server: LaunchServer, models_dir: Path) -> Server:
    """Both roles, with a limit of 100,000 bytes on bodies."""
    return launch_server(models_dir, "--default-model", "tiny", "--max-body-bytes", "100000")


def without(models_dir: Path, target: Path, file: str) -> Path:
    """Copy the models and delete one half of each."""
    shutil.copytree(models_dir, target)
    for path in target.rglob(file):
        path.unlink()
    return target


def test_a_picture_goes_round_through_one_process(server: Server, png: bytes) -> None:
    client = server.client
    answer = client.post("/encode", content=png, headers={"Content-Type": "image/png"})
    picture = client.post("/decode", content=answer.content, headers={"Content-Type": JSON})
    assert picture.headers["content-type"] == "image/png"
    bitstream = client.post("/encode", files={"file": ("a.png", png)}, headers={"Accept": OCTETS}).content
    assert client.post("/decode", content=bitstream).content == picture.content
    raw = client.post("/decode", json={"code": answer.json()["code"], "model": "tiny"})
    assert raw.headers["latentwire-model"] == answer.headers["latentwire-model"]


def test_a_picture_goes_from_a_sender_to_a_receiver_without_the_other_half(
    launch_server: LaunchServer, server: Server, models_dir: Path, tmp_path: Path, png: bytes
) -> None:
    default = ("--default-model", "tiny")
    sender = launch_server(without(models_dir, tmp_path / "s", DECODER_FILE), "--role", "sender", *default).client
    receiver = launch_server(without(models_dir, tmp_path / "r", ENCODER_FILE), "--role", "receiver", *default).client
    bitstream = sender.post("/encode", content=png, headers={"Accept": OCTETS}).content
    picture = receiver.post("/decode", content=bitstream)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content == server.client.post("/decode", content=bitstream).content
    answer = sender.post("/encode", content=png).content
    assert receiver.post("/decode", content=answer, headers={"Content-Type": JSON}).content == picture.content
    assert receiver.post("/decode", json={"code": [0.5] * CODE_SIZE}).status_code == 200
    assert_problem(sender.post("/decode", content=bitstream), 404, "wrong-role", "receiver")
    assert_problem(receiver.post("/encode", content=png), 404, "wrong-role", "sender")
    for client in (sender, receiver):
        assert client.get("/readyz").status_code == 200
        assert [card["name"] for card in client.get("/models").json()["models"]] == ["other", "tiny"]


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(server: Server, png: bytes) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(2000):
            yield bytes(10_000)

    # No code of these models is as long as the 100,000 bytes that the settings allow.
    for path, other_type, allowed in (
        ("/encode", "multipart/form-data; boundary=b", "100,000"),
        ("/decode", JSON, "65,792"),
    ):
        for content_type in (OCTETS, other_type):
            headers = {"Content-Type": content_type}
            whole = server.client.post(path, content=bytes(100_001), headers=headers)
            assert_problem(whole, 413, "body-too-large", allowed)
            chunked = server.client.post(path, content=endless(), headers=headers)
            assert_problem(chunked, 413, "body-too-large", allowed)
    assert server.client.post("/encode", content=png).status_code == 200


def test_a_body_over_the_limit_is_refused_before_it_has_ended(server: Server) -> None:
    for head, body in (
        (b"Content-Length: 1000000000\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"186a1\r\n" + bytes(100_001)),
    ):
        with socket.create_connection(server.address, PATIENCE_S) as connection:
            connection.sendall(b"POST /encode HTTP/1.1\r\nHost: test\r\n" + head + b"\r\n" + body)
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_many_pixels_in_a_small_file_cost_no_memory(server: Server, png: bytes) -> None:
    server.client.post("/encode", content=png)
    before = server.resident_bytes()
    for fit in ("strict", "resize", "pad"):
        response = server.client.post("/encode", content=png_that_claims(20_000, 20_000), params={"fit": fit})
        assert_problem(response, 413, "image-too-large", "pixels")
    assert server.resident_bytes() - before < 16 << 20


def test_a_client_that_leaves_in_the_middle_of_a_body_does_no_harm(server: Server, png: bytes) -> None:
    for _ in range(5):
        with socket.create_connection(server.address, PATIENCE_S) as connection:
            connection.sendall(b"POST /encode HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n12345")
    assert server.client.post("/encode", content=png).status_code == 200


def test_what_is_not_http_does_no_harm(server: Server, png: bytes) -> None:
    for data in (b"\x00\xff" * 100, b"POST /encode HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection(server.address, PATIENCE_S) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100)[:12] in (b"", b"HTTP/1.1 400")
    assert server.client.post("/encode", content=png).status_code == 200


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_in_peace_when_told_to(
    launch_server: LaunchServer, models_dir: Path, told: signal.Signals
) -> None:
    server = launch_server(models_dir, "--default-model", "tiny")
    server.process.send_signal(told)
    assert server.process.wait(PATIENCE_S) == 0
    assert "Finished server process" in server.output()
    assert "Traceback" not in server.output()


def test_settings_come_from_the_environment_too(
    launch_server: LaunchServer, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTWIRE_DEFAULT_MODEL", "other")
    monkeypatch.setenv("LATENTWIRE_ROLE", "receiver")
    server = launch_server(models_dir, "--no-access-log", "--role", "sender")
    assert server.client.get("/models").json()["default"] == "other"
    assert server.output().count("\n") == 1
    assert "role sender, models other (default), tiny" in server.output()


def test_a_listening_socket_lets_asyncio_turn_off_nagles_algorithm() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_keys_stand_in_no_log_and_are_asked_for_before_the_body(
    launch_server: LaunchServer, own_models_dir: Path, tmp_path: Path, png: bytes
) -> None:
    old, new = "old-key-0123456789abc", "new-key-0123456789abc"
    (tmp_path / "keys").write_text(old)
    server = launch_server(own_models_dir, "--api-keys-file", str(tmp_path / "keys"))

    def ask(key: str, **params: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return server.client.post("/encode", content=png, headers=headers, params=params).status_code

    assert [ask(old), ask(new), ask(old, api_key=old)] == [200, 401, 400]
    with socket.create_connection(server.address, PATIENCE_S) as connection:
        length = b"Content-Length: 1000\r\nExpect: 100-continue\r\n"
        connection.sendall(b"POST /encode?key=" + new.encode() + b" HTTP/1.1\r\nHost: test\r\n" + length + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")
    (tmp_path / "keys").write_text(f"{old}\n{new}\n")
    wait_until(lambda: ask(new) == 200, "the new key is known")
    (tmp_path / "keys").write_text("bad")

    def has_looked() -> bool:
        assert ask(old) == 200
        return "stay in use" in server.output()

    wait_until(has_looked, "the bad key is logged")
    assert [ask(old), ask(new)] == [200, 200]
    output = server.output()
    assert "the keys from before stay in use" in output
    assert "POST /encode" in output
    assert old not in output
    assert new not in output


def break_card(model: Path) -> None:
    card = json.loads((model / CARD_FILE).read_bytes())
    card["code_size"] += 1
    (model / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")


def swap_halves(model: Path) -> None:
    encoder, decoder = (model / ENCODER_FILE).read_bytes(), (model / DECODER_FILE).read_bytes()
    (model / ENCODER_FILE).write_bytes(decoder)
    (model / DECODER_FILE).write_bytes(encoder)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def twin(model: Path) -> None:
    card = json.loads((model / CARD_FILE).read_bytes())
    shutil.copytree(model, model.with_name("twin"))
    (model.with_name("twin") / CARD_FILE).write_text(json.dumps({**card, "name": "twin"}), encoding="utf-8")


# name: (what is done to the folder of the model, flags, what the sentence says)
REFUSED: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "encoder missing": (lambda model: (model / ENCODER_FILE).unlink(), (), "encoder.onnx of model 'tiny'"),
    "decoder missing": (lambda model: (model / DECODER_FILE).unlink(), (), "decoder.onnx of model 'tiny'"),
    "encoder truncated": (lambda model: truncate(model / ENCODER_FILE), ("--role", "sender"), "its card says"),
    "decoder truncated": (lambda model: truncate(model / DECODER_FILE), ("--role", "receiver"), "its card says"),
    "halves swapped": (swap_halves, (), "encoder.onnx of model 'tiny'"),
    "a bit flipped": (lambda model: flip_a_bit(model / DECODER_FILE), (), "does not match the SHA-256"),
    "card broken": (break_card, (), "card of model 'tiny' is not valid"),
    "card not JSON": (lambda model: (model / CARD_FILE).write_text("{"), (), "card of model 'tiny' is not valid"),
    "folder renamed": (lambda model: model.rename(model.with_name("new")), (), "folder 'new' names the model 'tiny'"),
    "no models": (shutil.rmtree, (), "holds no model"),
    "no folder": (lambda model: shutil.rmtree(model.parent), (), "cannot be read"),
    "one model twice": (twin, ("--strict-models",), "have the same fingerprint"),
    "unknown default": (lambda _: None, ("--default-model", "x"), "the default model 'x' is not in"),
    "default that climbs out": (lambda _: None, ("--default-model", "../x"), "the default model '../x' is not in"),
    "unknown role": (lambda _: None, ("--role", "x"), "role"),
    "unknown flag": (lambda _: None, ("--rolle", "sender"), "--rolle"),
    "port out of range": (lambda _: None, ("--port", "65536"), "port"),
    "port not a number": (lambda _: None, ("--port", "x"), "port"),
    "no key file": (lambda _: None, ("--api-keys-file", "nowhere"), "the key file 'nowhere' cannot be read"),
    "TLS key without certificate": (lambda _: None, ("--tls-key", "x"), "tls_key needs tls_certificate"),
    "no certificate": (lambda _: None, ("--tls-certificate", "x"), "possible with 'x': No such file"),
    "no PEM": (lambda _: None, ("--tls-certificate", "README.md"), "not a certificate and its key"),
    "unknown address": (lambda _: None, ("--host", "192.0.2.1"), "cannot listen on 192.0.2.1 port 8000"),
}


@pytest.fixture
def run_in_vain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., str]]:
    """Do within this process what `start_in_vain` does in one of its own, which takes most of a second."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr("service.server.server.log_config", lambda _: None)
    caplog.set_level(logging.INFO)

    def run(models_dir: Path, *flags: str) -> str:
        assert main(["--models-dir", str(models_dir), *flags]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert caplog.messages == []
        assert printed.err.startswith("latentwire: ")
        assert printed.err.count("\n") == 1, printed.err
        return printed.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("damage", "flags", "says"), REFUSED.values(), ids=REFUSED)
def test_startup_is_refused_with_one_sentence(
    own_models_dir: Path,
    run_in_vain: Callable[..., str],
    damage: Callable[[Path], object],
    flags: tuple[str, ...],
    says: str,
) -> None:
    damage(own_models_dir / "tiny")
    assert says in run_in_vain(own_models_dir, *flags)


def test_startup_is_refused_when_the_port_is_taken(own_models_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1 port {port}" in start_in_vain(own_models_dir, "--port", port)


def test_help_shows_every_setting() -> None:
    command = [sys.executable, "-m", "service", "--help"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert "--max-body-bytes" in ended.stdout
    assert "--default-model" in ended.stdout


def test_other_folders_and_files_are_passed_over(launch_server: LaunchServer, own_models_dir: Path) -> None:
    shutil.copytree(own_models_dir / "tiny", own_models_dir / ".tiny-being-written")
    (own_models_dir / "notes").mkdir()
    (own_models_dir / "README.md").write_text("Models.", encoding="utf-8")
    (own_models_dir / "damaged").mkdir()
    (own_models_dir / "damaged" / CARD_FILE).touch()
    server = launch_server(own_models_dir)
    assert len(server.client.get("/models").json()["models"]) == 1
    [line] = [line for line in server.output().splitlines() if "this model is not served" in line]
    assert "the card of model 'damaged' is not valid" in line


_LOADED = """
import sys, json
from pathlib import Path
import anyio, httpx
from service.app import create_app
from service.settings import Settings

async def main():
    app = create_app(Settings(models_dir=Path(sys.argv[1]), role=sys.argv[2]))
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            for path in ("/encode", "/decode"):
                for data in (Path(sys.argv[3]).read_bytes(), b"L"):
                    await client.post(path, content=data)
            for path in ("/readyz", "/models", "/docs", "/openapi.json"):
                assert (await client.get(path)).status_code == 200
    print(json.dumps(sorted(sys.modules)))

anyio.run(main)
"""


@pytest.mark.parametrize("role", ["both", "sender", "receiver"])
def test_serving_loads_neither_torch_nor_the_other_half(
    own_models_dir: Path, tmp_path: Path, png: bytes, role: str
) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(png)
    command = [sys.executable, "-c", _LOADED, str(own_models_dir), role, str(picture)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    loaded = set(json.loads(ended.stdout))
    assert not loaded & {"torch", "onnx", "onnxscript", "training", "matplotlib", "pydantic.v1"}
    assert ("latentwire.encoder" in loaded) == (role != "receiver")
    assert ("latentwire.decoder" in loaded) == (role != "sender")


def test_a_colour_model_is_served_too(launch_server: LaunchServer, tmp_path: Path) -> None:
    shape = ImageShape(height=5, width=7, channels=3)
    publish_tiny_model(tmp_path / "models", tmp_path / "scratch", "colour", shape=shape)
    client = launch_server(tmp_path / "models").client
    answer = client.post("/encode", content=image.write_png(draw_golden_image(shape)))
    assert answer.json()["shape"] == [5, 7, 3]
    assert client.post("/decode", json=answer.json(), headers={"Accept": JSON}).json()["shape"] == [5, 7, 3]


def test_links_within_the_folder_of_models_are_followed(launch_server: LaunchServer, own_models_dir: Path) -> None:
    (own_models_dir / "tiny").rename(own_models_dir / ".data")
    (own_models_dir / "tiny").symlink_to(".data")
    (own_models_dir.parent / "linked").symlink_to(own_models_dir)
    server = launch_server(own_models_dir.parent / "linked")
    assert [card["name"] for card in server.client.get("/models").json()["models"]] == ["tiny"]


def test_head_and_nosniff_are_answered_everywhere(server: Server, png: bytes) -> None:
    documented = server.client.get("/openapi.json").json()["paths"].items()
    paths = [path.replace("{name}", "tiny") for path, operations in documented if "get" in operations]
    for path in (*paths, "/docs", "/", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
        got, head = server.client.get(path), server.client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        # What is counted has changed in between.
        for name in ("content-type", *(["content-length"] if path != "/metrics" else [])):
            assert head.headers.get(name) == got.headers.get(name), path
        assert got.headers.get_list("x-content-type-options") == ["nosniff"], path
    for answer in (
        server.client.post("/encode", content=png),
        server.client.get("/nope"),
        server.client.post("/encode"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
