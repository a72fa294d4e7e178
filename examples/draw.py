"""Draws `seven.png`: a handwritten digit of our own, in the form that MNIST gives its digits.

28 × 28 grey pixels, white ink on black, the digit within 20 × 20 and its centre of mass in the middle.

    python examples/draw.py examples/seven.png
"""

import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat

SIDE = 28
ZOOM = 16
PEN = 2.3

# The pen's way, in pixels of the finished picture.
HOOK = [(7.2, 8.6), (8.6, 7.7), (11.5, 7.4), (15.5, 7.2), (18.2, 6.8), (19.3, 7.1), (18.9, 8.6)]
STEM = [(17.4, 11.6), (15.9, 14.8), (14.6, 18.1), (13.6, 21.3), (13.1, 23.2)]
BAR = [(11.2, 14.9), (14.0, 14.3), (18.4, 13.9)]
STROKES = [HOOK + STEM, BAR]


def draw() -> Image.Image:
    """Return the digit, 28 × 28 pixels of mode L."""
    large = Image.new("L", (SIDE * ZOOM, SIDE * ZOOM))
    pen = ImageDraw.Draw(large)
    for stroke in STROKES:
        way = [(x * ZOOM, y * ZOOM) for x, y in stroke]
        pen.line(way, fill=255, width=int(PEN * ZOOM), joint="curve")
        for x, y in (way[0], way[-1]):
            radius = PEN * ZOOM / 2
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    digit = large.filter(ImageFilter.GaussianBlur(ZOOM * 0.4)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return ImageChops.offset(digit, *(round((SIDE - 1) / 2 - centre) for centre in centre_of_mass(digit)))


def centre_of_mass(image: Image.Image) -> tuple[float, float]:
    """Return the mean column and row of the ink, in pixels."""
    ink = ImageStat.Stat(image).sum[0]
    columns = sum(x * ImageStat.Stat(image.crop((x, 0, x + 1, SIDE))).sum[0] for x in range(SIDE))
    rows = sum(y * ImageStat.Stat(image.crop((0, y, SIDE, y + 1))).sum[0] for y in range(SIDE))
    return columns / ink, rows / ink


if __name__ == "__main__":
    draw().save(Path(sys.argv[1]), optimize=True)
