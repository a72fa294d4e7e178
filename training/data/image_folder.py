"""A folder of image files -> images. The first level of folders, if any, is the class.

    pictures/cat/1.png            pictures/train/cat/1.png       pictures/1.png
    pictures/dog/a/2.jpg          pictures/test/cat/9.png        pictures/more/2.png

Each file is read as the service reads an image, by `latentwire.imaging.reader.ImageReader`, in all formats that are
installed. Files and folders whose names start with a dot are skipped. The order is that of the paths' names, whatever
the file system's is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from latentwire.errors import ImageError, ImageMismatch, InvalidImage
from latentwire.imaging.formats import describe, installed_formats
from latentwire.imaging.reader import ImageReader, shape_of_file
from latentwire.model.card import ImageShape
from training.data.images import Images, TargetShape, allocate
from training.errors import CorruptData, InvalidRecipe

MAX_FILE_BYTES = 1 << 28

# Largest image file in pixels: more than a camera's picture has, and few enough for any machine that trains.
MAX_PIXELS = 1 << 26

# Largest side of an image, in pixels.
MAX_SIDE = 4096

# Height, width and channels of an image; a side may be longer than a model's may be.
_Shape = tuple[int, int, int]


class Skipped(NamedTuple):
    """An unreadable file, by its path within the folder, and the reason."""

    path: str
    reason: str


class FolderImages(NamedTuple):
    """A folder's images. Labels are indices of `classes`; `test` is None unless the folder has `train` and `test`."""

    train: Images
    test: Images | None
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def load_folder(folder: Path, target: TargetShape) -> FolderImages:
    """Read all image files below a folder.

    Raises:
        CorruptData: none of them can be read.
        InvalidRecipe: a readable file does not fit and `target.fit` is strict, or there is no room for them.
    """
    roots = (folder / "train", folder / "test") if _has_parts(folder) else (folder,)
    files = [_files(root) for root in roots]
    shape = _shape([path for part in files for path in part], folder, target)
    classes = sorted({name for root, part in zip(roots, files, strict=True) for name in _classes(root, part)})
    labels = {name: index for index, name in enumerate(classes)}
    reader = ImageReader(shape, target.fit, target.background, MAX_PIXELS, installed_formats())
    skipped: list[Skipped] = []
    parts = []
    for root, part in zip(roots, files, strict=True):
        pixels = allocate(len(part), shape)
        found: list[int] = []
        bar = tqdm(part, desc=f"read {root.name}", unit="file", leave=False, delay=1.0, disable=None)
        for path, name in zip(bar, _classes(root, part), strict=True):
            try:
                pixels[len(found)] = reader.read(_read(path)).pixels
            except ImageMismatch as error:
                if target.fit == "strict":
                    raise InvalidRecipe(f"{path}: {error}") from error
                skipped.append(_skip(path, folder, error))
            except ImageError as error:
                skipped.append(_skip(path, folder, error))
            else:
                found.append(labels[name])
        if not found:
            raise CorruptData(f"{root} holds {len(part)} files, and none of them is a readable image")
        parts.append(Images(pixels[: len(found)], np.array(found, np.int64)))
    return FolderImages(
        parts[0], parts[1] if len(parts) > 1 else None, () if classes == [""] else tuple(classes), tuple(skipped)
    )


def _has_parts(folder: Path) -> bool:
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def _files(root: Path) -> list[Path]:
    within = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return [root / path for path in within if not any(part.startswith(".") for part in path.parts)]


def _classes(root: Path, files: Sequence[Path]) -> list[str]:
    """Return each file's class: the folder below the root that holds it, or nothing for one in the root itself."""
    parts = [path.relative_to(root).parts for path in files]
    return [part[0] if len(part) > 1 else "" for part in parts]


def _shape(files: Sequence[Path], folder: Path, target: TargetShape) -> ImageShape:
    """Return the shape that all images get: the target, completed by the shape that all readable files have.

    Raises:
        CorruptData: no file is readable.
        InvalidRecipe: the files have several shapes, and the target leaves open which one is meant.
    """
    found = Counter(shape for path in files if (shape := _shape_of_file(path)) is not None)
    if not found:
        raise CorruptData(
            f"{folder} holds {len(files)} files, and none of them is a readable image ({describe(installed_formats())})"
        )
    asked = (target.height, target.width, target.channels)
    completed = {tuple(one or other for one, other in zip(asked, shape, strict=True)) for shape in found}
    if target.fit != "strict" and len(completed) > 1:
        raise InvalidRecipe(_choice(folder, found, target))
    height, width, channels = next(iter(found)) if target.fit == "strict" else completed.pop()
    if max(target.height or height, target.width or width) > MAX_SIDE:
        raise InvalidRecipe(
            f"{folder} has images of {width} × {height} pixels, and a model takes at most {MAX_SIDE:,} a side; "
            "set image_height, image_width and fit"
        )
    return target.shape(ImageShape.model_validate({"height": height, "width": width, "channels": channels}))


def _choice(folder: Path, found: Mapping[_Shape, int], target: TargetShape) -> str:
    """Return the sentence that asks for what a recipe has to choose, with the usual values as a proposal."""
    differing = []
    for name, index, given in (("image_height", 0, target.height), ("image_width", 1, target.width)):
        if not given and len({shape[index] for shape in found}) > 1:
            differing.append((name, _usual(found, index)))
    if not target.channels and len({shape[2] for shape in found}) > 1:
        differing.append(("channels", _usual(found, 2)))
    sizes = [f"{width} × {height} × {channels}" for height, width, channels in (min(found), max(found))]
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in differing)
    return (
        f"{folder} holds images of {len(found):,} shapes, from {sizes[0]} to {sizes[1]} (width × height × channels); "
        f"say which one all get, as with {options}"
    )


def _usual(found: Mapping[_Shape, int], index: int) -> int:
    """Return the median of one side of all images, or the usual number of channels."""
    values = sorted(value for shape, count in found.items() for value in [shape[index]] * count)
    return values[len(values) // 2]


def _shape_of_file(path: Path) -> _Shape | None:
    """Return height, width and channels of an upright image by its header; None if it is not readable."""
    try:
        return shape_of_file(path, installed_formats())
    except ImageError:
        return None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidImage(f"the file is over {MAX_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"the file cannot be read: {error.strerror}") from error


def _skip(path: Path, folder: Path, error: ImageError) -> Skipped:
    # The library's messages are about a request's body.
    reason = "the file is empty" if "is empty" in str(error) else str(error).replace("the body", "the file")
    return Skipped(str(path.relative_to(folder)), reason)
