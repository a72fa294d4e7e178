"""Several models of one image shape -> the one whose code of this very image is wanted.

A *ladder* has a rung for each model, by the quality that its card tells, and above them all the image as itself. Asked
for a number of bytes, it gives the best picture that fits; asked for a quality, the smallest code that has it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from latentwire.encoder import EncodedImage
from latentwire.errors import MisfitImage, TargetMissed
from latentwire.format import lossless
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from latentwire.selection.guard import Excess, Guard, GuardedImage, Judgement, Misfit, OnMisfit, psnr_db


class Chosen(NamedTuple):
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
        on_misfit: OnMisfit,
        max_mse: float | None = None,
    ) -> Chosen:
        """Return the code of the best quality that has at most `target_bytes`.

        Args:
            pixels: uint8 (H, W, C).
            target_bytes: at least 1.
            size_of: what counts of a code, in bytes.
            on_misfit: a code of a misfit is taken only under `warn`, and only if no other fits.
            max_mse: as `Guard.encode` has it.

        Raises:
            TargetMissed: no code fits.
            MisfitImage: only codes fit that would give another picture, under `refuse`.
        """
        best = self._rungs[-1]
        # To write an image as itself takes longer than to encode it, so it is only tried where it may fit.
        if target_bytes >= lossless.least_bytes(best.card.image):
            itself = best.as_itself(pixels)
            if size_of(itself.code) <= target_bytes:
                return Chosen(best.card, itself)
        poor: tuple[Guard, Judgement] | None = None
        smallest: int | None = None
        for rung in reversed(self._rungs):
            (judgement,) = rung.judge(pixels[None], max_mse)
            if judgement.encoded is None:
                continue
            size = size_of(judgement.encoded)
            smallest = size if smallest is None else min(smallest, size)
            if size > target_bytes:
                continue
            if judgement.misfit is None:
                return Chosen(rung.card, rung.settle(pixels, judgement, "warn"))
            poor = poor or (rung, judgement)
        if poor is None:
            least = f": the smallest has {smallest:,}" if smallest is not None else ""
            raise TargetMissed(f"no code of this image fits into {target_bytes:,} bytes{least}")
        rung, judgement = poor
        if on_misfit == "fallback":
            why = judgement.misfit.sentence if judgement.misfit else ""
            itself = best.as_itself(pixels)
            raise TargetMissed(f"{why}; as itself it takes {size_of(itself.code):,} bytes, over {target_bytes:,}")
        return Chosen(rung.card, rung.settle(pixels, judgement, on_misfit))

    def smallest_reaching(self, pixels: image.Pixels, min_psnr_db: float, on_misfit: OnMisfit) -> Chosen:
        """Return the code of the lowest rung that gives this image a PSNR of `min_psnr_db`, in dB.

        Where no decoder is at hand, the PSNR of the card stands for the image's own.

        Args:
            pixels: uint8 (H, W, C).
            min_psnr_db: finite.
            on_misfit: what is done if no model reaches it: the image is refused, sent as itself as a `fallback`, or
                sent as the best picture that there is, with the misfit that says so.

        Raises:
            TargetMissed: no model reaches it, under `refuse`.
            MisfitImage: the image is not of the kind that those models are for which might reach it, under `refuse`.
            UncodableImage: no model has a code for it, under `warn`.
        """
        best: tuple[Guard, Judgement] | None = None
        misfit: Misfit | None = None
        best_psnr_db = None
        for rung in self._rungs:
            if not rung.sees_delivered and _quality(rung) < min_psnr_db:
                continue
            (judgement,) = rung.judge(pixels[None])
            reached = _quality(rung) if judgement.mse is None else psnr_db(judgement.mse)
            if judgement.misfit is None and reached >= min_psnr_db:
                return Chosen(rung.card, rung.settle(pixels, judgement, on_misfit))
            misfit = judgement.misfit
            if judgement.encoded is not None and (best_psnr_db is None or reached >= best_psnr_db):
                best, best_psnr_db = (rung, judgement), reached
        rung, judged = best or (self._rungs[-1], self._rungs[-1].judge(pixels[None])[0])
        missed = _missed(judged, min_psnr_db, best_psnr_db)
        if on_misfit == "fallback":
            return Chosen(rung.card, rung.as_itself(pixels, misfit and missed))
        if on_misfit == "refuse":
            raise (MisfitImage if misfit else TargetMissed)(f"{missed.sentence}; on_misfit=fallback sends it as itself")
        return Chosen(rung.card, rung.settle(pixels, judged._replace(misfit=missed), "warn"))


def _quality(guard: Guard) -> float:
    return guard.card.quality.psnr_db if guard.card.quality else float("-inf")


def _missed(judgement: Judgement, min_psnr_db: float, best_psnr_db: float | None) -> Misfit:
    """Say that a PSNR is not reached, and what else is wrong with the image."""
    if judgement.misfit is not None:
        return judgement.misfit
    limit = 10 ** (-min_psnr_db / 10)
    excesses = () if judgement.mse is None else (Excess("mse", judgement.mse, limit),)
    gives = "" if best_psnr_db is None else f"; the best gives {best_psnr_db:.2f} dB"
    return Misfit(excesses, f"no model reaches {min_psnr_db:g} dB for this image{gives}")
