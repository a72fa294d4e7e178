"""Test sets x codecs -> bytes, errors and times of each picture; a folder keeps those of the classical codecs."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photo.classical import Codec, lossless_bytes
from benchmarks.photo.errors import ms_ssim, psnr_db
from benchmarks.photo.test_sets import SQUARE_NAME, WHOLE, TestSet
from latentwire.format.bitstream import OVERHEAD_BYTES
from latentwire.imaging.image import Pixels
from latentwire.receiver import Receiver
from latentwire.sender import Sender
from training.atomic import write_atomically

OURS = "Latentwire"
QUALITIES = (0.0, 15.0, 30.0, 45.0, 60.0, 80.0, 100.0)
TARGET_BYTES = 222


@dataclass(frozen=True, slots=True)
class Point:
    """All pictures of a set at one quality.

    Attributes:
        quality: as the codec counts it.
        bytes: of each picture's whole file or bitstream.
        data_bytes: the same without headers.
        psnr_db: of each picture.
        ms_ssim: of each picture of a set of whole photographs; None of other sets, which have small pictures.
    """

    quality: float
    bytes: tuple[int, ...]
    data_bytes: tuple[int, ...]
    psnr_db: tuple[float, ...]
    ms_ssim: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One codec on one set.

    Attributes:
        points: from the fewest bytes.
        best_in_target: for the set of squares: the best PSNR of each picture in 222 bytes; None where nothing fits.
    """

    codec: str
    library: str
    points: tuple[Point, ...]
    best_in_target: tuple[float | None, ...] | None = None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Measured":
        """Undo `dataclasses.asdict` and JSON."""
        points: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in point.items()}
            for point in fields["points"]
        ]
        best = fields["best_in_target"]
        return cls(
            fields["codec"],
            fields["library"],
            tuple(Point(**point) for point in points),
            None if best is None else tuple(best),
        )


@dataclass(frozen=True, slots=True)
class Times:
    """Processor time of one codec for one picture of 768 x 512 pixels on one core, in ms; medians."""

    codec: str
    bytes: float
    encode_ms: float
    decode_ms: float


def measure_classical(codec: Codec, test_set: TestSet, folder: Path | None) -> Measured:
    """Measure one codec on one set, or read what an earlier call has kept.

    Args:
        codec: to measure.
        test_set: to measure on.
        folder: that keeps results; None keeps nothing.
    """
    key = [test_set.sha256, codec.library, list(codec.qualities)]
    path = None if folder is None else folder / f"{test_set.name}, {codec.name}.json".replace(" ", "-")
    if path is not None and path.is_file():
        content = json.loads(path.read_bytes())
        if content["key"] == key:
            return Measured.from_json(content["measured"])
    points = []
    for quality in codec.qualities:
        files = [codec.write(pixels, quality) for pixels in test_set.pictures]
        decoded = [codec.read(file) for file in files]
        points.append(_point(quality, test_set, files, [codec.data_bytes(file) for file in files], decoded))
    best = None
    if test_set.name == SQUARE_NAME:
        best = tuple(_best_in_target(codec, pixels) for pixels in test_set.pictures)
    measured = Measured(codec.name, codec.library, tuple(points), best)
    if path is not None:
        write_atomically(path, json.dumps({"key": key, "measured": asdict(measured)}).encode())
    return measured


def measure_model(sender: Sender, receiver: Receiver, test_set: TestSet, qualities: Sequence[float]) -> Measured:
    """Measure the model through whole bitstreams, at default settings."""
    points = []
    for quality in sorted(qualities):
        files = [sender.encode(pixels, quality=quality).bitstream for pixels in test_set.pictures]
        decoded = [np.asarray(receiver.decode(file)) for file in files]
        sizes = [len(file) - OVERHEAD_BYTES for file in files]
        points.append(_point(quality, test_set, files, sizes, decoded))
    best = None
    if test_set.name == SQUARE_NAME:
        fitting = [sender.encode(pixels, target_bytes=TARGET_BYTES).bitstream for pixels in test_set.pictures]
        best = tuple(
            psnr_db(pixels, np.asarray(receiver.decode(file)))
            for pixels, file in zip(test_set.pictures, fitting, strict=True)
        )
    return Measured(OURS, sender.card.full_name, tuple(points), best)


def measure_times(
    name: str, write: Callable[[Pixels], bytes], read: Callable[[bytes], object], pictures: Sequence[Pixels]
) -> Times:
    """Measure one codec at one quality."""
    sizes, encoding, decoding = [], [], []
    for pixels in pictures:
        begun = time.process_time()
        file = write(pixels)
        encoded = time.process_time()
        read(file)
        decoding.append(time.process_time() - encoded)
        encoding.append(encoded - begun)
        sizes.append(len(file))
    milliseconds = (1e3 * float(np.median(values)) for values in (encoding, decoding))
    return Times(name, float(np.mean(sizes)), *milliseconds)


def mean_lossless_bytes(test_set: TestSet) -> float:
    """Return the mean bytes of lossless WebP files."""
    return float(np.mean([lossless_bytes(pixels) for pixels in test_set.pictures]))


def _point(
    quality: float,
    test_set: TestSet,
    files: Sequence[bytes],
    data_bytes: Sequence[int],
    decoded: Sequence[Pixels],
) -> Point:
    pairs = list(zip(test_set.pictures, decoded, strict=True))
    similar = [ms_ssim(*pair) for pair in pairs] if test_set.name in WHOLE else None
    return Point(
        quality,
        tuple(map(len, files)),
        tuple(data_bytes),
        tuple(round(psnr_db(*pair), 4) for pair in pairs),
        None if similar is None else tuple(round(value, 6) for value in similar),
    )


def _best_in_target(codec: Codec, pixels: Pixels) -> float | None:
    """Return the best PSNR of all qualities whose file fits; files grow with the quality, but not strictly."""
    low, high = 0, len(codec.fine)
    while low < high:
        middle = (low + high) // 2
        if len(codec.write(pixels, codec.fine[middle])) <= TARGET_BYTES:
            low = middle + 1
        else:
            high = middle
    near = [codec.write(pixels, quality) for quality in codec.fine[max(0, low - 4) : low + 4]]
    return max((psnr_db(pixels, codec.read(file)) for file in near if len(file) <= TARGET_BYTES), default=None)
