"""`python -m benchmarks.photo models/<name>`: compare a model for images of any size with JPEG, WebP and AVIF.

Bytes are whole files and whole bitstreams in the full framing, as a `latentwire.Sender` writes them; errors are of what
a `latentwire.Receiver` decodes from them. All pictures of a folder are measured, scaled down where asked for. The bits
that one codec needs against another at equal PSNR are given in percent (BD-rate); below 0, the model needs fewer.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.errors import ModelError
from latentwire.imaging.image import Pixels
from latentwire.model.any_size_card import AnySizeCard
from latentwire.receiver import Receiver
from latentwire.sender import Sender
from training.photo.bd_rate import bd_rate
from training.photo.evaluate import classical_curves, read_folder

QUALITIES = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)


class Point(NamedTuple):
    """Means over all pictures at one quality; times are processor times, in ms a megapixel."""

    quality: float
    bytes: float
    bpp: float
    psnr_db: float
    encode_ms: float
    decode_ms: float


def measure(sender: Sender, receiver: Receiver, pictures: Sequence[Pixels], quality: float) -> Point:
    """Send pictures, uint8 (H, W, 3), at one quality."""
    sizes, rates, psnr_db, encoding, decoding = [], [], [], 0.0, 0.0
    for pixels in pictures:
        begun = time.process_time()
        bitstream = sender.encode(pixels, quality=quality).bitstream
        encoded = time.process_time()
        decoded = receiver.decode(bitstream)
        decoding += time.process_time() - encoded
        encoding += encoded - begun
        error = float(np.square(decoded.astype(np.float64) - pixels).mean())
        sizes.append(len(bitstream))
        rates.append(8 * len(bitstream) / pixels[:, :, 0].size)
        psnr_db.append(10 * np.log10(255**2 / max(error, 1e-9)))
    per_ms = sum(pixels[:, :, 0].size for pixels in pictures) / 1e9
    size, rate, psnr = (float(np.mean(values)) for values in (sizes, rates, psnr_db))
    return Point(quality, size, rate, psnr, encoding / per_ms, decoding / per_ms)


def report(points: Iterable[Point], rates: dict[str, float | None]) -> str:
    """Return a table of the points, and the BD-rate against each codec."""
    lines = ["| quality | bytes | bits a pixel | PSNR, dB | encode, ms a megapixel | decode |", "|" + "---|" * 6]
    for point in points:
        size, times = f"{point.bytes:,.0f} | {point.bpp:.3f}", f"{point.encode_ms:,.0f} | {point.decode_ms:,.0f}"
        lines.append(f"| {point.quality:g} | {size} | {point.psnr_db:.2f} | {times} |")
    for name, rate in rates.items():
        lines.append(f"BD-rate against {name}: {'the curves do not overlap' if rate is None else f'{rate:+.1f} %'}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photo", description="Compare with JPEG, WebP and AVIF.")
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--images", type=Path, help="folder of pictures; without it, photos/kodak in LATENTWIRE_DATA")
    parser.add_argument("--scale", type=float, default=1.0, help="of the pictures, at most 1")
    parser.add_argument("--first", type=int, help="take only so many of the pictures")
    parser.add_argument("--qualities", type=float, nargs="+", default=QUALITIES)
    parser.add_argument("--avif", action="store_true", help="also against AVIF, which takes a while")
    parser.add_argument("--json", type=Path, help="file that all figures are written to")
    given = parser.parse_args(arguments)
    folder = given.images or Path(os.environ.get("LATENTWIRE_DATA", "data")) / "photos" / "kodak"
    try:
        sender, receiver = Sender.load(given.model), Receiver.load(given.model)
        if not isinstance(sender.card, AnySizeCard):
            print(f"error: {given.model} is a model of one image shape", file=sys.stderr)
            return 2
        pictures = list(read_folder(folder, given.scale))[: given.first]
    except (ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not pictures:
        print(f"error: no pictures in {folder}", file=sys.stderr)
        return 2
    points = [measure(sender, receiver, pictures, quality) for quality in sorted(given.qualities)]
    ours = [(point.bpp, point.psnr_db) for point in points]
    curves = classical_curves(pictures, given.avif)
    rates = {name: bd_rate(curve, ours) for name, curve in curves.items()}
    print(f"{len(pictures)} pictures of {folder}, scaled to {given.scale:g}; {sender.card.full_name}\n")
    print(report(points, rates))
    if given.json is not None:
        content = {"points": [point._asdict() for point in points], "curves": curves, "bd_rate": rates}
        given.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
