"""What a user of the library writes. mypy checks it; nobody runs it. mypy also says where an ignored error is gone."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from latentwire import Codec, DecodedImage, Encoded, OutOfDistribution, Receiver, Sender
from latentwire import Kodec as Kodec  # type: ignore[attr-defined]


def send(sender: Sender, source: Path | bytes | npt.NDArray[np.uint8]) -> bytes:
    try:
        encoded: Encoded = sender.encode(source, fit="pad", on_ood="refuse", framing="raw")
    except OutOfDistribution as error:
        raise SystemExit(str(error)) from error
    return encoded.bitstream


def receive(receiver: Receiver, data: bytes) -> npt.NDArray[np.uint8]:
    image: DecodedImage = receiver.decode(data, framing="raw")
    Path("a.png").write_bytes(image.to_png())
    return image


def send_and_receive(codec: Codec) -> npt.NDArray[np.uint8]:
    return receive(codec, send(codec, Path("a.png")))


def wrong(sender: Sender) -> None:
    sender.encode(b"", fit="crop")  # type: ignore[arg-type]
    sender.encode(b"", max_mse=0.1)  # type: ignore[call-arg]
    sender.decode(b"")  # type: ignore[attr-defined]
