import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from latentwire.imaging import image
from tests.service.client import Client, assert_problem


def test_the_picture_of_the_best_classical_file_is_returned(client: Client, png: bytes) -> None:
    found = client.post("/compare", png, "image/png", max_bytes="70").json()
    with Image.open(io.BytesIO(base64.b64decode(found["image"]))) as shown, Image.open(io.BytesIO(png)) as original:
        assert shown.size == original.size
        error = np.asarray(shown, dtype=np.float64) - np.asarray(original)
    assert found["file_bytes"] <= 70
    assert not found["lossless"]
    assert found["psnr_db"] == pytest.approx(-10 * np.log10(np.mean((error / 255) ** 2)))


def test_an_exact_file_has_no_psnr(client: Client, png: bytes) -> None:
    found = client.post("/compare", png, max_bytes="100000").json()
    assert (found["lossless"], found["psnr_db"]) == (True, None)


def test_what_is_not_asked_as_it_should_be_is_refused(client: Client, png: bytes) -> None:
    assert_problem(client.post("/compare", png), 400, "invalid-parameter", "max_bytes is missing")
    assert_problem(client.post("/compare", png, max_bytes="0"), 400, "invalid-parameter", "max_bytes")
    assert_problem(client.post("/compare", b"text", max_bytes="9"), 400, "invalid-image")
    assert_problem(client.post("/compare", png, "text/plain", max_bytes="9"), 415, "unsupported-media-type")
    assert_problem(client.post("/compare", png, accept="image/png", max_bytes="9"), 406, "not-acceptable")
    large = image.write_png(np.zeros((1024, 1024, 1), np.uint8))
    assert_problem(client.post("/compare", large, max_bytes="9"), 413, "image-too-large")


def test_it_belongs_to_the_page_and_to_senders(start: Callable[..., Client], png: bytes) -> None:
    assert start(role="sender").post("/compare", png, max_bytes="99").status_code == 200
    assert_problem(start(role="receiver").post("/compare", png, max_bytes="99"), 404, "wrong-role", "sender")
    without = start(page=False)
    assert_problem(without.post("/compare", png, max_bytes="99"), 404, "not-found")
    assert without.get("/page/main.js").status_code == 404
    assert without.get("/").headers["location"] == "docs"
    assert "/compare" not in without.get("/openapi.json").json()["paths"]
