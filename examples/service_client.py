"""Talks to a running service with `latentwire.client`: `python examples/service_client.py [URL]`."""

import sys
from pathlib import Path

from latentwire import InvalidImage
from latentwire.client import Client

IMAGE = Path(__file__).with_name("seven.png")


def main(url: str) -> None:
    """Encode an image with the service at `url`, and decode it again."""
    with Client(url) as client:
        encoded = client.encode(IMAGE)
        print(f"{encoded.model}: {len(encoded.bitstream)} bytes, {encoded.psnr_db:.1f} dB")

        image = client.decode(encoded.bitstream)
        image.save("received.png")
        print(f"received {image.pixels.dtype} {image.pixels.shape}")

        try:
            client.encode(b"not an image")
        except InvalidImage as error:
            print(f"{error.status} {error.code}: {error}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
