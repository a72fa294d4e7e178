"""Images of any size, as what is sent of them: with the same findings as those of vector models."""

import math
from functools import partial

import numpy as np
from PIL import Image

from latentwire.any_size.sender import AnySizeSender, Sent
from latentwire.effort import Effort
from latentwire.encoder import EncodedImage
from latentwire.errors import TargetMissed
from latentwire.imaging.fitting import REDUCING_GAP, FittedImage, Fitting
from latentwire.imaging.image import to_picture
from latentwire.options import Framing
from latentwire.selection.assessment import GuardedImage

# More pixels of a photograph do not fit into a byte at any quality; with so many, quality and size are in balance.
MOST_PIXELS_A_BYTE, USUAL_PIXELS_A_BYTE = 256, 32


def encode_any_size(
    sender: AnySizeSender,
    image: FittedImage,
    framing: Framing = "full",
    *,
    quality: float | None = None,
    target_bytes: int | None = None,
    min_psnr_db: float | None = None,
    effort: Effort | None = None,
    may_scale_down: bool = False,
    measure: bool = True,
    otherwise: GuardedImage | TargetMissed | None = None,
) -> GuardedImage:
    """Encode one image of any size; see `AnySizeSender.encode` for what is raised.

    Args:
        sender: of the model.
        image: as `AnySizeReader` reads it.
        framing: `full` or `raw`, which `target_bytes` is about.
        quality: from 0 to 100.
        target_bytes: of the bitstream.
        min_psnr_db: of the reconstruction.
        effort: above 1 to refine the symbols; by default what suits the size of the image.
        may_scale_down: whether an image that no quality makes small enough for `target_bytes` is scaled down for it.
        measure: decode the result for its errors, if there is a decoder.
        otherwise: what the vector models have made of it, which is returned or raised if this model's result is no
            better. Such an image is small, and is not scaled down.
    """
    if otherwise is not None:
        may_scale_down = False
    try:
        if may_scale_down and target_bytes is not None:
            image, sent = _encode_scaled(sender, image, framing, target_bytes, effort, measure=measure)
        else:
            sent = sender.encode(
                image.pixels,
                framing,
                quality=quality,
                target_bytes=target_bytes,
                min_psnr_db=min_psnr_db,
                effort=effort,
                measure=measure,
            )
    except TargetMissed as error:
        if isinstance(otherwise, GuardedImage):
            return otherwise
        raise (error if otherwise is None else otherwise) from error
    guarded = _guarded(sender, image, sent)
    if isinstance(otherwise, GuardedImage):
        return min(otherwise, guarded, key=lambda one: len(one.encoded.payload))
    return guarded


def _guarded(sender: AnySizeSender, image: FittedImage, sent: Sent) -> GuardedImage:
    encoded = EncodedImage(np.empty(0, np.float32), sent.payload, sent.bitstream, sent.ideal_bits)
    errors = sent.errors
    height, width, channels = image.pixels.shape
    return GuardedImage(
        sender.card,
        encoded,
        mse=None if errors is None else errors.mse,
        psnr_db=None if errors is None else errors.psnr_db,
        max_error=None if errors is None else errors.max_error,
        ood=None,
        doubt=None,
        sent_as=sent.sent_as,
        any_size=(height, width, channels),
        quality=sent.quality,
    ).after(image.fitting)


def _encode_scaled(
    sender: AnySizeSender,
    image: FittedImage,
    framing: Framing,
    target_bytes: int,
    effort: Effort | None,
    *,
    measure: bool,
) -> tuple[FittedImage, Sent]:
    """Encode an image within `target_bytes`: as it is, or else scaled down; raise `TargetMissed` if nothing fits."""
    height, width, _ = image.pixels.shape
    pixels, wanted = height * width, target_bytes * USUAL_PIXELS_A_BYTE
    encode = partial(sender.encode, framing=framing, target_bytes=target_bytes, effort=effort, measure=measure)
    if pixels <= target_bytes * MOST_PIXELS_A_BYTE:
        try:
            return image, encode(image.pixels)
        except TargetMissed:
            wanted = min(wanted, pixels // 2)
    elif (exact := sender.encode_lossless(image.pixels, target_bytes, framing)) is not None:
        return image, exact
    while True:
        scale = math.sqrt(wanted / pixels)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = to_picture(image.pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
        scaled = np.atleast_3d(np.asarray(picture))
        try:
            sent = encode(scaled)
        except TargetMissed:
            if size == (1, 1):
                raise
            wanted //= 2
        else:
            fitting = (image.fitting or Fitting())._replace(resized=(height, width))
            return FittedImage(scaled, fitting), sent
