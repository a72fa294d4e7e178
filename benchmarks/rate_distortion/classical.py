"""The classical codecs: grey pixels, uint8 (H, W), to the bytes of a whole file and back, and the settings to try.

Each codec is measured over its whole range at the settings that suit tiny images best, with its library's own decoder.
"""

import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, features

Grey = npt.NDArray[np.uint8]

CODECS = ("JPEG", "JPEG 2000", "WebP", "JPEG XL", "AVIF", "PNG")

JPEG_QUALITIES = (1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 100)
PROGRESSIVE_QUALITIES = (1, 5, 25, 75, 100)
WEBP_QUALITIES = (0, 1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100)
JPEG_2000_DB = (10, 12, 14, 16, 18, 20, 22, 25, 30, 35, 40, 50)
JPEG_XL_DISTANCES = (1.0, 2.0, 3.5, 5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 25.0)
JPEG_XL_DISTANCES_TOGETHER = (3.5, 5.0, 10.0, 15.0, 25.0)
AVIF_QUALITIES = (0, 4, 8, 14, 25, 50, 100)

# Speeds of AVIF's encoder, which takes minutes for one picture of 10,000 images at lower speeds.
AVIF_SPEED_ALONE, AVIF_SPEED_TOGETHER = 0, 4


@dataclass(frozen=True, slots=True)
class Setting:
    """A codec at one setting. `slow`: it takes milliseconds for one image of 28 × 28 pixels."""

    codec: str
    name: str
    library: str
    write: Callable[[Grey], bytes]
    read: Callable[[bytes], Grey]
    slow: bool = False


def missing() -> dict[str, str]:
    """Return a sentence for each codec that cannot be measured here, or only in part."""
    install = "install it with `pip install 'latentwire[benchmarks]'`"
    sentences = {}
    for codec, feature in (("JPEG", "jpg"), ("JPEG 2000", "jpg_2000"), ("WebP", "webp"), ("AVIF", "avif")):
        if not features.check(feature):
            sentences[codec] = f"{codec} is left out: Pillow {PIL.__version__} lacks it; install Pillow 11.3 or later"
    if not _has_imagecodecs():
        sentences["JPEG XL"] = f"JPEG XL is left out: imagecodecs is not installed; {install}"
        sentences["PNG"] = f"PNG is measured as Pillow writes it, without imagecodecs' smaller files; {install}"
    return sentences


def settings_alone() -> list[Setting]:
    """Return the settings for one small image in one file, of the installed codecs."""
    return [
        *_jpeg(dict.fromkeys(PROGRESSIVE_QUALITIES, (False, True))),
        *_jpeg({quality: (False,) for quality in JPEG_QUALITIES if quality not in PROGRESSIVE_QUALITIES}),
        # The bands of a wavelet transform cost more bytes than it saves in an image of 28 × 28 pixels.
        *_jpeg_2000(JPEG_2000_DB, resolutions=1, irreversible=False),
        *_jpeg_2000(JPEG_2000_DB[::3], resolutions=2, irreversible=False),
        *_jpeg_2000(JPEG_2000_DB[::3], resolutions=2, irreversible=True),
        *_jpeg_2000([None], resolutions=1, irreversible=False),
        *_webp(WEBP_QUALITIES),
        *_jpeg_xl(JPEG_XL_DISTANCES, lossless_effort=10),
        *_avif(AVIF_SPEED_ALONE),
        *_png(),
    ]


def settings_together() -> list[Setting]:
    """Return the settings for one large picture of many small images, of the installed codecs."""
    return [
        *_jpeg(dict.fromkeys(JPEG_QUALITIES, (False, True))),
        *_jpeg_2000(JPEG_2000_DB, resolutions=6, irreversible=True),
        *_jpeg_2000(JPEG_2000_DB[::2], resolutions=3, irreversible=True),
        *_jpeg_2000([None], resolutions=1, irreversible=False),
        *_webp(WEBP_QUALITIES),
        *_jpeg_xl(JPEG_XL_DISTANCES_TOGETHER, lossless_effort=9),
        *_avif(AVIF_SPEED_TOGETHER),
        *_png(),
    ]


def _jpeg(progressive_of: dict[int, tuple[bool, ...]]) -> list[Setting]:
    if not features.check("jpg"):
        return []
    library = _pillow("libjpeg_turbo", "libjpeg-turbo")
    return [
        Setting(
            "JPEG",
            f"quality {quality}, optimised, {'progressive' if progressive else 'baseline'}",
            library,
            partial(_write, file_format="JPEG", quality=quality, optimize=True, progressive=progressive),
            _read,
        )
        for quality, choices in progressive_of.items()
        for progressive in choices
    ]


def _jpeg_2000(levels_db: Any, resolutions: int, irreversible: bool) -> list[Setting]:
    if not features.check("jpg_2000"):
        return []
    library = _pillow("jpg_2000", "OpenJPEG")
    made = []
    for level_db in levels_db:
        # A comment of one byte replaces the library's own, which is 32 bytes longer.
        options: dict[str, Any] = {"no_jp2": True, "comment": " ", "resolutions": resolutions}
        kind = f"codestream, {resolutions} resolution{'s' * (resolutions > 1)}, {'9/7' if irreversible else '5/3'}"
        if level_db is None:
            name = f"lossless, {kind}"
        else:
            name = f"{level_db} dB, {kind}"
            options |= {"quality_mode": "dB", "quality_layers": [level_db], "irreversible": irreversible}
        made.append(Setting("JPEG 2000", name, library, partial(_jpeg_2000_writer, **options), _read))
    return made


def _webp(qualities: tuple[int, ...]) -> list[Setting]:
    if not features.check("webp"):
        return []
    library = _pillow("webp", "libwebp")
    lossy = [
        Setting("WebP", f"quality {quality}, method 6", library, partial(_webp_writer, quality=quality), _read)
        for quality in qualities
    ]
    return [
        *lossy,
        Setting(
            "WebP", "lossless, method 6", library, partial(_webp_writer, quality=100, lossless=True, exact=True), _read
        ),
    ]


def _avif(speed: int) -> list[Setting]:
    if not features.check("avif"):
        return []
    # By default the encoder weighs more than the squared error, and spends more bytes at each quality.
    options: dict[str, Any] = {"subsampling": "4:0:0", "advanced": {"tune": "psnr"}, "max_threads": 1}
    return [
        Setting(
            "AVIF",
            f"quality {quality}, 4:0:0, speed {speed}, tune psnr",
            _pillow("avif", "libavif"),
            partial(_write, file_format="AVIF", quality=quality, speed=speed, **options),
            _read,
            slow=True,
        )
        for quality in AVIF_QUALITIES
    ]


def _jpeg_xl(distances: tuple[float, ...], lossless_effort: int) -> list[Setting]:
    if not _has_imagecodecs():
        return []
    import imagecodecs

    library = f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}"

    def write(pixels: Grey, effort: int, **options: Any) -> bytes:
        written = imagecodecs.jpegxl_encode(pixels, effort=effort, usecontainer=False, numthreads=1, **options)
        return bytes(written)

    def setting(name: str, **options: Any) -> Setting:
        return Setting("JPEG XL", name, library, partial(write, **options), imagecodecs.jpegxl_decode, slow=True)

    return [
        *(setting(f"distance {far:g}, effort 9", effort=9, lossless=False, distance=far) for far in distances),
        setting(f"lossless, effort {lossless_effort}", effort=lossless_effort, lossless=True),
    ]


def _png() -> list[Setting]:
    optimised = partial(_write, file_format="PNG", optimize=True)
    made = [Setting("PNG", "optimised", _pillow("zlib", "zlib"), optimised, _read)]
    if _has_imagecodecs():
        import imagecodecs

        def write(pixels: Grey) -> bytes:
            return bytes(imagecodecs.png_encode(pixels, level=9, filter=imagecodecs.PNG.FILTER.NO))

        library = f"imagecodecs {imagecodecs.__version__}, {imagecodecs.png_version()}"
        made.append(Setting("PNG", "level 9, rows not filtered", library, write, _read))
    return made


def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _pillow(feature: str, name: str) -> str:
    return f"Pillow {PIL.__version__}, {name} {features.version(feature)}"


def _jpeg_2000_writer(pixels: Grey, resolutions: int, **options: Any) -> bytes:
    # Each resolution halves the sides, which limits their number.
    possible = min(pixels.shape).bit_length()
    return _write(pixels, "JPEG2000", num_resolutions=min(resolutions, possible), **options)


def _webp_writer(pixels: Grey, **options: Any) -> bytes:
    return _write(pixels, "WEBP", method=6, **options)


def _write(pixels: Grey, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def _read(data: bytes) -> Grey:
    with Image.open(io.BytesIO(data)) as picture:
        # WebP has no grey mode, so three equal channels become one again.
        return np.asarray(picture.convert("L"))
