"""Each example runs as a user runs it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.service.launching import Server

ROOT = Path(__file__).parents[2]


def run(name: str, folder: Path, *arguments: str) -> str:
    """Run an example in `folder`; return what it prints."""
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def received(tmp_path: Path) -> Path:
    return tmp_path / "received.png"


def test_encode(tmp_path: Path, received: Path) -> None:
    out = run("encode.py", tmp_path)
    assert out == "335 bytes -> 14 bytes, 24.4 dB\nreceived uint8 (28, 28, 1)\n"
    assert received.read_bytes().startswith(b"\x89PNG")


def test_encode_shows_why_an_image_is_sent_losslessly(tmp_path: Path, received: Path) -> None:
    stripes = np.zeros((28, 28), np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    out = run("encode.py", tmp_path, "stripes.png", str(ROOT / "models" / "mnist-rate-4"))
    assert "sent losslessly: the image is not of the kind that model 'mnist-rate-4' is for" in out
    assert np.array_equal(np.asarray(Image.open(received)), stripes)


def test_batch(tmp_path: Path) -> None:
    first, *ood, last = run("batch.py", tmp_path).splitlines()
    assert first.startswith("82 images in ")
    assert any(line.startswith("image 81 is sent losslessly: the image is not of the kind") for line in ood)
    assert last == "received 82 images; the last is exact: True"


def test_service_client(tmp_path: Path, received: Path) -> None:
    with (tmp_path / "server.log").open("wb") as log:
        server = Server("--models-dir", str(ROOT / "models"), "--default-model", "mnist-conv-10", log=log)
        try:
            host, port = server.address
            out = run("service_client.py", tmp_path, f"http://{host}:{port}").splitlines()
        finally:
            server.stop()
    assert out[0] == "mnist-conv-10: 14 bytes, 24.4 dB"
    assert out[1] == "received uint8 (28, 28, 1)"
    assert out[2].startswith("400 invalid-image: ")
    assert received.read_bytes().startswith(b"\x89PNG")


def test_draw_draws_the_picture_that_is_there(tmp_path: Path) -> None:
    run("draw.py", tmp_path, "seven.png")
    assert (tmp_path / "seven.png").read_bytes() == (ROOT / "examples" / "seven.png").read_bytes()
