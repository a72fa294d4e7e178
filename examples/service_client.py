"""Talks to a running service over HTTP: `python examples/service_client.py [URL]`."""

import base64
import sys
from pathlib import Path

import httpx

IMAGE = Path(__file__).with_name("seven.png")


def main(url: str) -> None:
    """Encode an image with the service at `url`, as JSON and as bytes, and decode it again."""
    with httpx.Client(base_url=url, timeout=30) as client:
        response = client.post("/encode", content=IMAGE.read_bytes(), headers={"Content-Type": "image/png"})
        response.raise_for_status()
        encoded = response.json()
        print(f"{encoded['model']}: {encoded['bitstream_bytes']} bytes, {encoded['psnr_db']:.1f} dB")
        bitstream = base64.b64decode(encoded["bitstream"])

        octets = {"Accept": "application/octet-stream", "Content-Type": "image/png"}
        response = client.post("/encode", content=IMAGE.read_bytes(), headers=octets)
        response.raise_for_status()
        print(f"the same bytes without JSON: {response.content == bitstream}")

        response = client.post("/decode", content=bitstream, headers={"Content-Type": "application/octet-stream"})
        response.raise_for_status()
        Path("received.png").write_bytes(response.content)
        print(f"received {response.headers['Content-Type']}, {len(response.content)} bytes")

        response = client.post("/encode", content=b"not an image", headers={"Content-Type": "image/png"})
        problem = response.json()
        print(f"{response.status_code} {problem['title']}: {problem['detail']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
