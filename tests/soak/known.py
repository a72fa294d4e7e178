"""The models of a service in this process, and bodies and results that several kinds of requests need."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httpx
import numpy as np
import numpy.typing as npt

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import TargetMissed
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage
from latentwire.imaging.image import Pixels
from latentwire.model.card import ModelCard
from latentwire.options import OnOod, Verify
from latentwire.registry import Registry
from latentwire.selection.any_size import encode_any_size
from latentwire.selection.assessment import GuardedImage
from tests.soak.expectations import PNG

if TYPE_CHECKING:
    from latentwire.registry import ComponentSet


class Known:
    """The models of a service, opened in this process with the same settings, and images for each model."""

    def __init__(self, sender: Registry, receiver: Registry, images: Mapping[str, Pixels]) -> None:
        """Take registries of a process that encodes and of one that decodes, and uint8 (N, H, W, C) by model."""
        self.sender = sender
        self.receiver = receiver
        self.images = images

    def encoder(self, name: str) -> Encoder:
        return cast("ComponentSet[Encoder]", self.sender.encoders).by_name(name)

    def decoder(self, name: str) -> Decoder:
        return cast("ComponentSet[Decoder]", self.receiver.decoders).by_name(name)

    def decoder_of(self, fingerprint: bytes) -> Decoder:
        return cast("ComponentSet[Decoder]", self.receiver.decoders).by_fingerprint(fingerprint)


def npy(array: npt.NDArray[Any]) -> bytes:
    """Return an array as a file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def form(*files: bytes) -> tuple[bytes, str]:
    """Return a form of files as a body, with its Content-Type."""
    parts = [("file", (f"{number}.png", data, PNG)) for number, data in enumerate(files)]
    request = httpx.Request("POST", "http://x", files=parts)
    return request.read(), request.headers["content-type"]


def container(
    known: Known,
    name: str,
    pixels: Pixels,
    announced: int,
    on_ood: OnOod = "fallback",
    *,
    verify: Verify = "latent",
) -> bytes:
    """Return the container that is the response to a batch of these images."""
    encoder, guard = known.encoder(name), known.sender.guard(name)
    writer = encoder.open_container(announced)
    chunks = (guard.encode_chunk(part, on_ood, verify) for part in image.slices(pixels, encoder.card.image))
    return b"".join([*(writer.add(chunk.chunk) for chunk in chunks), writer.finish()])


def or_any_size(
    known: Known,
    one: Pixels,
    work: Callable[[], GuardedImage],
    on_ood: OnOod = "fallback",
    *,
    target_bytes: int | None = None,
    min_psnr_db: float | None = None,
) -> GuardedImage:
    """Return what is sent of an image of the default model's shape if the request names no model.

    It is what `work` makes of it, by vector models. If the image is out-of-distribution or misses its target, it is
    what the default model for images of any size makes of it, if that takes fewer bytes or reaches the target.

    Raises:
        ImageError: as `work`.
    """
    sender = known.sender.any_size_sender(None)
    is_measured = min_psnr_db is None or known.sender.guard(None).has_decoder
    if sender is None or on_ood != "fallback" or not is_measured:
        return work()
    other = partial(encode_any_size, sender, FittedImage(one, None), target_bytes=target_bytes, min_psnr_db=min_psnr_db)
    try:
        sent = work()
    except TargetMissed:
        return other()
    if sent.ood is None or sent.sent_as is None:
        return sent
    try:
        return min(sent, other(), key=lambda each: len(each.encoded.payload))
    except TargetMissed:
        return sent


def noise_image(card: ModelCard, seed: int) -> Pixels:
    """Return noise, uint8 (H, W, C)."""
    return np.random.default_rng(seed).integers(0, 256, card.image.as_tuple(), dtype=np.uint8)
