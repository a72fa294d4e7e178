"""python -m benchmarks.photo.effort: what an effort of 2 and 3 saves against 1, and how much longer it takes."""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.photo.test_sets import load_test_sets
from latentwire.codec import Codec
from latentwire.effort import EFFORTS, Effort
from latentwire.imaging.image import Pixels
from training.photo.bd_rate import bd_rate


class Refined(NamedTuple):
    """One picture at one quality and effort, and the processor time that it took."""

    bits_per_pixel: float
    psnr_db: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photo.effort", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the model")
    data = Path(os.environ.get("LATENTWIRE_DATA") or "data")
    parser.add_argument("--data", type=Path, default=data, help="folder with photos/kodak and others")
    parser.add_argument("--set", default="kodak", help="test set")
    parser.add_argument("--first", type=int, help="only so many pictures")
    parser.add_argument("--qualities", type=float, nargs="+", default=[15.0, 45.0, 80.0])
    parser.add_argument("--efforts", type=int, nargs="+", choices=EFFORTS, default=EFFORTS, help="1 must be the first")
    parser.add_argument("--processes", type=int, default=1, help="pictures that are encoded at one time")
    given = parser.parse_args(arguments)
    (pictures,) = (one.pictures for one in load_test_sets(given.data, given.first) if one.name == given.set)
    print("| effort | BD-rate against 1 | processor time, s a picture |\n|---:|---:|---:|")
    first: list[tuple[float, float]] = []
    with ProcessPoolExecutor(given.processes) as pool:
        for effort in given.efforts:
            curve, seconds = [], []
            for quality in given.qualities:
                refined = list(pool.map(partial(_encode, given.model, effort, quality), pictures))
                curve.append((_mean([one.bits_per_pixel for one in refined]), _mean([one.psnr_db for one in refined])))
                seconds += [one.seconds for one in refined]
            first = first or curve
            rate = bd_rate(first, curve)
            print(f"| {effort} | {'–' if rate is None else f'{rate:+.1f} %'} | {_mean(seconds):.2f} |", flush=True)


def _encode(model: Path, effort: Effort, quality: float, pixels: Pixels) -> Refined:
    codec = _load(model)
    begun = time.process_time()
    encoded = codec.encode(pixels, quality=quality, effort=effort)
    seconds = time.process_time() - begun
    return Refined(8 * len(encoded.bitstream) / (pixels.size / 3), encoded.psnr_db or 0, seconds)


@cache
def _load(model: Path) -> Codec:
    return Codec.load(model)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


if __name__ == "__main__":
    main()
