"""python -m benchmarks.photo.effort: what an effort of 2 and 3 saves against 1, and how much longer it takes."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.photo.test_sets import load_test_sets
from latentwire.codec import Codec
from latentwire.effort import EFFORTS
from training.photo.bd_rate import bd_rate


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photo.effort", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the model")
    data = Path(os.environ.get("LATENTWIRE_DATA") or "data")
    parser.add_argument("--data", type=Path, default=data, help="folder with photos/kodak and others")
    parser.add_argument("--set", default="kodak", help="test set")
    parser.add_argument("--first", type=int, help="only so many pictures")
    parser.add_argument("--qualities", type=float, nargs="+", default=[15.0, 45.0, 80.0])
    given = parser.parse_args(arguments)
    codec = Codec.load(given.model)
    (pictures,) = (one.pictures for one in load_test_sets(given.data, given.first) if one.name == given.set)
    print("| effort | BD-rate against 1 | processor time, s a picture |\n|---:|---:|---:|")
    first: list[tuple[float, float]] = []
    for effort in EFFORTS:
        begun, curve = time.process_time(), []
        for quality in given.qualities:
            encoded = [codec.encode(pixels, quality=quality, effort=effort) for pixels in pictures]
            rates = [8 * len(one.bitstream) / (one_of.size / 3) for one, one_of in zip(encoded, pictures, strict=True)]
            curve.append((float(np.mean(rates)), float(np.mean([one.psnr_db or 0 for one in encoded]))))
        seconds = (time.process_time() - begun) / len(pictures) / len(given.qualities)
        first = first or curve
        rate = bd_rate(first, curve)
        print(f"| {effort} | {'–' if rate is None else f'{rate:+.1f} %'} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
