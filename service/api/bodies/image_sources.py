"""The images of a batch, as the bytes of the request body arrive."""

from abc import ABC, abstractmethod
from typing import cast

import numpy as np

from latentwire.errors import ImageError, ImageMismatch, InvalidArray, UnsupportedMediaType
from latentwire.format.npy import NpyReader
from latentwire.imaging import image
from latentwire.imaging.fitting import MODE_OF_CHANNELS, FittedImage, FittedImages
from latentwire.imaging.reader import ImageReader
from service.api.bodies.streams import check_batch_size
from service.http.media_types import FORM, NPY
from service.http.multipart import FileForm
from service.http.negotiation import is_binary, media_type_of
from service.settings import Settings


class ImageSource(ABC):
    """Parses a body: feed bytes, take images, and call `finish` after the last bytes.

    `count` is the number of images if it is known, and `opened` whether it is, or never will be before the end.
    """

    count: int | None = None
    opened = False

    def __init__(self, parser: NpyReader | FileForm, reader: ImageReader, settings: Settings) -> None:
        self._parser, self._reader, self._settings = parser, reader, settings

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next."""
        self._parser.feed(data)

    @abstractmethod
    def take(self) -> FittedImages | None:
        """Return the next images, or None if more bytes are needed."""

    def finish(self) -> None:
        """Check that the body is complete."""
        self._parser.finish()


def open_image_source(content_type: str, reader: ImageReader, settings: Settings) -> ImageSource:
    """Return the source for a body of this type.

    Raises:
        UnsupportedMediaType: neither an npy file nor a form.
        InvalidMultipart: a form without a valid boundary.
    """
    body_type = media_type_of(content_type)
    if body_type == NPY or is_binary(body_type):
        return _NpyImages(reader, settings)
    if body_type == FORM:
        return _FormImages(reader, settings, content_type)
    raise UnsupportedMediaType(
        f"/encode/batch takes an array or a form, not {body_type[:64]}; send "
        f"-H 'Content-Type: {NPY}' with a uint8 array, or a form of image files with -F file=@a.png -F file=@b.png"
    )


class _NpyImages(ImageSource):
    """Images as an array, uint8 (N, H, W) or (N, H, W, C)."""

    def __init__(self, reader: ImageReader, settings: Settings) -> None:
        self._array = NpyReader([np.uint8], "uint8")
        super().__init__(self._array, reader, settings)

    def feed(self, data: bytes) -> None:
        super().feed(data)
        if not self.opened and self._array.shape is not None:
            self._check(self._array.shape)
            self.count = self._array.shape[0]
            self.opened = True

    def take(self) -> FittedImages | None:
        block = self._array.take(self._rows_at_once) if self.opened else None
        if block is None:
            return None
        return image.fit_arrays(cast(image.Pixels, block.reshape(*block.shape[:3], -1)), self._reader)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (3, 4):
            raise InvalidArray(f"the array has {len(shape)} dimensions; images have 3 (N, H, W) or 4 (N, H, W, C)")
        count, height, width = shape[:3]
        check_batch_size(count, self._settings.max_batch_images)
        channels = shape[3] if len(shape) == 4 else 1
        if channels > max(MODE_OF_CHANNELS):
            raise ImageMismatch(f"the images have {channels:,} channels; the model takes {self._reader.shape}")
        # Refuses a shape that does not fit before any image has arrived.
        image.check_arrays((height, width, channels), self._reader)
        values = max(1, height * width * channels)
        self._rows_at_once = max(1, min(image.ENCODE_BATCH_SIZE, image.MAX_BATCH_VALUES // values))


class _FormImages(ImageSource):
    """Images as the files of a form; their number is known only at the end."""

    opened = True

    def __init__(self, reader: ImageReader, settings: Settings, content_type: str) -> None:
        self._form = FileForm(content_type, settings.max_body_bytes)
        super().__init__(self._form, reader, settings)
        self._taken = 0

    def take(self) -> FittedImages | None:
        images: list[FittedImage] = []
        while len(images) < image.ENCODE_BATCH_SIZE and (file := self._form.take()) is not None:
            check_batch_size(self._taken + 1, self._settings.max_batch_images)
            try:
                images.append(self._reader.read(file))
            except ImageError as error:
                raise type(error)(f"file {self._taken} of the form: {error}") from error
            self._taken += 1
        return FittedImages.stack(images, self._reader.shape) if images else None
