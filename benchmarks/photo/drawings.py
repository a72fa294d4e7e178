"""Pictures that no camera took: flat drawings, charts, and text as programs show it, made by code."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from latentwire.imaging.image import Pixels

Maker = Callable[[Image.Image, np.random.RandomState], None]

SIZE = (384, 256)
WORDS = (
    "A bitstream names its model and carries a check of four bytes. The receiver decodes it with the same tables, "
    "so both compute the same integers. Whatever is damaged is refused: a picture that arrives is the picture that "
    "was sent, at the quality that was asked for. Small pictures gain most, because a file's header costs nothing "
    "where there is none. "
)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def draw_pictures() -> list[Pixels]:
    """Return eight drawings, uint8 (256, 384, 3)."""
    makers = (_shapes, _lines, _bars, _curves, _map, _logo, _landscape, _icons)
    return [_drawn(maker, number) for number, maker in enumerate(makers)]


def write_texts() -> list[Pixels]:
    """Return eight pictures of text, uint8 (256, 384, 3)."""
    pages = [_page(size, ink, paper) for size, ink, paper in _PAGES]
    return [*pages, _drawn(_table, 0), _drawn(_window, 1)]


_PAGES = (
    (10, _BLACK, _WHITE),
    (14, _BLACK, _WHITE),
    (20, (40, 40, 40), (250, 246, 232)),
    (32, (20, 40, 120), _WHITE),
    (12, (212, 212, 212), (30, 30, 30)),
    (48, (255, 220, 0), (0, 60, 40)),
)


def _drawn(maker: Maker, seed: int) -> Pixels:
    # Drawn at twice the size and halved, so that edges are smooth, as programs draw them.
    image = Image.new("RGB", (2 * SIZE[0], 2 * SIZE[1]), _WHITE)
    # numpy promises the stream of RandomState for good.
    maker(image, np.random.RandomState(seed))
    return np.asarray(image.resize(SIZE, Image.Resampling.BOX))


def _colour(random: np.random.RandomState) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in random.randint(0, 256, 3))
    return red, green, blue


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shapes(image: Image.Image, random: np.random.RandomState) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y, side = (int(value) for value in random.randint(0, (700, 440, 220)))
        box = (x, y, x + 40 + side, y + 30 + side // 2)
        shape = draw.ellipse if random.randint(2) else draw.rectangle
        shape(box, fill=_colour(random))


def _lines(image: Image.Image, random: np.random.RandomState) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        corners = [(int(x), int(y)) for x, y in random.randint(0, (768, 512), (4, 2))]
        draw.line(corners, fill=_BLACK, width=int(random.randint(2, 6)), joint="curve")


def _bars(image: Image.Image, random: np.random.RandomState) -> None:
    draw = ImageDraw.Draw(image)
    draw.line([(70, 30), (70, 450), (740, 450)], fill=_BLACK, width=3)
    for number in range(10):
        left, high = 90 + 64 * number, int(random.randint(40, 380))
        draw.rectangle((left, 450 - high, left + 44, 449), fill=(31, 95, 158))
        draw.text((left + 4, 460), str(1990 + number), fill=_BLACK, font=_font(18))
        draw.text((10, 440 - 40 * number), str(10 * number), fill=_BLACK, font=_font(20))


def _curves(image: Image.Image, random: np.random.RandomState) -> None:
    draw = ImageDraw.Draw(image)
    for line in range(8):
        draw.line([(60, 40 + 56 * line), (740, 40 + 56 * line)], fill=(221, 221, 221), width=2)
    for colour in ((31, 95, 158), (209, 96, 10), (0, 158, 115)):
        phase, height = random.uniform(0, 6), random.uniform(60, 180)
        points = [(x, int(240 + height * math.sin(phase + x / 90))) for x in range(60, 740, 4)]
        draw.line(points, fill=colour, width=5, joint="curve")
    draw.text((300, 4), "three series", fill=_BLACK, font=_font(28))


def _map(image: Image.Image, random: np.random.RandomState) -> None:
    image.paste((242, 239, 233), (0, 0, *image.size))
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, 380), (200, 330), (420, 400), (768, 300), (768, 512), (0, 512)], fill=(170, 211, 223))
    draw.ellipse((480, 40, 690, 190), fill=(200, 230, 180))
    for width, colour in ((14, (160, 160, 160)), (10, _WHITE)):
        for start, end in (((0, 90), (768, 250)), ((180, 0), (260, 330)), ((430, 0), (400, 400))):
            draw.line([start, end], fill=colour, width=width)
    for number in range(7):
        x, y = (int(value) for value in random.randint((20, 20), (640, 460)))
        draw.text((x, y), f"{number + 3} Mill Road", fill=(80, 80, 80), font=_font(20))


def _logo(image: Image.Image, _: np.random.RandomState) -> None:
    across = np.linspace(0, 1, image.size[0])[None, :, None]
    ends = np.array([[20, 60, 160], [140, 20, 120]])
    shade = np.broadcast_to(ends[0] * (1 - across) + ends[1] * across, (image.size[1], image.size[0], 3))
    image.paste(Image.fromarray(shade.astype(np.uint8)))
    draw = ImageDraw.Draw(image)
    draw.ellipse((80, 130, 330, 380), outline=_WHITE, width=24)
    draw.polygon([(205, 170), (290, 320), (120, 320)], fill=(255, 200, 0))
    draw.text((370, 190), "Latent", fill=_WHITE, font=_font(110))


def _landscape(image: Image.Image, random: np.random.RandomState) -> None:
    image.paste((120, 190, 240), (0, 0, *image.size))
    draw = ImageDraw.Draw(image)
    draw.ellipse((560, 50, 660, 150), fill=(255, 230, 90))
    for level, colour in enumerate(((150, 170, 190), (90, 140, 110), (60, 110, 60))):
        heights = random.randint(-50, 50, 9)
        ridge = [(96 * step, int(230 + 90 * level + high)) for step, high in enumerate(heights)]
        draw.polygon([*ridge, (768, 512), (0, 512)], fill=colour)
    draw.rectangle((300, 360, 420, 460), fill=(190, 90, 70), outline=_BLACK, width=5)
    draw.polygon([(285, 360), (360, 300), (435, 360)], fill=(110, 50, 40), outline=_BLACK, width=5)


def _icons(image: Image.Image, random: np.random.RandomState) -> None:
    draw = ImageDraw.Draw(image)
    for row in range(3):
        for column in range(5):
            left, top = 24 + 148 * column, 16 + 165 * row
            draw.rounded_rectangle((left, top, left + 120, top + 120), 24, fill=_colour(random))
            draw.regular_polygon((left + 60, top + 60, 36), int(random.randint(3, 8)), fill=_WHITE)
            draw.text((left + 30, top + 124), f"item {5 * row + column}", fill=_BLACK, font=_font(22))


def _table(image: Image.Image, random: np.random.RandomState) -> None:
    draw = ImageDraw.Draw(image)
    for row in range(12):
        top = 10 + 41 * row
        if row % 2:
            draw.rectangle((0, top - 4, 768, top + 36), fill=(235, 240, 248))
        for column in range(6):
            value = f"{random.uniform(0, 1000):.2f}" if row else f"column {column + 1}"
            draw.text((14 + 125 * column, top), value, fill=_BLACK, font=_font(22))


def _window(image: Image.Image, _: np.random.RandomState) -> None:
    image.paste((236, 236, 236), (0, 0, *image.size))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 768, 44), fill=(60, 64, 72))
    draw.text((20, 8), "Settings", fill=_WHITE, font=_font(26))
    for row, label in enumerate(("Server address", "Port", "Model", "Largest image, pixels")):
        top = 70 + 90 * row
        draw.text((30, top), label, fill=(50, 50, 50), font=_font(24))
        draw.rectangle((320, top - 6, 730, top + 44), fill=_WHITE, outline=(150, 150, 150), width=2)
        draw.text((334, top + 2), ("localhost", "8000", "photo", "50,000,000")[row], fill=_BLACK, font=_font(24))
    draw.rounded_rectangle((560, 440, 730, 496), 10, fill=(31, 95, 158))
    draw.text((610, 450), "Apply", fill=_WHITE, font=_font(26))


def _page(size: int, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Pixels:
    image = Image.new("RGB", SIZE, paper)
    draw, font = ImageDraw.Draw(image), _font(size)
    words, line = (WORDS * 8).split(), ""
    lines: list[str] = []
    while words and len(lines) * size * 1.3 < SIZE[1]:
        longer = f"{line} {words[0]}".strip()
        if line and draw.textlength(longer, font) > SIZE[0] - 16:
            lines.append(line)
            line = ""
        else:
            line = longer
            words.pop(0)
    draw.multiline_text((8, 6), "\n".join(lines), fill=ink, font=font, spacing=size * 0.3)
    return np.asarray(image)
