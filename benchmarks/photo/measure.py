"""Test sets x codecs -> bytes, errors and times of each picture; a folder keeps those of the classical codecs."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import latentwire
from benchmarks.photo.classical import Codec, lossless_bytes
from benchmarks.photo.errors import ms_ssim, psnr_db
from benchmarks.photo.test_sets import DRAWN, SQUARE_NAME, WITH_MS_SSIM, TestSet
from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.errors import InvalidCard
from latentwire.format.bitstream import OVERHEAD_BYTES, write_bitstream
from latentwire.imaging.image import Pixels
from latentwire.model.any_size_card import AnySizeCard
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
        ms_ssim: of each picture of Kodak; None of other sets.
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


class Served(NamedTuple):
    """Mean bytes at one quality and default settings, and how many of the pictures are sent losslessly."""

    quality: float
    bytes: float
    lossless: int


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
    key = [test_set.sha256, codec.library]
    path = None if folder is None else folder / f"{test_set.name}, {codec.name}.json".replace(" ", "-")
    known: dict[float, Point] = {}
    best = None
    if path is not None and path.is_file():
        content = json.loads(path.read_bytes())
        if content["key"] == key:
            kept = Measured.from_json(content["measured"])
            known, best = {point.quality: point for point in kept.points}, kept.best_in_target
    points = []
    for quality in codec.qualities:
        if quality in known:
            points.append(known[quality])
            continue
        files = [codec.write(pixels, quality) for pixels in test_set.pictures]
        decoded = [codec.read(file) for file in files]
        points.append(_point(quality, test_set, files, [codec.data_bytes(file) for file in files], decoded))
    if test_set.name == SQUARE_NAME and best is None:
        best = tuple(_best_in_target(codec, pixels) for pixels in test_set.pictures)
    measured = Measured(codec.name, codec.library, tuple(points), best)
    if path is not None and (len(known) < len(points) or not path.is_file()):
        write_atomically(path, json.dumps({"key": key, "measured": asdict(measured)}).encode())
    return measured


class Model:
    """A model for images of any size, opened."""

    def __init__(self, folder: Path) -> None:
        """Open both halves.

        Raises:
            ModelError: the files of the model cannot be used, or it is a vector model.
        """
        self.codec, self.receiver = latentwire.Codec.load(folder), Receiver.load(folder)
        self.sender = Sender.load(folder)
        card = self.codec.card
        if not isinstance(card, AnySizeCard):
            raise InvalidCard(f"{folder} is a model of one image shape")
        self.card = card
        self._encoder = AnySizeEncoder.open(folder, card)

    def write(self, pixels: Pixels, quality: float) -> bytes:
        """Return a bitstream at default settings."""
        return self.codec.encode(pixels, quality=quality).bitstream

    def write_as_sender(self, pixels: Pixels, quality: float) -> bytes:
        """Return what a process without a decoder sends, which does not measure the error."""
        return self.sender.encode(pixels, quality=quality).bitstream

    def write_symbols(self, pixels: Pixels, quality: float) -> bytes:
        """Return a bitstream of the model's symbols, even where the lossless image takes fewer bytes."""
        coded = self._encoder.encode(pixels, self._encoder.quality_index(quality))
        return write_bitstream(coded.payload, self.card.fingerprint)


def measure_model(model: Model, test_set: TestSet, qualities: Sequence[float]) -> Measured:
    """Measure the model through whole bitstreams: at default settings, and of what no camera took, its symbols."""
    codec, receiver = model.codec, model.receiver
    write = model.write_symbols if test_set.name in DRAWN else model.write
    points = []
    for quality in sorted(qualities):
        files = [write(pixels, quality) for pixels in test_set.pictures]
        decoded = [np.asarray(receiver.decode(file)) for file in files]
        sizes = [len(file) - OVERHEAD_BYTES for file in files]
        points.append(_point(quality, test_set, files, sizes, decoded))
    best = None
    if test_set.name == SQUARE_NAME:
        fitting = [codec.encode(pixels, target_bytes=TARGET_BYTES).bitstream for pixels in test_set.pictures]
        best = tuple(
            psnr_db(pixels, np.asarray(receiver.decode(file)))
            for pixels, file in zip(test_set.pictures, fitting, strict=True)
        )
    return Measured(OURS, codec.card.full_name, tuple(points), best)


def measure_served(model: Model, test_set: TestSet, qualities: Sequence[float]) -> list[Served]:
    """Return what default settings make of pictures that may be sent losslessly."""
    rows = []
    for quality in sorted(qualities):
        encoded = [model.codec.encode(pixels, quality=quality) for pixels in test_set.pictures]
        sizes = [len(one.bitstream) for one in encoded]
        rows.append(Served(quality, float(np.mean(sizes)), sum(one.sent_as != "code" for one in encoded)))
    return rows


def measure_vector_model(folder: Path, test_set: TestSet) -> Measured:
    """Measure a vector model of the pictures' shape, which has one quality.

    Raises:
        ModelError: the files of the model cannot be used.
    """
    sender, receiver = Sender.load(folder), Receiver.load(folder)
    files = [sender.encode(pixels, on_ood="warn").bitstream for pixels in test_set.pictures]
    decoded = [np.asarray(receiver.decode(file)) for file in files]
    point = _point(0, test_set, files, [len(file) - OVERHEAD_BYTES for file in files], decoded)
    return Measured(folder.name, sender.card.full_name, (point,))


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
    similar = [ms_ssim(*pair) for pair in pairs] if test_set.name in WITH_MS_SSIM else None
    return Point(
        quality,
        tuple(map(len, files)),
        tuple(data_bytes),
        tuple(round(psnr_db(*pair), 4) for pair in pairs),
        None if similar is None else tuple(round(value, 6) for value in similar),
    )


def best_file(codec: Codec, pixels: Pixels, max_bytes: int) -> bytes | None:
    """Return the file of at most so many bytes that has the best PSNR of all qualities; None if none fits."""
    # Files grow with the quality, but not strictly.
    low, high = 0, len(codec.fine)
    while low < high:
        middle = (low + high) // 2
        if len(codec.write(pixels, codec.fine[middle])) <= max_bytes:
            low = middle + 1
        else:
            high = middle
    near = [codec.write(pixels, quality) for quality in codec.fine[max(0, low - 4) : low + 4]]
    fitting = [file for file in near if len(file) <= max_bytes]
    return max(fitting, key=lambda file: psnr_db(pixels, codec.read(file)), default=None)


def _best_in_target(codec: Codec, pixels: Pixels) -> float | None:
    file = best_file(codec, pixels, TARGET_BYTES)
    return None if file is None else psnr_db(pixels, codec.read(file))
