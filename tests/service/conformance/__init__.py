"""Compares a running service with its OpenAPI document: no unexpected status, and no undocumented one.

A server's address, its models and some bodies enter; what schemathesis found leaves. It runs in a process of its own,
with the configuration and the hooks beside this file.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.imaging.image import Pixels

BODIES_VARIABLE = "LATENTWIRE_CONFORMANCE_BODIES"
MODELS_VARIABLE = "LATENTWIRE_CONFORMANCE_MODELS"
ROOT = Path(__file__).parents[3]
REPORT, WORDS = "report.json", "words.txt"
INFERENCES = "inferences.json"
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"

OCTETS = "application/octet-stream"
NPY = "application/x-npy"
PNG = "image/png"


class Finding(NamedTuple):
    """What schemathesis says at its end: its exit code, how many requests it sent to how many routes, and its words."""

    code: int
    requests: int
    routes: int
    words: str


def write_bodies(folder: Path, encoder: Encoder, pixels: Pixels) -> None:
    """Write bodies that the routes take, each into a folder for its media type; `pixels` are uint8 (N, H, W, C)."""
    png = image.write_png(pixels[0])
    (code,) = encoder.encode(pixels[:1])
    container = b"".join(encoder.encode_batch([pixels], announced=len(pixels)))
    for media_type, bodies in {
        PNG: [png],
        OCTETS: [png, code.bitstream, code.payload, container],
        NPY: [_npy(pixels), _npy(encoder.y(pixels))],
    }.items():
        kind = folder / media_type.replace("/", "_")
        kind.mkdir(parents=True)
        for number, body in enumerate(bodies):
            (kind / str(number)).write_bytes(body)
    x, y = image.to_x(pixels[:1]), encoder.y(pixels[:1])
    inferences = {half: _inference(name, tensor) for half, name, tensor in (("encoder", "x", x), ("decoder", "y", y))}
    (folder / INFERENCES).write_text(json.dumps(inferences))


def start(
    address: str,
    bodies: Path,
    models: Iterable[str],
    scratch: Path,
    *flags: str,
    key: str | None = None,
    document: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start to compare the service at `address`, `http://host:port`, with its document; see `finish`.

    Args:
        address: of the service.
        bodies: the folder that `write_bodies` wrote.
        models: names of models that are there.
        scratch: a folder to write in.
        flags: more of `schemathesis run`.
        key: to be sent, where the service asks for one.
        document: a file, in place of what the service itself says.
    """
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "--config-file", str(CONFIGURATION), "run"]
    location = [str(document or f"{address}/openapi.json"), "--url", address]
    header = [] if key is None else ["--header", f"Authorization: Bearer {key}"]
    report = ["--no-color", "--report", "json", "--report-json-path", str(scratch / REPORT)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        BODIES_VARIABLE: str(bodies.resolve()),
        MODELS_VARIABLE: ",".join(models),
    }
    with (scratch / WORDS).open("wb") as words:
        return subprocess.Popen(
            [*command, *location, *header, *report, *flags],
            cwd=scratch,
            env=environment,
            stdout=words,
            stderr=subprocess.STDOUT,
        )


def finish(process: subprocess.Popen[bytes], scratch: Path) -> Finding:
    """Wait for the end of what `start` began."""
    code = process.wait()
    words = (scratch / WORDS).read_text(encoding="utf-8", errors="replace")
    path = scratch / REPORT
    report = json.loads(path.read_bytes()) if path.exists() else {}
    requests, routes = report.get("test_cases", {}).get("generated", 0), report.get("operations", {}).get("tested", 0)
    return Finding(code, requests, routes, words)


def _inference(name: str, tensor: image.Floats) -> dict[str, object]:
    data = tensor.ravel().tolist()
    return {"inputs": [{"name": name, "datatype": "FP32", "shape": list(tensor.shape), "data": data}]}


def _npy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
