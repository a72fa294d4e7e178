"""Models of one ladder and images -> what becomes of the meaning of the images, as they are served.

Each model encodes and decodes all images once; what is served of an image, beginning with any model, follows from that.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from benchmarks.meaning.judges import Judge, Verdict
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.format import lossless
from latentwire.imaging import image
from latentwire.model.guard_limits import MeaningRates
from latentwire.selection.guard import Guard
from training.data.images import Images
from training.release.marks import KINDS, draw_marks

MARKED_IMAGES = 1000
BLENDS = 1500
SEED = 20

# Bounds of the figures; see `holds`.
MAX_CHANGES = 0.001
MIN_FLAGGED = 0.99
MAX_RESOLVED = 0.005
MAX_FALLEN = 0.005
MAX_RISE_BYTES = 0.3

# An invented mark is a square of so many pixels a side that is bright where the image, this far around, is black.
_INVENTED_SIDE, _INVENTED_MARGIN = 3, 1
_BRIGHT, _BLACK = 128, 20

Flags = npt.NDArray[np.bool_]


class Coded(NamedTuple):
    """What one model makes of images: payload bytes, whether it is sure, whether others may be tried, the pictures."""

    sizes: npt.NDArray[np.float64]
    sure: Flags
    climbs: Flags
    pixels: image.Pixels


class Served(NamedTuple):
    """What is served of images: payload bytes, the index of the model or -1 for losslessly, and the pictures."""

    sizes: npt.NDArray[np.float64]
    models: npt.NDArray[np.int64]
    pixels: image.Pixels


class _RecordingDecoder(Decoder):
    """A decoder that remembers the last images that it decoded."""

    last: image.Pixels

    def decode_raw(self, payloads: Sequence[bytes]) -> image.Pixels:
        self.last = super().decode_raw(payloads)
        return self.last


class Rung:
    """One model of the ladder."""

    def __init__(self, folder: Path) -> None:
        """Open both halves of the model in `folder`; raise `ModelError` if its files cannot be used."""
        self._decoder = _RecordingDecoder.open(folder)
        self.guard = Guard(Encoder.open(folder), self._decoder)
        self.card = self.guard.card

    @classmethod
    def open_all(cls, folders: Sequence[Path]) -> list[Self]:
        """Open models, in the order of their quality."""
        rungs = [cls(folder) for folder in folders]
        return sorted(rungs, key=lambda rung: rung.card.quality.psnr_db if rung.card.quality else 0)

    def code(self, pixels: image.Pixels) -> Coded:
        """Encode and decode images, uint8 (N, H, W, C)."""
        sizes, sure, climbs = np.zeros(len(pixels)), np.zeros(len(pixels), np.bool_), np.zeros(len(pixels), np.bool_)
        delivered = pixels.copy()
        for part in image.slices(np.arange(len(pixels)), self.card.image):
            assessments = self.guard.assess(pixels[part])
            if all(assessment.encoded is not None for assessment in assessments):
                delivered[part] = self._decoder.last
            for index, assessment in zip(part, assessments, strict=True):
                if assessment.encoded is not None:
                    sizes[index] = len(assessment.encoded.payload)
                sure[index], climbs[index] = assessment.is_sure, assessment.may_climb
        return Coded(sizes, sure, climbs, delivered)


def serve(pixels: image.Pixels, coded: Sequence[Coded], first: int) -> Served:
    """Return what is served of images, uint8 (N, H, W, C), beginning with the model of index `first`."""
    sizes = coded[first].sizes.copy()
    models = np.full(len(pixels), -1)
    delivered = pixels.copy()
    left = np.ones(len(pixels), np.bool_)
    for index in range(first, len(coded)):
        one = coded[index]
        sure = left & one.sure
        models[sure], sizes[sure], delivered[sure] = index, one.sizes[sure], one.pixels[sure]
        left &= ~sure & (coded[first].climbs if index == first else True)
    for index in np.flatnonzero(models < 0).tolist():
        sizes[index] = len(lossless.write_payload(pixels[index]))
    return Served(sizes, models, delivered)


def measure(
    rungs: Sequence[Rung], judges: Sequence[Judge], images: Images, name: str, chosen: Sequence[int] | None = None
) -> list[MeaningRates]:
    """Measure models, each with the better ones beside it.

    Args:
        rungs: the models, in the order of their quality.
        judges: learned without these images.
        images: images that set no limit, with labels.
        name: of these images.
        chosen: indices of the models to measure; None for all.

    Returns:
        The figures of each chosen model.
    """
    marked = [draw_marks(images.pixels[:MARKED_IMAGES], kind, SEED + number) for number, kind in enumerate(KINDS)]
    blends = draw_blends(images)
    stacks = [images.pixels, blends, *(one.pixels for one in marked)]
    first_needed = min(chosen) if chosen else 0
    empty = Coded(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.bool_), images.pixels[:0])
    coded = [
        [empty if index < first_needed else rung.code(pixels) for index, rung in enumerate(rungs)] for pixels in stacks
    ]
    before, after = _judge(judges, images.pixels, coded[0])
    before_blends, after_blends = _judge(judges, blends, coded[1])
    found = []
    for first in chosen if chosen is not None else range(len(rungs)):
        served = serve(images.pixels, coded[0], first)
        changed = np.ones(len(images.pixels), np.bool_)
        one_sure = np.zeros(len(images.pixels), np.bool_)
        for number, old in enumerate(before):
            new = _pick([verdicts[number] for verdicts in after], served.models, old)
            changed &= new.classes != old.classes
            one_sure |= new.sure & old.sure
        served_blends = serve(blends, coded[1], first)
        resolved = np.ones(len(blends), np.bool_)
        for number, old in enumerate(before_blends):
            new = _pick([verdicts[number] for verdicts in after_blends], served_blends.models, old)
            resolved &= new.sure & (new.classes != old.classes)
        vanished = flagged = 0
        for one, of_rungs in zip(marked, coded[2:], strict=True):
            lost = one.lost(of_rungs[first].pixels)
            vanished += int(lost.sum())
            flagged += int((lost & ~one.lost(serve(one.pixels, of_rungs, first).pixels)).sum())
        rates: dict[str, Any] = {
            "ordinary": name,
            "images": len(images.pixels),
            "sure_changes": float((changed & one_sure).mean()),
            "changes": float(changed.mean()),
            "climbed": float((served.models > first).mean()),
            "fallen": float((served.models < 0).mean()),
            "coded_bytes": float(coded[0][first].sizes.mean()),
            "served_bytes": float(served.sizes.mean()),
            "vanished_marks": vanished,
            "flagged_marks": flagged,
            "invented_marks": int(invented(images.pixels, served.pixels).sum()),
            "blends": len(blends),
            "resolved_blends": float(resolved.mean()) if len(blends) else 0.0,
        }
        unchecked = MeaningRates(**rates, holds=False)
        found.append(unchecked.model_copy(update={"holds": holds(unchecked)}))
    return found


def holds(rates: MeaningRates) -> bool:
    """Return whether figures are within their bounds."""
    return (
        rates.sure_changes == 0
        and rates.changes <= MAX_CHANGES
        and rates.flagged_marks >= MIN_FLAGGED * rates.vanished_marks
        and rates.resolved_blends <= MAX_RESOLVED
        and rates.fallen <= MAX_FALLEN
        and rates.served_bytes - rates.coded_bytes <= MAX_RISE_BYTES
    )


def draw_blends(images: Images) -> image.Pixels:
    """Return the mean pictures of pairs of images of different classes, at most `BLENDS`."""
    random = np.random.RandomState(SEED)
    pairs = random.randint(0, len(images.pixels), (2 * BLENDS, 2))
    one, other = pairs[images.labels[pairs[:, 0]] != images.labels[pairs[:, 1]]][:BLENDS].T
    sums = images.pixels[one].astype(np.uint16) + images.pixels[other]
    means: image.Pixels = (sums // 2).astype(np.uint8)
    return means


def invented(pixels: image.Pixels, delivered: image.Pixels) -> Flags:
    """Return whether delivered images have a mark where the images, uint8 (N, H, W, C), are black around: bool (N)."""
    bright = _mean_of_squares(delivered.max(axis=3), _INVENTED_SIDE) > _BRIGHT
    margin = _INVENTED_MARGIN
    around = np.pad(pixels.max(axis=3) > _BLACK, ((0, 0), (margin, margin), (margin, margin)))
    black = _mean_of_squares(around, _INVENTED_SIDE + 2 * margin) == 0
    found: Flags = (bright & black).any(axis=(1, 2))
    return found


def _mean_of_squares(values: npt.NDArray[Any], side: int) -> npt.NDArray[np.float64]:
    sums = np.pad(values.astype(np.int64), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    inside = sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side] + sums[:, :-side, :-side]
    means: npt.NDArray[np.float64] = inside / side**2
    return means


def _judge(
    judges: Sequence[Judge], pixels: image.Pixels, coded: Sequence[Coded]
) -> tuple[list[Verdict], list[list[Verdict]]]:
    """Return the verdicts of each judge on images, and on the pictures of each model.

    Judges but the first judge only what it finds changed. Their verdicts on other images are equal, and mean nothing.
    """
    before: list[Verdict] = []
    after: list[list[Verdict]] = [[] for _ in coded]
    pictures = [one.pixels if len(one.pixels) == len(pixels) else pixels for one in coded]
    changed = [np.ones(len(pixels), np.bool_) for _ in coded]
    for judge in judges:
        needed = np.logical_or.reduce(changed)
        nothing = Verdict(np.full(len(pixels), -1), np.zeros(len(pixels), np.bool_))
        before.append(_fill(nothing, needed, judge, pixels))
        for index, picture in enumerate(pictures):
            found = before[-1] if picture is pixels else _fill(before[-1], changed[index], judge, picture)
            after[index].append(found)
            changed[index] &= found.classes != before[-1].classes
    return before, after


def _fill(verdict: Verdict, chosen: Flags, judge: Judge, pixels: image.Pixels) -> Verdict:
    """Return a verdict with that of a judge on the chosen images in it."""
    classes, sure = verdict.classes.copy(), verdict.sure.copy()
    if chosen.any():
        classes[chosen], sure[chosen] = judge.judge(pixels[chosen])
    return Verdict(classes, sure)


def _pick(verdicts: Sequence[Verdict], models: npt.NDArray[np.int64], exact: Verdict) -> Verdict:
    """Return the verdict of what is served of each image, by the model that serves it."""
    classes, sure = exact.classes.copy(), exact.sure.copy()
    for index, verdict in enumerate(verdicts):
        by_it = models == index
        if by_it.any():
            classes[by_it], sure[by_it] = verdict.classes[by_it], verdict.sure[by_it]
    return Verdict(classes, sure)
