"""Sends many images in one container, from a sender without the decoder to a receiver without the encoder."""

from pathlib import Path

import numpy as np

from latentwire import Receiver, Sender

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "mnist-conv-10"


def main() -> None:
    """Encode a digit at all offsets from -4 to 4 pixels, and a picture that is no digit; decode all of them."""
    sender = Sender.load(MODEL)
    receiver = Receiver.load(MODEL)

    digit = receiver.decode(sender.encode(ROOT / "examples" / "seven.png").bitstream)
    shifted = [np.roll(digit, (row, column), axis=(0, 1)) for row in range(-4, 5) for column in range(-4, 5)]
    stripes = np.zeros((28, 28, 1), np.uint8)
    stripes[::2] = 255

    sent = sender.encode_many([*shifted, stripes])
    print(f"{sent.images} images in {len(sent.container)} bytes")
    for index, finding in sent.ood.items():
        print(f"image {index} is sent losslessly: {finding.sentence}")

    received = list(receiver.decode_many(sent.container))
    print(f"received {len(received)} images; the last is exact: {np.array_equal(received[-1], stripes)}")


if __name__ == "__main__":
    main()
