"""What `/encode` does with an image for a model for images of any size, which is admitted again, by its pixels."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from latentwire.imaging.fitting import FittedImage
from service.api.encode_options import EncodeOptions
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.any_size.sender import AnySizeSender
    from latentwire.errors import TargetMissed
    from latentwire.selection.assessment import GuardedImage


class ForAnySize(Exception):
    """The image is for a model for images of any size: no vector model is for it, or the request names the model.

    Attributes:
        sender: of the model.
        file_bytes: size of the image file.
        pixels: width × height; of an effort above 1 a multiple of that, as the time that it takes.
        read: gives the image.
        otherwise: what the vector models have made of it, which is sent if this model's result is no better.
    """

    def __init__(
        self,
        sender: "AnySizeSender",
        file_bytes: int,
        pixels: int,
        read: Callable[[], FittedImage],
        otherwise: "GuardedImage | TargetMissed | None" = None,
    ) -> None:
        self.sender = sender
        self.file_bytes = file_bytes
        self.pixels = pixels
        self.read = read
        self.otherwise = otherwise


def find_any_size(sender: "AnySizeSender", options: EncodeOptions, settings: Settings, file: bytes) -> ForAnySize:
    """Look at the header of an image file.

    Raises:
        ImageError: it cannot be read, or claims too many pixels.
        InvalidParameter: a model for images of any size has no such option.
    """
    options.check_for_any_size(has_decoder=settings.verifies)
    reader = settings.any_size_reader(options.background)
    pixels = options.work_of(reader.pixels_of(file), settings)
    return ForAnySize(sender, len(file), pixels, partial(reader.read, file))
