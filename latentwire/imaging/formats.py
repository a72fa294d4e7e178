"""The formats of image files that Latentwire reads: their names, and what is needed to read them."""

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from PIL import Image, features


class FileFormat(NamedTuple):
    """A format of image files.

    Attributes:
        name: for people.
        pillow: Pillow's name of it.
        suffixes: of such files.
        decoding_bytes: memory that decoding takes for each pixel; 0 if it is that of the decoded pixels alone.
        package: that reads it, if Pillow does not.
        module: of that package.
    """

    name: str
    pillow: str
    suffixes: tuple[str, ...]
    decoding_bytes: int = 0
    package: str = ""
    module: str = ""


FORMATS = {
    "png": FileFormat("PNG", "PNG", (".png",)),
    "jpeg": FileFormat("JPEG", "JPEG", (".jpg", ".jpeg")),
    "webp": FileFormat("WebP", "WEBP", (".webp",), decoding_bytes=16),
    "bmp": FileFormat("BMP", "BMP", (".bmp",)),
    "gif": FileFormat("GIF", "GIF", (".gif",)),
    "tiff": FileFormat("TIFF", "TIFF", (".tif", ".tiff"), decoding_bytes=8),
    "avif": FileFormat("AVIF", "AVIF", (".avif",), decoding_bytes=12),
    "heif": FileFormat("HEIF", "HEIF", (".heic", ".heif"), 12, package="pillow-heif", module="pillow_heif"),
    "jxl": FileFormat("JPEG XL", "JXL", (".jxl",), 32, package="pillow-jxl-plugin", module="pillow_jxl"),
}

# Those whose cost is bounded by the pixels in their header. Decoders of the others trust a file with more.
DEFAULT_FORMATS = ("png", "jpeg", "webp", "bmp", "gif", "tiff")

_TIFF_STARTS = (b"II*\0", b"MM\0*")
_JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_BRAND_TYPE = b"ftyp"
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


@lru_cache(maxsize=1)
def installed_formats() -> tuple[str, ...]:
    """Return the names in `FORMATS` of those that this installation reads."""
    return tuple(name for name in FORMATS if not _missing(name))


@lru_cache(maxsize=16)
# The service asks for each request.
@lru_cache(maxsize=16)
def parse_formats(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas, such as `png,jpeg,heif`.

    Raises:
        ValueError: a name is unknown, or the installation does not read the format.
    """
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name not in FORMATS:
            raise ValueError(f"there is no format '{name}'; there are {', '.join(FORMATS)}")
        if missing := _missing(name):
            raise ValueError(f"{FORMATS[name].name} needs {missing}")
    return names


@lru_cache(maxsize=16)
def pillow_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return Pillow's names of formats, with the packages loaded that read them."""
    for name in names:
        if module := FORMATS[name].module:
            plugin = import_module(module)
            if name == "heif":
                plugin.register_heif_opener()
    return tuple(FORMATS[name].pillow for name in names)


def describe(names: Sequence[str]) -> str:
    """Return names in `FORMATS` as words: `PNG, JPEG or WebP`."""
    *first, last = (FORMATS[name].name for name in names)
    return f"{', '.join(first)} or {last}" if first else last


def suffixes_of(names: Sequence[str]) -> frozenset[str]:
    """Return the suffixes of files of these formats."""
    return frozenset(suffix for name in names for suffix in FORMATS[name].suffixes)


def recognize(data: bytes) -> str | None:
    """Return the name of the format of a file that is not read by default, by its first bytes; None if unknown."""
    if data.startswith(_TIFF_STARTS):
        return "tiff"
    if data.startswith(_JXL_STARTS):
        return "jxl"
    if data[4:8] == _BRAND_TYPE:
        return "avif" if data[8:12] in _AVIF_BRANDS else "heif" if data[8:12] in _HEIF_BRANDS else None
    return None


def decoding_bytes(picture: Image.Image, pixels_kept: int = 0) -> int:
    """Return about how many bytes of memory it takes to decode an opened picture at its present size.

    Args:
        picture: opened, not loaded.
        pixels_kept: number of pixels whose coefficients the decoder keeps, whatever the present size is.
    """
    decoded = 2 if picture.mode == "I;16" else 1 if picture.mode in ("1", "L", "P") else 4
    special = next((known.decoding_bytes for known in FORMATS.values() if known.pillow == picture.format), 0)
    return picture.width * picture.height * max(decoded, special) + pixels_kept * 2 * len(picture.getbands())


def _missing(name: str) -> str:
    """Return what this installation lacks to read a format."""
    known = FORMATS[name]
    if known.module and find_spec(known.module) is None:
        return f"the package {known.package}; install 'latentwire[formats]'"
    # Older versions of Pillow do not know the feature.
    if name == "avif" and not ("avif" in features.modules and features.check("avif")):
        return "a Pillow that is built with AVIF"
    return ""
