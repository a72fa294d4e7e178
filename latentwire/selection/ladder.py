"""Chooses for each image one of several models that take images of the same shape.

A *ladder* has a rung for each model, in the order of the quality in its card, and above them all the lossless encoding.
For a number of bytes it gives the best picture that fits; for a quality, the smallest bitstream that reaches it. An
image that one rung does not reproduce goes by the next one that does.
"""

from collections.abc import Callable, Sequence

from latentwire.encoder import EncodedImage
from latentwire.errors import OutOfDistribution, TargetMissed
from latentwire.format import lossless
from latentwire.imaging import image
from latentwire.options import OnOod
from latentwire.selection.assessment import Assessment, GuardedImage, LimitExceeded, OodFinding, psnr_db
from latentwire.selection.guard import Guard


class Ladder:
    """The guards of models that take images of one shape."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        """Sort the guards by the PSNR in their cards; those without are the lowest.

        A model whose card says that it does not keep the meaning of its images is never selected for a size or a
        quality, unless none does; it still serves images that it is sure of, above a worse model.
        """
        self._guards = sorted(guards, key=_quality)
        self._rungs = [guard for guard in self._guards if _keeps_meaning(guard)] or self._guards

    @property
    def rungs(self) -> list[Guard]:
        """The guards of the models that may be selected, the lowest first."""
        return list(self._rungs)

    def above(self, guard: Guard) -> list[Guard]:
        """Return the guards of the models that are better than that of `guard`, the next one first."""
        return [other for other in self._guards if _quality(other) > _quality(guard)]

    def best_within(
        self,
        pixels: image.Pixels,
        target_bytes: int,
        size_of: Callable[[EncodedImage], int],
        on_ood: OnOod,
        max_mse: float | None = None,
    ) -> GuardedImage:
        """Return the encoding of the best quality that has at most `target_bytes`.

        Args:
            pixels: uint8 (H, W, C).
            target_bytes: at least 1.
            size_of: returns the size in bytes that is compared with the target.
            on_ood: out-of-distribution and doubtful encodings are returned only under `warn`, if no other fits.
            max_mse: as in `Guard.encode`.

        Raises:
            TargetMissed: no encoding fits.
            OutOfDistribution: only out-of-distribution encodings fit, under `refuse`.
        """
        best = self._rungs[-1]
        # Encoding losslessly takes longer than encoding by a model, so it is only tried where it may fit.
        if lossless.may_fit(pixels, target_bytes):
            exact = best.encode_lossless(pixels)
            if size_of(exact.encoded) <= target_bytes:
                return exact
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
            if assessment.is_sure:
                return rung.apply_policy(pixels, assessment, "warn")
            poor = poor or (rung, assessment)
        if poor is None:
            hint = f"; the smallest bitstream has {smallest:,}" if smallest is not None else ""
            raise TargetMissed(f"the image does not fit into {target_bytes:,} bytes{hint}")
        rung, assessment = poor
        if on_ood == "fallback":
            finding = assessment.ood or assessment.doubt
            raise TargetMissed(
                f"{finding.sentence if finding else ''}; losslessly it takes more than {target_bytes:,} bytes"
            )
        return rung.apply_policy(pixels, assessment, on_ood, is_open=True)

    def smallest_reaching(self, pixels: image.Pixels, min_psnr_db: float, on_ood: OnOod) -> GuardedImage:
        """Return the encoding by the lowest rung that gives this image a PSNR of `min_psnr_db`, in dB.

        Without decoders, the PSNR in a card stands for that of the image.

        Args:
            pixels: uint8 (H, W, C).
            min_psnr_db: finite.
            on_ood: what to do if no model reaches it: `refuse` the image, send it losslessly as a `fallback`, or send
                the best reconstruction and `warn`, with the finding that says so.

        Raises:
            TargetMissed: no model reaches it, under `refuse`.
            OutOfDistribution: the image is out-of-distribution for the models that might reach it, under `refuse`.
            UncodableImage: no model has a code for the image, under `warn`.
        """
        best: tuple[Guard, Assessment] | None = None
        unfit: OodFinding | None = None
        best_psnr_db = None
        for rung in self._rungs:
            if not rung.has_decoder and _quality(rung) < min_psnr_db:
                continue
            (assessment,) = rung.assess(pixels[None])
            reached = _quality(rung) if assessment.mse is None else psnr_db(assessment.mse)
            if assessment.is_sure and reached >= min_psnr_db:
                return rung.apply_policy(pixels, assessment, on_ood)
            unfit = assessment.ood or assessment.doubt
            if assessment.encoded is not None and (best_psnr_db is None or reached >= best_psnr_db):
                best, best_psnr_db = (rung, assessment), reached
        rung, assessment = best or (self._rungs[-1], self._rungs[-1].assess(pixels[None])[0])
        missed = _missed(assessment, min_psnr_db, best_psnr_db)
        if on_ood == "fallback":
            if missed is assessment.doubt:
                return rung.encode_lossless(pixels, doubt=missed)
            return rung.encode_lossless(pixels, unfit and missed)
        if on_ood == "refuse":
            raise (OutOfDistribution if unfit else TargetMissed)(
                f"{missed.sentence}; on_ood=fallback sends it losslessly"
            )
        return rung.apply_policy(pixels, assessment._replace(ood=missed), "warn")


def _quality(guard: Guard) -> float:
    return guard.card.quality.psnr_db if guard.card.quality else float("-inf")


def _keeps_meaning(guard: Guard) -> bool:
    limits = guard.card.guard
    return limits is None or limits.meaning is None or limits.meaning.holds


def _missed(assessment: Assessment, min_psnr_db: float, best_psnr_db: float | None) -> OodFinding:
    """Return the finding that no model reaches a PSNR; an out-of-distribution or doubtful image keeps its own."""
    if (finding := assessment.ood or assessment.doubt) is not None:
        return finding
    limit = 10 ** (-min_psnr_db / 10)
    exceeded = () if assessment.mse is None else (LimitExceeded("mse", assessment.mse, limit),)
    best = "" if best_psnr_db is None else f"; the best gives {best_psnr_db:.2f} dB"
    return OodFinding(exceeded, f"no model reaches {min_psnr_db:g} dB for this image{best}")
