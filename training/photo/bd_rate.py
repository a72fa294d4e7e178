"""Two curves of quality over rate -> how many bits one needs against the other at the same quality.

Source: G. Bjøntegaard, VCEG-M33, 2001; with monotone piecewise cubic interpolation of the rate's logarithm
(F. N. Fritsch, R. E. Carlson, 1980) in place of one polynomial.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Curve = Sequence[tuple[float, float]]

LEAST_OVERLAP_DB = 0.5


def bd_rate(anchor: Curve, tested: Curve) -> float | None:
    """Return the mean difference of rates in percent over the qualities that both reach; negative: `tested` needs less.

    Args:
        anchor: (bits a pixel, PSNR in dB) of each point.
        tested: the same.

    Returns:
        None where they share less than half a decibel.
    """
    first, second = _by_quality(anchor), _by_quality(tested)
    low, high = max(first[0, 1], second[0, 1]), min(first[-1, 1], second[-1, 1])
    if high - low < LEAST_OVERLAP_DB:
        return None
    at = np.linspace(low, high, 400)
    difference = monotone_cubic(second[:, 1], np.log(second[:, 0]), at)
    difference = difference - monotone_cubic(first[:, 1], np.log(first[:, 0]), at)
    return float(100 * np.expm1(difference.mean()))


def monotone_cubic(x: Floats, y: Floats, at: Floats) -> Floats:
    """Interpolate points of rising `x` without overshooting, at places between the first and the last."""
    step = np.diff(x)
    slope = np.diff(y) / step
    tangent = np.empty_like(x)
    tangent[0], tangent[-1] = slope[0], slope[-1]
    same = slope[:-1] * slope[1:] > 0
    left, right = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        harmonic = (left + right) / (left / slope[:-1] + right / slope[1:])
    tangent[1:-1] = np.where(same, harmonic, 0.0)
    cell = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    share = (at - x[cell]) / step[cell]
    width = step[cell]
    rest = 1 - share
    return np.asarray(
        y[cell] * (1 + 2 * share) * rest**2
        + width * tangent[cell] * share * rest**2
        + y[cell + 1] * share**2 * (3 - 2 * share)
        - width * tangent[cell + 1] * share**2 * rest
    )


def measured_curves(anchors: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Return the curves of other codecs, as their measurement wrote them: mean bits a pixel and mean PSNR."""
    measured: dict[str, list[dict[str, float]]] = anchors["measured"]
    return {name: [(row["bpp"], row["psnr"]) for row in rows] for name, rows in measured.items()}


def _by_quality(curve: Curve) -> Floats:
    return np.array(sorted(curve, key=lambda point: point[1]), np.float64)
