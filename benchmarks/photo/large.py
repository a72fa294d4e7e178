"""`python -m benchmarks.photo.large models/<name>`: a photograph of 12 megapixels, sent and received over HTTP.

The service has its default settings and one core. The photograph is a mosaic of Kodak's pictures, as a JPEG file, and
its bitstream goes back to the service. Memory is the most that the service holds during a request, above what it holds
when it has answered a small one. Linux only.
"""

import argparse
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

from benchmarks.service.servers import Cores, Server, on_core, service
from latentwire.imaging.image import Pixels
from training.photo.pictures import list_pictures, read_rgb

ROWS, COLUMNS = 5, 6
JPEG_QUALITY = 92
TIMEOUT_S = 600
OCTETS = "application/octet-stream"


class Request(NamedTuple):
    """What one request took; memory is in MB above what the service held before."""

    seconds: float
    processor_s: float
    peak_mb: float
    content: bytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photo.large", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the model, in its folder of models")
    data = Path(os.environ.get("LATENTWIRE_DATA") or "data")
    parser.add_argument("--data", type=Path, default=data, help="folder with photos/kodak")
    given = parser.parse_args(arguments)
    photograph = mosaic([read_rgb(path) for path in list_pictures(given.data / "photos" / "kodak")])
    file = _jpeg(photograph)
    cores = Cores.of_machine()
    print(f"{photograph.shape[1]} × {photograph.shape[0]} pixels, {len(file):,} bytes as JPEG\n")
    print("| request | bytes of the response | s | processor s | peak above the rest, MB |\n|---|---:|---:|---:|---:|")
    with service(given.model.parent, given.model.name, {cores.measured}) as server, on_core(cores.driver):
        small = _jpeg(photograph[:256, :256])
        _post(server, "/decode", _post(server, "/encode", small).content)
        encoded = _post(server, "/encode", file)
        _print("`/encode`, role `both`, which also decodes it for its PSNR", encoded)
        _print("`/decode`, to PNG", _post(server, "/decode", encoded.content))
    sender = service(given.model.parent, given.model.name, {cores.measured}, "--role", "sender")
    with sender as server, on_core(cores.driver):
        _post(server, "/encode", small)
        _print("`/encode`, role `sender`", _post(server, "/encode", file))


def mosaic(pictures: Sequence[Pixels]) -> Pixels:
    """Return pictures side by side in rows, upright ones turned, over and over until the mosaic is full."""
    wide = [pixels if pixels.shape[1] >= pixels.shape[0] else pixels.transpose(1, 0, 2) for pixels in pictures]
    rows = [[wide[(row * COLUMNS + column) % len(wide)] for column in range(COLUMNS)] for row in range(ROWS)]
    return np.vstack([np.hstack(row) for row in rows])


def _jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _post(server: Server, path: str, body: bytes) -> Request:
    before = server.resident_bytes()
    server.forget_peak()
    begun, used = time.perf_counter(), server.cpu_s()
    is_image = path == "/encode"
    headers = {"Content-Type": "image/jpeg", "Accept": OCTETS} if is_image else {"Content-Type": OCTETS}
    response = httpx.post(f"http://127.0.0.1:{server.port}{path}", content=body, headers=headers, timeout=TIMEOUT_S)
    response.raise_for_status()
    seconds = time.perf_counter() - begun
    return Request(seconds, server.cpu_s() - used, (server.peak_bytes() - before) / 1e6, response.content)


def _print(name: str, request: Request) -> None:
    print(
        f"| {name} | {len(request.content):,} | {request.seconds:.2f} | {request.processor_s:.2f} | "
        f"{request.peak_mb:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
