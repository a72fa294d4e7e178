"""The images of a batch, as the bytes of the request body arrive."""

from functools import partial

from latentwire.errors import UnsupportedMediaType, naming_image
from latentwire.format.image_source import ImageArray, ImageSource, OneImage, check_batch_size
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage, FittedImages
from latentwire.imaging.reader import AnySizeReader, ImageReader
from service.http.media_types import FORM, NPY
from service.http.multipart import FileForm
from service.http.negotiation import is_binary, media_type_of
from service.settings import Settings


def open_image_source(content_type: str, settings: Settings) -> ImageSource:
    """Return the source for a body of this type.

    Raises:
        UnsupportedMediaType: neither an npy file nor a form.
        InvalidMultipart: a form without a valid boundary.
    """
    body_type = media_type_of(content_type)
    if body_type == NPY or is_binary(body_type):
        return ImageArray(settings.max_batch_images)
    if body_type == FORM:
        return _FormImages(settings, content_type)
    raise UnsupportedMediaType(
        f"/encode/batch takes an array or a form, not {body_type[:64]}; send "
        f"-H 'Content-Type: {NPY}' with a uint8 array, or a form of image files with -F file=@a.png -F file=@b.png"
    )


class _FormImages(ImageSource):
    """Images as the files of a form; their number is known only at the end."""

    def __init__(self, settings: Settings, content_type: str) -> None:
        self._form = FileForm(content_type, settings.max_body_bytes)
        self._max_images = settings.max_batch_images
        self._taken = 0

    def feed(self, data: bytes) -> None:
        self._form.feed(data)
        self.opened = self.opened or self._form.next_file is not None

    def check_first(self, reader: ImageReader | AnySizeReader) -> None:
        if isinstance(reader, ImageReader) and reader.fit == "strict":
            self._read(reader, self._form.next_file or b"")

    def take(self, reader: ImageReader) -> FittedImages | None:
        images: list[FittedImage] = []
        while len(images) < image.ENCODE_BATCH_SIZE and (file := self._form.take()) is not None:
            check_batch_size(self._taken + 1, self._max_images)
            images.append(self._read(reader, file))
            self._taken += 1
        return FittedImages.stack(images, reader.shape) if images else None

    def take_one(self, reader: AnySizeReader) -> OneImage | None:
        if (file := self._form.take()) is None:
            return None
        self._taken += 1
        check_batch_size(self._taken, self._max_images)
        return OneImage(reader.pixels_of(file), partial(reader.read, file))

    def _read(self, reader: ImageReader, file: bytes) -> FittedImage:
        with naming_image(self._taken):
            return reader.read(file)

    def finish(self) -> None:
        self._form.finish()
