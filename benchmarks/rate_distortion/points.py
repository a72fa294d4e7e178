"""One measurement of a codec; and of many measurements the best ones, and the bytes that a PSNR costs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Arrangement = Literal["alone", "together"]
ALONE: Arrangement = "alone"
TOGETHER: Arrangement = "together"

PAYLOAD = "Latentwire, payload alone"
FULL = "Latentwire, full framing"
BATCH = "Latentwire, one container"
OURS = (PAYLOAD, FULL, BATCH)

# Stands for a model's name where images are sent losslessly.
LOSSLESS = "lossless fallback"


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of one codec, measured.

    `bytes` is the mean of an image's bytes, headers included; `mse` the mean squared error per pixel over all images,
    pixels in [0, 1]. `images` identifies the images by their number and SHA-256.
    """

    codec: str
    setting: str
    library: str
    arrangement: Arrangement
    count: int
    images: str
    bytes: float
    mse: float

    @property
    def psnr_db(self) -> float:
        """PSNR of the mean MSE; infinite if no pixel differs."""
        return -10 * math.log10(self.mse) if self.mse else math.inf

    @property
    def key(self) -> tuple[str, ...]:
        """Everything that the figures depend on."""
        return (self.codec, self.setting, self.library, self.arrangement, self.images)

    def to_json(self) -> dict[str, Any]:
        """All fields, and the PSNR: null if it is infinite."""
        return asdict(self) | {"psnr_db": self.psnr_db if self.mse else None}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Point":
        """Undo `to_json`.

        Raises:
            TypeError: a field is missing or unknown.
        """
        return cls(**{name: value for name, value in fields.items() if name != "psnr_db"})


class Cost(NamedTuple):
    """The bytes that a PSNR costs. `cheapest`: they are those of the cheapest setting, whose PSNR is higher."""

    bytes: float
    cheapest: bool


def front(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other point beats in both bytes and PSNR, from the fewest bytes to the best PSNR."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bytes, point.mse)):
        if not best or point.mse < best[-1].mse:
            best.append(point)
    return best


def cost_of(points: Iterable[Point], psnr_db: float) -> Cost | None:
    """Return the bytes at which a codec's best settings reach a PSNR; None if they do not.

    Between two settings the logarithm of the bytes is interpolated linearly in the PSNR: a straight line in a plot with
    a logarithmic axis. A lossless setting is not interpolated.
    """
    best = front(points)
    reached = next((at for at, point in enumerate(best) if point.psnr_db >= psnr_db), None)
    if reached is None:
        return None
    above = best[reached]
    if reached == 0:
        return Cost(above.bytes, cheapest=above.psnr_db > psnr_db)
    if not above.mse:
        return Cost(above.bytes, cheapest=False)
    below = best[reached - 1]
    share = (psnr_db - below.psnr_db) / (above.psnr_db - below.psnr_db)
    return Cost(below.bytes * (above.bytes / below.bytes) ** share, cheapest=False)


def cheapest_that_reaches(points: Iterable[Point], psnr_db: float) -> Point | None:
    """Return the measured point of fewest bytes with at least this PSNR."""
    reaching = [point for point in points if point.psnr_db >= psnr_db]
    return min(reaching, key=lambda point: point.bytes, default=None)


def by_codec(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return each codec's points; codecs are in the order of their first point."""
    grouped: dict[str, list[Point]] = {}
    for point in points:
        grouped.setdefault(point.codec, []).append(point)
    return grouped


def classical(points: Sequence[Point]) -> list[Point]:
    """Return the points of the classical codecs."""
    return [point for point in points if point.codec not in OURS]
