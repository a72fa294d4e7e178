"""Measurements -> what they say: rates against each other, a fixed number of bytes, means."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.photo.classical import AVIF, WEBP
from benchmarks.photo.measure import Measured, Point
from benchmarks.photo.test_sets import TestSet
from training.photo.bd_rate import LEAST_OVERLAP_DB, bd_rate

Floats = npt.NDArray[np.float64]
Curve = list[tuple[float, float]]

# The best of these at each picture and quality is one more rival.
BEST_OF = (WEBP, AVIF)
BEST_NAME = "best of WebP and AVIF"


class Mean(NamedTuple):
    """Means over the pictures of a set; `bpp` are bits a pixel of whole files, `data_bpp` without headers."""

    quality: float
    bytes: float
    bpp: float
    data_bpp: float
    psnr_db: float
    ms_ssim: float | None


def means(measured: Measured, test_set: TestSet) -> list[Mean]:
    """Return the means of each point."""
    areas = np.array([pixels.shape[0] * pixels.shape[1] for pixels in test_set.pictures])
    return [
        Mean(
            point.quality,
            float(np.mean(point.bytes)),
            float(np.mean(8 * np.array(point.bytes) / areas)),
            float(np.mean(8 * np.array(point.data_bytes) / areas)),
            float(np.mean(point.psnr_db)),
            None if point.ms_ssim is None else float(np.mean(point.ms_ssim)),
        )
        for point in measured.points
    ]


def rate_against(ours: Sequence[Mean], rival: Sequence[Mean], headers: bool = True) -> float | None:
    """Return the BD-rate in percent of mean PSNR over mean bits a pixel; None where the curves do not overlap."""

    def curve(points: Sequence[Mean]) -> Curve:
        return _rising([(point.bpp if headers else point.data_bpp, point.psnr_db) for point in points])

    return bd_rate(curve(rival), curve(ours))


def similarity_rate_against(ours: Sequence[Mean], rival: Sequence[Mean]) -> float | None:
    """Return the same of MS-SSIM, as -10 log10(1 - MS-SSIM); None also where pictures are too small for it."""

    def curve(points: Sequence[Mean]) -> Curve:
        known = [(point.bpp, point.ms_ssim) for point in points if point.ms_ssim is not None]
        return _rising([(bits, -10 * float(np.log10(max(1 - value, 1e-9)))) for bits, value in known])

    first, second = curve(rival), curve(ours)
    return bd_rate(first, second) if first and second else None


def rate_against_best(ours: Measured, rivals: Sequence[Measured]) -> float | None:
    """Return how many more bytes the model takes than the rival that takes the fewest, in percent.

    The rival is chosen anew for each picture and each PSNR that both it and the model reach; the logarithm of its bytes
    is interpolated linearly between qualities. The mean is that of the logarithm of the ratio.
    """
    ratios = []
    for number in range(len(ours.points[0].bytes)):
        mine, others = _front(ours.points, number), [_front(rival.points, number) for rival in rivals]
        low = max(mine[1][0], min(psnr[0] for _, psnr in others))
        high = min(mine[1][-1], max(psnr[-1] for _, psnr in others))
        if high - low < LEAST_OVERLAP_DB:
            continue
        at = np.linspace(low, high, 100)
        best = np.min([np.interp(at, psnr, size, right=np.inf) for size, psnr in others], 0)
        ratios.append(float((np.interp(at, mine[1], mine[0]) - best).mean()))
    return 100 * float(np.expm1(np.mean(ratios))) if ratios else None


class InTarget(NamedTuple):
    """What fits a number of bytes: how many of the pictures, and their mean PSNR; None of no picture."""

    codec: str
    fitting: int
    psnr_db: float | None


def in_target(all_measured: Sequence[Measured]) -> list[InTarget]:
    """Return one row for each codec."""
    rows = []
    for measured in all_measured:
        reached = [value for value in measured.best_in_target or () if value is not None]
        rows.append(InTarget(measured.codec, len(reached), float(np.mean(reached)) if reached else None))
    return rows


def lead_in_target(ours: Measured, rivals: Sequence[Measured]) -> tuple[float, float]:
    """Return the mean PSNR of the best rival of each picture, and the model's over the same pictures.

    Pictures that no rival can send in so few bytes are left out.
    """
    both = []
    for number, mine in enumerate(ours.best_in_target or ()):
        found = [rival.best_in_target[number] for rival in rivals if rival.best_in_target is not None]
        reached = [value for value in found if value is not None]
        if reached and mine is not None:
            both.append((max(reached), mine))
    best, mean = np.mean(both, 0)
    return float(best), float(mean)


def _rising(points: Curve) -> Curve:
    """Leave out points that another one beats, which a mean of small files can have."""
    kept: Curve = []
    for bits, value in sorted(points):
        if not kept or value > kept[-1][1]:
            kept.append((bits, value))
    return kept


def _front(points: Sequence[Point], number: int) -> tuple[Floats, Floats]:
    """Return the logarithms of a picture's bytes, and its PSNR, both rising."""
    kept = np.array(_rising([(point.bytes[number], point.psnr_db[number]) for point in points]))
    return np.log(kept[:, 0]), kept[:, 1]
