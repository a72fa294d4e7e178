"""Images of any size, as what is sent of them: with the same findings as those of vector models."""

import numpy as np

from latentwire.any_size.sender import AnySizeSender
from latentwire.encoder import EncodedImage
from latentwire.imaging.fitting import FittedImage
from latentwire.options import Framing
from latentwire.selection.assessment import GuardedImage


def encode_any_size(
    sender: AnySizeSender,
    image: FittedImage,
    framing: Framing = "full",
    *,
    quality: float | None = None,
    target_bytes: int | None = None,
    min_psnr_db: float | None = None,
) -> GuardedImage:
    """Encode one image of any size; see `AnySizeSender.encode` for the other arguments, and for what is raised.

    Args:
        sender: of the model.
        image: as `AnySizeReader` reads it.
        framing: `full` or `raw`, which `target_bytes` is about.
        quality: from 0 to 100.
        target_bytes: of the bitstream.
        min_psnr_db: of the reconstruction.
    """
    sent = sender.encode(image.pixels, framing, quality=quality, target_bytes=target_bytes, min_psnr_db=min_psnr_db)
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
