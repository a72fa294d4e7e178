"""`python -m benchmarks.photo.comparison models/<name> PHOTOGRAPH OUT`: one picture of original, WebP, AVIF and ours.

Each codec has the same number of bytes, headers included, for the photograph at full size and for a thumbnail of it,
and takes its best quality that fits. Thumbnails are shown enlarged.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.photo.classical import AVIF, WEBP, codecs
from benchmarks.photo.errors import psnr_db
from benchmarks.photo.measure import OURS, Model, best_file
from latentwire.errors import ModelError
from latentwire.imaging.image import Pixels

CAPTION_HEIGHT, FONT_SIZE, GAP = 30, 17, 8
WHITE, BLACK = (255, 255, 255), (20, 20, 20)

Captioned = tuple[Pixels, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the picture; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photo.comparison", description=__doc__)
    add = parser.add_argument
    add("model", type=Path, help="folder of the model")
    add("photograph", type=Path, help="file in any format of Pillow's")
    add("out", type=Path, help="file to write, such as docs/photo-comparison.jpg")
    add("--bytes", type=int, default=6000, help="of the photograph at full size")
    add("--thumbnail-bytes", type=int, default=500)
    add("--thumbnail-height", type=int, default=64)
    given = parser.parse_args(arguments)
    try:
        model = Model(given.model)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with Image.open(given.photograph) as opened:
        picture = opened.convert("RGB")
    size = (round(picture.width * given.thumbnail_height / picture.height), given.thumbnail_height)
    small = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    full = compare(model, np.asarray(picture), given.bytes)
    thumbnails = compare(model, small, given.thumbnail_bytes)
    for _, caption in (*full, *thumbnails):
        print(caption)
    shown = (picture.width - GAP) // 2
    enlarged = [(_enlarge(pixels, shown), caption) for pixels, caption in thumbnails]
    sheet = _below(_row(full[:2]), _row(full[2:]), _row(enlarged))
    Image.fromarray(sheet).save(given.out, quality=92, subsampling="4:4:4", optimize=True)
    return 0


def compare(model: Model, pixels: Pixels, max_bytes: int) -> list[Captioned]:
    """Return the original, and what WebP, AVIF and the model make of it in so many bytes, with captions.

    Raises:
        ValueError: no quality of a codec fits.
    """
    height, width, _ = pixels.shape
    found = [(pixels, f"original, {width} x {height} pixels")]
    for codec in codecs():
        if codec.name in (WEBP, AVIF):
            file = best_file(codec, pixels, max_bytes)
            if file is None:
                raise ValueError(f"no quality of {codec.name} fits in {max_bytes} bytes")
            found.append(_captioned(codec.name, pixels, file, codec.read(file)))
    file = model.codec.encode(pixels, target_bytes=max_bytes).bitstream
    found.append(_captioned(OURS, pixels, file, np.asarray(model.receiver.decode(file))))
    return found


def _captioned(name: str, pixels: Pixels, file: bytes, decoded: Pixels) -> Captioned:
    return decoded, f"{name}: {len(file):,} bytes, {psnr_db(pixels, decoded):.2f} dB"


def _enlarge(pixels: Pixels, width: int) -> Pixels:
    height = round(width * pixels.shape[0] / pixels.shape[1])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST))


def _row(items: Sequence[Captioned]) -> Pixels:
    height, width, _ = items[0][0].shape
    row = Image.new("RGB", (len(items) * (width + GAP) - GAP, height + CAPTION_HEIGHT), WHITE)
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(FONT_SIZE)
    for number, (pixels, caption) in enumerate(items):
        left = number * (width + GAP)
        row.paste(Image.fromarray(pixels), (left, 0))
        draw.text((left, height + 3), caption, BLACK, font)
    return np.asarray(row)


def _below(*rows: Pixels) -> Pixels:
    width = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    )


if __name__ == "__main__":
    sys.exit(main())
