"""A data set's images, in memory or in a temporary file, and the shape in which a recipe wants them."""

import os
import tempfile
from dataclasses import dataclass
from io import BufferedIOBase
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from latentwire.errors import ImageError
from latentwire.imaging import image
from latentwire.imaging.fitting import MODE_OF_CHANNELS
from latentwire.imaging.reader import ImageReader
from latentwire.model.card import ImageShape
from latentwire.options import Background, Fit
from training.batches import parts
from training.errors import CorruptData, InvalidRecipe

# Most bytes of images that are held in memory at once; more lie in a temporary file, which the system reads as needed.
MAX_MEMORY_BYTES = 1 << 30

# Bytes of a file of arrays that are read at a time.
_BLOCK_BYTES = 1 << 20

Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Images:
    """Pixels, uint8 (N, H, W, C), and their labels, integers (N); all labels are 0 where there are none."""

    pixels: npt.NDArray[np.uint8]
    labels: Labels

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: npt.NDArray[np.int64]) -> "Images":
        """Return the images at these indices, in their order.

        Raises:
            InvalidRecipe: there is room for them neither in memory nor on the disk.
        """
        _, height, width, channels = self.pixels.shape
        shape = ImageShape.model_validate({"height": height, "width": width, "channels": channels})
        pixels = allocate(len(indices), shape)
        for part in parts(len(indices), shape.as_tuple()):
            pixels[part] = self.pixels[indices[part]]
        return Images(pixels, self.labels[indices])


def choose_examples(images: Images, count: int) -> npt.NDArray[np.int64]:
    """Return the indices of `count` images: the first of each class in turn, then the second of each, and so on."""
    places = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels)]
    turns = [place[turn] for turn in range(max(map(len, places))) for place in places if turn < len(place)]
    return np.array(turns[:count], dtype=np.int64)


class TargetShape(NamedTuple):
    """The shape that a recipe wants images to have, in pixels and channels; 0 takes that of the data.

    `fit` and `background` are those of `latentwire.imaging.reader.ImageReader`: an image of another shape is refused,
    stretched, or padded, and transparent pixels are laid on a background.
    """

    height: int = 0
    width: int = 0
    channels: int = 0
    fit: Fit = "strict"
    background: Background = "auto"

    def shape(self, found: ImageShape) -> ImageShape:
        """Return the shape of the images, where that of the data is `found`."""
        return ImageShape.model_validate(
            {
                "height": self.height or found.height,
                "width": self.width or found.width,
                "channels": self.channels or found.channels,
            }
        )


def shape_of(array_shape: tuple[int, ...], what: str) -> ImageShape:
    """Return the shape of each image in an array of images, whose own shape is (N, H, W, C).

    Raises:
        CorruptData: the array is empty, or its images do not have 1, 3 or 4 channels and at most 4,096 pixels a side.
    """
    count, height, width, channels = array_shape
    if not count:
        raise CorruptData(f"{what} holds no image")
    if channels not in MODE_OF_CHANNELS or not (1 <= height <= 4096 and 1 <= width <= 4096):
        raise CorruptData(
            f"{what} holds arrays of {height} × {width} × {channels}; an image has height × width × channels, "
            "sides of at most 4,096 pixels, and 1, 3 or 4 channels"
        )
    return ImageShape.model_validate({"height": height, "width": width, "channels": channels})


def allocate(count: int, shape: ImageShape) -> npt.NDArray[np.uint8]:
    """Return room for `count` images, uint8 (N, H, W, C): in memory, or in a temporary file if they are over 1 GiB.

    The file has no name, and goes when the array goes. It lies in the folder that TMPDIR names.

    Raises:
        InvalidRecipe: the disk has no room for it.
    """
    size = count * shape.pixels * shape.channels
    if size <= MAX_MEMORY_BYTES:
        return np.empty((count, *shape.as_tuple()), np.uint8)
    try:
        with tempfile.TemporaryFile() as file:
            # A file with holes would end the program when the disk is full.
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "r+", shape=(count, *shape.as_tuple()))
    except OSError as error:
        raise InvalidRecipe(
            f"{count:,} images of {shape} take {size / 2**30:.1f} GiB, for which {tempfile.gettempdir()} has no room "
            f"({error.strerror}); name another folder with TMPDIR, or ask for fewer pixels with image_height and "
            "image_width"
        ) from error


def read_pixels(
    file: IO[bytes] | BufferedIOBase, array_shape: tuple[int, ...], what: str, order: Literal["C", "F"] = "C"
) -> npt.NDArray[np.uint8]:
    """Return the rest of a file as images, uint8 (N, H, W, C), where `allocate` has room for them.

    Args:
        file: of one byte for each value; it is read in small blocks.
        array_shape: (N, H, W) for grey images, or (N, H, W, C), as the file's header says.
        what: the file's name, for messages.
        order: whether the last dimension varies fastest (`C`), or the first one.

    Raises:
        CorruptData: it has another number of values, or they are no images.
        InvalidRecipe: there is no room for them.
    """
    if len(array_shape) == 3:
        array_shape = (*array_shape, 1)
    values = allocate(array_shape[0], shape_of(array_shape, what)).reshape(-1)
    with tqdm(
        total=values.size, desc="read", unit="B", unit_scale=True, leave=False, delay=1.0, disable=None
    ) as progress:
        for start in range(0, values.size, _BLOCK_BYTES):
            room = values[start : start + _BLOCK_BYTES]
            block = file.read(room.size)
            if len(block) != room.size:
                raise CorruptData(f"{what} ends after {start + len(block):,} of {values.size:,} values")
            room[:] = np.frombuffer(block, np.uint8)
            progress.update(len(block))
    if file.read(1):
        raise CorruptData(f"{what} holds more than the {values.size:,} values that its header says")
    return values.reshape(array_shape, order=order)


def join(first: Images, second: Images) -> Images:
    """Return the images of both, of one shape, one after the other.

    Raises:
        InvalidRecipe: there is room for them neither in memory nor on the disk.
    """
    pixels = allocate(len(first) + len(second), shape_of(first.pixels.shape, "the data set"))
    pixels[: len(first)], pixels[len(first) :] = first.pixels, second.pixels
    return Images(pixels, np.concatenate([first.labels, second.labels]))


def fit_pixels(pixels: npt.NDArray[np.uint8], target: TargetShape, what: str) -> npt.NDArray[np.uint8]:
    """Fit uint8 (N, H, W, C) pixels to the shape that a recipe wants, as the service fits an image.

    Raises:
        InvalidRecipe: they have another shape, and `fit` is strict; or there is no room for them.
    """
    found = shape_of(pixels.shape, what)
    shape = target.shape(found)
    if shape == found:
        return pixels
    if target.fit == "strict":
        raise InvalidRecipe(
            f"the images of {what} are {found}, and {shape} are wanted; make them fit with --fit resize or --fit pad"
        )
    fitted = allocate(len(pixels), shape)
    reader = ImageReader(shape, target.fit, target.background)
    try:
        for index, picture in enumerate(pixels):
            fitted[index] = image.fit_array(picture, reader).pixels
    except ImageError as error:
        raise CorruptData(f"an image of {what} cannot be fitted: {error}") from error
    return fitted
