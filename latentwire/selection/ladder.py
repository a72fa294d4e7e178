"""Several models of one image shape -> the one whose code of this very image is wanted.

A *ladder* has a rung for each model, by the quality that its card tells, and above them all the image losslessly. Asked
for a number of bytes, it gives the best picture that fits; asked for a quality, the smallest code that has it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from latentwire.encoder import EncodedImage
from latentwire.errors import OutOfDistribution, TargetMissed
from latentwire.format import lossless
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from latentwire.options import OnOod
from latentwire.selection.guard import Assessment, Guard, GuardedImage, LimitExceeded, OodFinding, psnr_db


class Selection(NamedTuple):
    """The model that was chosen, and what it makes of the image."""

    card: ModelCard
    guarded: GuardedImage


class Ladder:
    """The guards of models that take images of one shape."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        """Order them by the PSNR of their cards; those that tell none are the lowest."""
        self._rungs = sorted(guards, key=_quality)

    def best_within(
        self,
        pixels: image.Pixels,
        target_bytes: int,
        size_of: Callable[[EncodedImage], int],
        on_ood: OnOod,
        max_mse: float | None = None,
    ) -> Selection:
        """Return the code of the best quality that has at most `target_bytes`.

        Args:
            pixels: uint8 (H, W, C).
            target_bytes: at least 1.
            size_of: what counts of a code, in bytes.
            on_ood: a code of an out-of-distribution image is taken only under `warn`, and only if no other fits.
            max_mse: as `Guard.encode` has it.

        Raises:
            TargetMissed: no code fits.
            OutOfDistribution: only codes fit that would give another picture, under `refuse`.
        """
        best = self._rungs[-1]
        # To write an image losslessly takes longer than to encode it, so it is only tried where it may fit.
        if target_bytes >= lossless.min_bytes(best.card.image):
            itself = best.encode_lossless(pixels)
            if size_of(itself.encoded) <= target_bytes:
                return Selection(best.card, itself)
        poor: tuple[Guard, Assessment] | None = None
        smallest: int | None = None
        for rung in reversed(self._rungs):
            (assessment,) = rung.assess(pixels[None], max_mse)
            if assessment.encoded is None:
                continue
            size = size_of(assessment.encoded)
            smallest = size if smallest is None else min(smallest, size)
            if size > target_bytes:
                continue
            if assessment.ood is None:
                return Selection(rung.card, rung.apply_policy(pixels, assessment, "warn"))
            poor = poor or (rung, assessment)
        if poor is None:
            least = f": the smallest has {smallest:,}" if smallest is not None else ""
            raise TargetMissed(f"no code of this image fits into {target_bytes:,} bytes{least}")
        rung, assessment = poor
        if on_ood == "fallback":
            why = assessment.ood.sentence if assessment.ood else ""
            itself = best.encode_lossless(pixels)
            raise TargetMissed(f"{why}; losslessly it takes {size_of(itself.encoded):,} bytes, over {target_bytes:,}")
        return Selection(rung.card, rung.apply_policy(pixels, assessment, on_ood))

    def smallest_reaching(self, pixels: image.Pixels, min_psnr_db: float, on_ood: OnOod) -> Selection:
        """Return the code of the lowest rung that gives this image a PSNR of `min_psnr_db`, in dB.

        Where no decoder is at hand, the PSNR of the card stands for the image's own.

        Args:
            pixels: uint8 (H, W, C).
            min_psnr_db: finite.
            on_ood: what is done if no model reaches it: the image is refused, sent losslessly as a `fallback`, or
                sent as the best picture that there is, with the out-of-distribution that says so.

        Raises:
            TargetMissed: no model reaches it, under `refuse`.
            OutOfDistribution: the models that might reach it are not for such images, under `refuse`.
            UncodableImage: no model has a code for it, under `warn`.
        """
        best: tuple[Guard, Assessment] | None = None
        ood: OodFinding | None = None
        best_psnr_db = None
        for rung in self._rungs:
            if not rung.has_decoder and _quality(rung) < min_psnr_db:
                continue
            (assessment,) = rung.assess(pixels[None])
            reached = _quality(rung) if assessment.mse is None else psnr_db(assessment.mse)
            if assessment.ood is None and reached >= min_psnr_db:
                return Selection(rung.card, rung.apply_policy(pixels, assessment, on_ood))
            ood = assessment.ood
            if assessment.encoded is not None and (best_psnr_db is None or reached >= best_psnr_db):
                best, best_psnr_db = (rung, assessment), reached
        rung, judged = best or (self._rungs[-1], self._rungs[-1].assess(pixels[None])[0])
        missed = _missed(judged, min_psnr_db, best_psnr_db)
        if on_ood == "fallback":
            return Selection(rung.card, rung.encode_lossless(pixels, ood and missed))
        if on_ood == "refuse":
            raise (OutOfDistribution if ood else TargetMissed)(
                f"{missed.sentence}; on_ood=fallback sends it losslessly"
            )
        return Selection(rung.card, rung.apply_policy(pixels, judged._replace(ood=missed), "warn"))


def _quality(guard: Guard) -> float:
    return guard.card.quality.psnr_db if guard.card.quality else float("-inf")


def _missed(assessment: Assessment, min_psnr_db: float, best_psnr_db: float | None) -> OodFinding:
    """Say that a PSNR is not reached, and what else is wrong with the image."""
    if assessment.ood is not None:
        return assessment.ood
    limit = 10 ** (-min_psnr_db / 10)
    exceeded = () if assessment.mse is None else (LimitExceeded("mse", assessment.mse, limit),)
    gives = "" if best_psnr_db is None else f"; the best gives {best_psnr_db:.2f} dB"
    return OodFinding(exceeded, f"no model reaches {min_psnr_db:g} dB for this image{gives}")
