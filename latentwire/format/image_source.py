"""Images that come in pieces of bytes, for a vector model or a model for images of any size."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from latentwire.errors import BatchTooLarge, InvalidArray
from latentwire.format.npy import NpyReader
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage, FittedImages
from latentwire.imaging.reader import AnySizeReader, ImageReader


class OneImage(NamedTuple):
    """An image that is not read yet: width × height, and what reads it."""

    pixels: int
    read: Callable[[], FittedImage]


class ImageSource(ABC):
    """Parses many images: feed bytes, take images, and call `finish` after the last bytes.

    Images can be taken by either method once `opened`; `count` is then their number if it is known before the end.
    """

    count: int | None = None
    opened = False

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next."""

    @abstractmethod
    def check_first(self, reader: ImageReader | AnySizeReader) -> None:
        """Raise `ImageError` if `reader` does not take the first image; of an array, none of the images."""

    @abstractmethod
    def take(self, reader: ImageReader) -> FittedImages | None:
        """Return the next images, or None if more bytes are needed."""

    @abstractmethod
    def take_one(self, reader: AnySizeReader) -> OneImage | None:
        """Return the next image, or None if more bytes are needed."""

    @abstractmethod
    def finish(self) -> None:
        """Check that the source is complete."""


class ImageArray(ImageSource):
    """An npy file of images, uint8 (N, H, W) or (N, H, W, C)."""

    def __init__(self, max_images: int) -> None:
        """Read an array of at most so many images."""
        self._array = NpyReader([np.uint8], "uint8")
        self._max_images = max_images

    def feed(self, data: bytes) -> None:  # noqa: D102
        self._array.feed(data)
        if not self.opened and (shape := self._array.shape) is not None:
            if len(shape) not in (3, 4):
                raise InvalidArray(f"the array has {len(shape)} dimensions; images have 3 (N, H, W) or 4 (N, H, W, C)")
            check_batch_size(shape[0], self._max_images)
            self.count = shape[0]
            self._shape = (*shape[1:], 1)[:3]
            values = max(1, math.prod(self._shape))
            self._rows_at_once = max(1, min(image.ENCODE_BATCH_SIZE, image.MAX_BATCH_VALUES // values))
            self.opened = True

    def check_first(self, reader: ImageReader | AnySizeReader) -> None:  # noqa: D102
        # Refuses a shape that does not fit before any image has arrived.
        image.check_arrays(self._shape, reader)

    def take(self, reader: ImageReader) -> FittedImages | None:  # noqa: D102
        block = self._array.take(self._rows_at_once)
        return None if block is None else image.fit_arrays(self._pixels(block), reader)

    def take_one(self, reader: AnySizeReader) -> OneImage | None:  # noqa: D102
        if (block := self._array.take(1)) is None:
            return None
        (pixels,) = self._pixels(block)
        return OneImage(pixels.shape[0] * pixels.shape[1], lambda: image.fit_array(pixels, reader))

    def _pixels(self, block: npt.NDArray[np.generic]) -> image.Pixels:
        return cast(image.Pixels, block.reshape(-1, *self._shape))

    def finish(self) -> None:  # noqa: D102
        self._array.finish()


def check_batch_size(images: int, max_images: int) -> None:
    """Raise `BatchTooLarge` if there are more than `max_images` images."""
    if images > max_images:
        raise BatchTooLarge(f"the batch has more than the {max_images:,} images that are allowed; send several batches")
