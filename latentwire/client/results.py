"""What the methods of a client return."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from latentwire.imaging import image


@dataclass(frozen=True, slots=True)
class Score:
    """A score of the guard, and the limit that it exceeds."""

    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Why an image is out-of-distribution or in doubt: a sentence, and each score beyond its limit by its name."""

    sentence: str
    scores: Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class Fitted:
    """How the pixels of a source were changed to fit a model; None for what was not done.

    Attributes:
        sentence: what was done, in words.
        flattened: the background that transparent pixels were laid on.
        hidden: the share of the visible pixels that look like it.
        converted: the former colours in words.
        resized: the former height and width in pixels.
        padded: the height and width in pixels without the padding.
    """

    sentence: str
    flattened: Literal["white", "black"] | None = None
    hidden: float | None = None
    converted: str | None = None
    resized: tuple[int, int] | None = None
    padded: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One encoded image.

    Attributes:
        bitstream: the bytes to send to a receiver.
        model: name of the model that made them.
        model_id: SHA-256 that identifies the model.
        shape: (height, width, channels) of the image that a receiver will see.
        code: the latent vector before quantization; None for an image of any size, or if an element is not finite.
        payload_bytes: number of bytes of the bitstream without header and checksum.
        bpp: bits per pixel of the bitstream.
        mse: mean squared error of what a receiver will see, values in [0, 1], against the image as fitted.
        psnr_db: the same as peak signal-to-noise ratio in dB, infinite if exact.
        max_error: largest difference of one value in [0, 1].
        ood: why the image is out-of-distribution; None if it is not.
        doubt: why the bitstream may show something else than the image; None if it does not.
        sent_as: `code`, or the lossless format in the bitstream: `raw`, `png` or `webp`.
        quality: of 0 to 100, that an image of any size was encoded at.
        fitted: how the pixels of the source were changed; None if they were not.

    `mse`, `psnr_db` and `max_error` are None from a sender without decoders, and for an image that is sent losslessly
    after its pixels were changed.
    """

    bitstream: bytes
    model: str
    model_id: str
    shape: tuple[int, int, int]
    code: tuple[float, ...] | None
    payload_bytes: int
    bpp: float
    mse: float | None
    max_error: float | None
    ood: Finding | None
    doubt: Finding | None
    sent_as: str
    quality: float | None
    fitted: Fitted | None

    @property
    def psnr_db(self) -> float | None:
        """PSNR in dB, by `mse`."""
        if self.mse is None:
            return None
        return -10 * math.log10(self.mse) if self.mse else math.inf


@dataclass(frozen=True, slots=True)
class EncodedMany:
    """Many encoded images.

    Attributes:
        container: the bytes to send to a receiver.
        images: number of images in it.
        model: name of the model that made them.
        model_id: SHA-256 that identifies the model.
    """

    container: bytes
    images: int
    model: str
    model_id: str


class Rectangle(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Image:
    """One decoded image.

    Attributes:
        pixels: uint8 (H, W, C), C being 1 for grey, 3 for RGB and 4 for RGBA.
        model: name of the model that decoded it.
        model_id: SHA-256 that identifies the model.
        missing: what could not be decoded of a damaged bitstream, with `partial=True`.
    """

    pixels: npt.NDArray[np.uint8]
    model: str
    model_id: str
    missing: tuple[Rectangle, ...] = ()

    def __repr__(self) -> str:
        return f"Image(shape={self.pixels.shape}, model={self.model!r}, missing={self.missing})"

    def to_pil(self) -> Pillow.Image:
        """Return the image as a Pillow image of the mode L, RGB or RGBA."""
        return image.to_picture(self.pixels)

    def save(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the image into a file, whose format its name's ending tells: .png, .webp, .jpg, .tif and others.

        Args:
            path: of the file.
            options: of Pillow, as `quality=90` for a JPEG file. A WebP file is lossless without options.

        Raises:
            ValueError: no format has this ending.
            OSError: the file cannot be written.
        """
        if not options and Path(path).suffix.lower() == ".webp":
            options = {"lossless": True, "exact": True}
        self.to_pil().save(path, **options)


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What `/models` says of one model.

    Attributes:
        name: of the model.
        model_id: SHA-256 that identifies it.
        is_default: whether it is the model of its kind for requests that name none.
        kind: `vector`, for images of one shape, or `any-size`.
        shape: (height, width, channels) of its images; None if it takes images of any size.
        payload_bytes: mean over test images.
        psnr_db: mean over test images, in dB.
        description: what the model is for.
    """

    name: str
    model_id: str
    is_default: bool
    kind: str
    shape: tuple[int, int, int] | None
    payload_bytes: float | None
    psnr_db: float | None
    description: str
