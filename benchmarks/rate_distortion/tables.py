"""Points -> Markdown, aligned so that it is readable on a terminal as it is."""

import textwrap
from collections.abc import Iterable, Sequence

from benchmarks.rate_distortion.points import (
    ALONE,
    BATCH,
    FULL,
    LOSSLESS,
    OURS,
    PAYLOAD,
    TOGETHER,
    Arrangement,
    Point,
    by_codec,
    cheapest_that_reaches,
    classical,
    cost_of,
)

# The PSNR of article 001 with ten numbers, of codes of 4, 9 and 16 bytes in a short trial, of WebP at quality 1, and of
# a good picture.
LEVELS_DB = (17.9, 20.4, 22.4, 24.1, 25.4, 30.0)

NEVER = "–"
CHEAPEST = "*"

WIDTH = 120


def full_text(points: Sequence[Point], dataset: str) -> str:
    """Return all tables, each under a heading and with an explanation."""
    count = max(point.count for point in points)
    few = min(point.count for point in points)
    chosen = (
        f"; each classical codec, each image alone, over {few:,} of them, drawn with a fixed seed"
        if few < count
        else ""
    )
    return _wrapped(f"""\
Over {count:,} {dataset} images{chosen}. Bytes are the mean of an image's bytes with all headers. PSNR is that of the
mean squared error over all pixels of the decoded images, pixels in [0, 1].

### The shipped models

{models_table(points)}

The payload is what travels where the link already says which model is meant; the full framing names the model and adds
a checksum. The last three columns concern images alone: the classical codec that reaches the model's PSNR with the
fewest bytes, and the ratio of its bytes to the payload.

### Bytes for a PSNR, each image alone

{levels_table(points, ALONE)}

### Bytes per image for a PSNR, all images together

Here each classical codec codes all images as one picture of tiles, and each model's codes are in one container.

{levels_table(points, TOGETHER)}

A classical codec counts with the best of its settings; between two settings, the logarithm of the bytes is interpolated
linearly in the PSNR. Latentwire counts with the shipped model of the fewest bytes that reaches the PSNR, and the PSNR
of that model stands beside it; *{LOSSLESS}* is the lossless form of a bitstream. {NEVER}: not reached. {CHEAPEST}: the
cheapest setting, which gives a higher PSNR than this. A lossless setting reaches any PSNR.

### Settings that were measured

{settings_table(points)}""")


def summary_text(points: Sequence[Point], dataset: str) -> str:
    """Return the table of the shipped models, after a line that names the images."""
    count = max(point.count for point in points)
    return f"Mean bytes per image over {count:,} {dataset} images:\n\n{models_table(points)}"


def models_table(points: Sequence[Point]) -> str:
    """Return one row for each model: its bytes in all forms, its PSNR, and the best classical codec of that PSNR."""
    rivals = by_codec(classical([point for point in points if point.arrangement == ALONE]))
    grouped = by_codec(points)
    rows = []
    models = [point for point in grouped.get(PAYLOAD, []) if point.setting != LOSSLESS]
    for payload in sorted(models, key=lambda point: point.bytes):
        other = {
            form: next(point for point in grouped[form] if point.setting == payload.setting) for form in (FULL, BATCH)
        }
        costs = {codec: cost_of(of_codec, payload.psnr_db) for codec, of_codec in rivals.items()}
        reached = {codec: cost.bytes for codec, cost in costs.items() if cost is not None}
        best = min(reached, key=lambda codec: reached[codec], default=None)
        beside = (best, f"{reached[best]:.1f}", f"{reached[best] / payload.bytes:.1f} ×") if best else (NEVER,) * 3
        sizes = [f"{point.bytes:.2f}" for point in (payload, other[FULL], other[BATCH])]
        rows.append([payload.setting, *sizes, _decibels(payload), *beside])
    header = [
        "model",
        "payload",
        "full framing",
        "in one container",
        "PSNR",
        "best classical",
        "its bytes",
        "÷ payload",
    ]
    return render(header, rows)


def levels_table(points: Sequence[Point], arrangement: Arrangement, levels_db: Sequence[float] = LEVELS_DB) -> str:
    """Return one row for each codec: the bytes that each PSNR costs, and what no loss costs."""
    arranged = [point for point in points if point.arrangement == arrangement]
    grouped = by_codec(arranged)
    rows = []
    for codec in (name for name in OURS if name in grouped):
        cells = [_nearest(cheapest_that_reaches(grouped[codec], level)) for level in levels_db]
        rows.append([f"**{codec}**", *cells, _lossless(grouped[codec])])
    for codec, of_codec in by_codec(classical(arranged)).items():
        cells = []
        for level in levels_db:
            cost = cost_of(of_codec, level)
            cells.append(NEVER if cost is None else f"{cost.bytes:.1f}{CHEAPEST if cost.cheapest else ''}")
        rows.append([codec, *cells, _lossless(of_codec)])
    return render(["bytes at", *(f"{level:g} dB" for level in levels_db), "no loss"], rows)


def settings_table(points: Sequence[Point]) -> str:
    """Return one row for each classical codec and arrangement: library, images, settings, least and greatest PSNR."""
    rows = []
    for arrangement in (ALONE, TOGETHER):
        arranged = classical([point for point in points if point.arrangement == arrangement])
        for codec, of_codec in by_codec(arranged).items():
            libraries = list(dict.fromkeys(point.library for point in of_codec))
            worst, best = max(of_codec, key=lambda point: point.mse), min(of_codec, key=lambda point: point.mse)
            spread = " – ".join(dict.fromkeys((_decibels(worst), _decibels(best))))
            count = f"{of_codec[0].count:,}"
            rows.append([codec, arrangement, count, str(len(of_codec)), spread, "; ".join(libraries)])
    return render(["codec", "images", "number", "settings", "PSNR", "libraries"], rows)


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned, those of numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    right = [all(_is_number(row[column]) for row in rows) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        columns = zip(cells, widths, right, strict=True)
        return (
            f"| {' | '.join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in columns)} |"
        )

    rule = "|".join("-" * (width + 1) + (":" if number else "-") for width, number in zip(widths, right, strict=True))
    return "\n".join([line(header), f"|{rule}|", *map(line, rows)])


def _is_number(cell: str) -> bool:
    return cell[0].isdigit() or cell == NEVER


def _nearest(point: Point | None) -> str:
    if point is None:
        return NEVER
    given = f", {_decibels(point)}" if point.mse else ""
    return f"{point.bytes:.2f} ({point.setting}{given})"


def _lossless(points: Iterable[Point]) -> str:
    sizes = [point.bytes for point in points if not point.mse]
    return f"{min(sizes):.1f}" if sizes else NEVER


def _decibels(point: Point) -> str:
    return f"{point.psnr_db:.1f} dB" if point.mse else "no loss"


def _wrapped(text: str) -> str:
    """Break the lines of paragraphs anew; tables and headings stay."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if part[0] in "|#" else textwrap.fill(part, WIDTH) for part in paragraphs)
