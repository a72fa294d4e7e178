"""Images -> bitstreams, with a check that a receiver will get the image back.

A model knows one kind of images. It encodes any other image, too, and the bitstream decodes to something, but not to
that image. So the guard scores each image. An image with a score beyond its limit in the model card is
*out-of-distribution* (OOD); it is refused, sent with a warning, or sent losslessly. The scores:

    input_deviation            distance of the image from the training images, in units of their standard deviation
    bits                       ideal code length: how rare its symbols are
    mse                        mean squared error of the reconstruction, values in [0, 1]
    reconstruction_deviation   distance of the reconstruction from the image, in units of the usual error

The last two need a decoder beside the encoder. So do the scores of doubt: whether the reconstruction may show something
else than an image of the right kind (`latentwire.selection.doubt_scores`). A doubtful image goes by a better model, if
another one may be used, and losslessly if no model is sure. A model that was named sends it, and says so. For
containers, doubts are not scored.

A single image is reconstructed from the very payload that is sent; an image for a container from its symbols, and only
with `verify="reconstruction"`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from latentwire.encoder import Encoder
from latentwire.entropy.symbols import Symbols
from latentwire.errors import InvalidCode, OutOfDistribution, UncodableImage
from latentwire.format import lossless
from latentwire.format.container import Chunk
from latentwire.format.container_writer import ContainerWriter
from latentwire.imaging import image
from latentwire.imaging.fitting import Fitting
from latentwire.model.card import ModelCard
from latentwire.model.guard_limits import GuardLimits
from latentwire.options import OnOod, Verify
from latentwire.selection.assessment import (
    Assessment,
    GuardedChunk,
    GuardedImage,
    LimitExceeded,
    OodFinding,
    psnr_db,
)
from latentwire.selection.doubt_scores import DoubtScores
from latentwire.selection.ood_scores import ReferenceStatistics, Rows, absolute_errors, max_error, mse

if TYPE_CHECKING:
    # A sender has a guard without the decoder's code.
    from latentwire.decoder import Decoder

# The values of each score, one for each image.
_Scores = dict[str, list[float]]


class Guard:
    """An encoder that recognizes images which its model cannot reproduce; more of them with the decoder."""

    def __init__(self, encoder: Encoder, decoder: "Decoder | None" = None, limits: GuardLimits | None = None) -> None:
        """Combine the halves of one model.

        Args:
            encoder: of the model.
            decoder: of the same model, if there is one.
            limits: used instead of the limits in the card.

        Raises:
            InvalidCard: the reference pictures of the limits cannot be used.
        """
        self.card: ModelCard = encoder.card
        self._encoder = encoder
        self._decoder = decoder
        self._limits: dict[str, float] = {}
        self._sender_limits: dict[str, float] = {}
        self._reference: ReferenceStatistics | None = None
        self._doubt_limits: dict[str, float] = {}
        self._doubt: DoubtScores | None = None
        if (given := limits or self.card.guard) is not None:
            self._reference = ReferenceStatistics(given.reference, self.card.image)
            self._sender_limits = {"bits": given.max_bits, "input_deviation": given.max_input_deviation_alone}
            self._limits = {
                "bits": given.max_bits,
                "input_deviation": given.max_input_deviation,
                "mse": given.max_mse,
                "reconstruction_deviation": given.max_reconstruction_deviation,
            }
            if decoder is not None and (doubt := given.doubt) is not None:
                self._doubt = DoubtScores(doubt, self.card.image)
                odds = {} if doubt.max_class_odds is None else {"class_odds": doubt.max_class_odds}
                self._doubt_limits = {"local_error": doubt.max_local_error, **odds}

    @property
    def has_decoder(self) -> bool:
        """Whether the guard has a decoder, so that it knows the reconstruction of an image."""
        return self._decoder is not None

    def assess(self, pixels: image.Pixels, max_mse: float | None = None) -> list[Assessment]:
        """Encode images and score each; without limits no image is out-of-distribution.

        Args:
            pixels: uint8 (N, H, W, C) of the model's shape.
            max_mse: limit of `mse`, instead of the card's; ignored without a decoder.
        """
        try:
            encoded = self._encoder.encode(pixels)
            reconstructions = self._decoder.decode_raw([item.payload for item in encoded]) if self._decoder else None
        except (UncodableImage, InvalidCode) as error:
            if len(pixels) > 1:
                return [assessment for item in pixels for assessment in self.assess(item[None], max_mse)]
            return [Assessment(None, {}, None, OodFinding((), str(error)), None)]
        errors = None if reconstructions is None else absolute_errors(pixels, reconstructions)
        scores = self._score(pixels, [item.ideal_bits for item in encoded], errors)
        findings, doubts = self._find_ood(scores, max_mse), {}
        if reconstructions is not None and self._doubt is not None:
            doubt_scores = self._doubt.score(pixels, reconstructions)
            doubts = self._find(doubt_scores, self._doubt_limits, self._describe_doubt)
            scores |= doubt_scores
        largest = [None] * len(encoded) if errors is None else max_error(errors).tolist()
        return [
            Assessment(
                item,
                {score: values[index] for score, values in scores.items()},
                largest[index],
                findings.get(index),
                doubts.get(index),
            )
            for index, item in enumerate(encoded)
        ]

    def encode(
        self,
        pixels: image.Pixels,
        on_ood: OnOod = "fallback",
        max_mse: float | None = None,
        above: "Callable[[Guard], Iterable[Guard]] | None" = None,
    ) -> GuardedImage:
        """Encode one image, and apply the policy for out-of-distribution images.

        Args:
            pixels: uint8 (H, W, C) of the model's shape.
            on_ood: what to do if the image is out-of-distribution: `refuse` it, encode it all the same and `warn`, or
                encode it losslessly as a `fallback`. With `fallback`, an image is also encoded losslessly if that is
                shorter than its symbols, as far as `lossless.may_fit` sees.
            max_mse: limit of `mse`, instead of the card's; ignored without a decoder.
            above: returns the guards of better models, the next one first. An image that this model does not reproduce
                is encoded by the first of them that does, except under `warn`. None if only this model may be used.

        Raises:
            OutOfDistribution: the image is out-of-distribution, under `refuse`.
            UncodableImage: the image has no code at all, under `warn`.
        """
        (result,) = self.encode_each(pixels[None], on_ood, max_mse, above)
        if isinstance(result, Exception):
            raise result
        return result

    def encode_each(
        self,
        pixels: image.Pixels,
        on_ood: OnOod = "fallback",
        max_mse: float | None = None,
        above: "Callable[[Guard], Iterable[Guard]] | None" = None,
    ) -> list[GuardedImage | OutOfDistribution | UncodableImage]:
        """Encode independent images, uint8 (N, H, W, C), with one run of each graph; see `encode` for the arguments.

        Returns:
            For each image what `encode` returns, or the error that it raises.
        """
        assessments = self.assess(pixels, max_mse)
        guards = [self] * len(pixels)
        if above is not None and on_ood != "warn":
            left = [index for index, assessment in enumerate(assessments) if assessment.may_climb]
            for guard in above(self) if left else ():
                for index, assessment in zip(left, guard.assess(pixels[left], max_mse), strict=True):
                    if assessment.is_sure:
                        guards[index], assessments[index] = guard, assessment
                left = [index for index in left if not assessments[index].is_sure]
                if not left:
                    break
        results: list[GuardedImage | OutOfDistribution | UncodableImage] = []
        for item, guard, assessment in zip(pixels, guards, assessments, strict=True):
            try:
                results.append(guard.apply_policy(item, assessment, on_ood, is_open=above is not None))
            except (OutOfDistribution, UncodableImage) as error:
                results.append(error)
        return results

    def apply_policy(
        self, pixels: image.Pixels, assessment: Assessment, on_ood: OnOod, *, is_open: bool = False
    ) -> GuardedImage:
        """Do with an assessed image, uint8 (H, W, C), what `encode` says; raise as it does.

        Args:
            pixels: the image.
            assessment: what `assess` found of it.
            on_ood: as in `encode`.
            is_open: whether another model might have been used, so that a doubtful image is not sent by this one.
        """
        encoded, doubt = assessment.encoded, assessment.doubt
        unfit = assessment.ood or (doubt if is_open else None)
        if unfit is not None and on_ood == "refuse":
            raise _refusal(unfit)
        if on_ood == "fallback":
            if encoded is None or unfit is not None:
                return self.encode_lossless(pixels, assessment.ood, doubt)
            if lossless.may_fit(pixels, len(encoded.payload) - 1):
                exact = self.encode_lossless(pixels)
                if len(exact.encoded.payload) < len(encoded.payload):
                    return exact
        if encoded is None:
            raise UncodableImage(assessment.ood.sentence if assessment.ood else "the image has no code")
        error = assessment.mse
        quality = (error, None if error is None else psnr_db(error), assessment.max_error)
        return GuardedImage(self.card, encoded, *quality, assessment.ood, doubt, sent_as=None)

    def encode_chunk(
        self,
        pixels: image.Pixels,
        on_ood: OnOod = "fallback",
        verify: Verify = "latent",
        fittings: Sequence[Fitting | None] = (),
        first: int | None = None,
    ) -> GuardedChunk:
        """Encode images for a container; see `image.slices` for how many.

        Args:
            pixels: uint8 (N, H, W, C) of the model's shape.
            on_ood: as in `encode`.
            verify: `reconstruction` scores the images as `encode` does, if the guard has a decoder. `latent` scores
                them as an encoder alone does, which takes a fraction of the time.
            fittings: how each image was changed before, for the sentences; empty if none was.
            first: number of the first image in the container, so that an error names the image; None to name none.

        Raises:
            OutOfDistribution: an image is out-of-distribution, under `refuse`.
            UncodableImage: an image has no code at all, under `warn`.
        """
        decoder = self._decoder if verify == "reconstruction" else None
        try:
            symbols = self._encoder.encode_chunk(pixels).symbols
            reconstructions = decoder.decode_symbols(symbols) if decoder else None
        except (UncodableImage, InvalidCode) as error:
            if len(pixels) > 1:
                return GuardedChunk.join(
                    self.encode_chunk(
                        item[None],
                        on_ood,
                        verify,
                        fittings[index : index + 1],
                        None if first is None else first + index,
                    )
                    for index, item in enumerate(pixels)
                )
            finding = OodFinding((), str(error)).after(fittings[0] if fittings else None)
            if on_ood == "warn":
                raise UncodableImage(f"{_named(first)}{finding.sentence}") from error
            symbols = np.empty((1, self.card.code_size), np.int64)
            return self._assemble_chunk(pixels, symbols, {0: finding}, on_ood, first)
        errors = None if reconstructions is None else absolute_errors(pixels, reconstructions)
        scores = self._score(pixels, self._encoder.ideal_bits(symbols).tolist(), errors)
        findings = self._find_ood(scores)
        if fittings:
            findings = {index: finding.after(fittings[index]) for index, finding in findings.items()}
        return self._assemble_chunk(pixels, symbols, findings, on_ood, first)

    def latents(self, pixels: image.Pixels) -> image.Floats:
        """Return the latent vectors before quantization, float32 (N, code size), of uint8 (N, H, W, C) pixels."""
        return self._encoder.y(pixels)

    def open_container(self, announced: int = 0) -> ContainerWriter:
        """Begin a container for the chunks of `encode_chunk`; `announced` is the number of images, 0 if unknown."""
        return self._encoder.open_container(announced)

    def encode_lossless(
        self, pixels: image.Pixels, ood: OodFinding | None = None, doubt: OodFinding | None = None
    ) -> GuardedImage:
        """Encode one image, uint8 (H, W, C), losslessly; `ood` and `doubt` say why, if its code is not good enough."""
        encoded = self._encoder.encode_lossless(pixels[None])[0]
        return GuardedImage(self.card, encoded, 0.0, math.inf, 0.0, ood, doubt, lossless.kind_of(encoded.payload))

    def _score(self, pixels: image.Pixels, bits: list[float], errors: Rows | None) -> _Scores:
        scores = {"bits": bits}
        if self._reference:
            scores["input_deviation"] = self._reference.input_deviation(pixels).tolist()
        if errors is not None:
            scores["mse"] = mse(errors).tolist()
            if self._reference:
                scores["reconstruction_deviation"] = self._reference.reconstruction_deviation(pixels, errors).tolist()
        return scores

    def _find_ood(self, scores: _Scores, max_mse: float | None = None) -> dict[int, OodFinding]:
        """Return why images are out-of-distribution: index -> each score beyond its limit."""
        limits = self._limits if "mse" in scores else self._sender_limits
        if max_mse is not None:
            limits = {**limits, "mse": max_mse}
        return self._find(scores, limits, self._describe)

    def _find(
        self, scores: _Scores, limits: dict[str, float], describe: Callable[[tuple[LimitExceeded, ...]], OodFinding]
    ) -> dict[int, OodFinding]:
        exceeded: dict[int, list[LimitExceeded]] = {}
        for score, values in scores.items():
            limit = limits.get(score, math.inf)
            for index, value in enumerate(values):
                if value > limit:
                    exceeded.setdefault(index, []).append(LimitExceeded(score, value, limit))
        return {index: describe(tuple(beyond)) for index, beyond in sorted(exceeded.items())}

    def _assemble_chunk(
        self,
        pixels: image.Pixels,
        symbols: Symbols,
        ood_images: Mapping[int, OodFinding],
        on_ood: OnOod,
        first: int | None,
    ) -> GuardedChunk:
        if not ood_images or on_ood == "warn":
            return GuardedChunk(Chunk(symbols), ood_images)
        if on_ood == "refuse":
            index, finding = next(iter(ood_images.items()))
            raise _refusal(finding, _named(first, index))
        coded: npt.NDArray[np.bool_] = np.ones(len(pixels), np.bool_)
        coded[list(ood_images)] = False
        payloads = {index: lossless.write_payload(pixels[index])[len(lossless.MARKER) :] for index in ood_images}
        return GuardedChunk(Chunk(symbols[coded], payloads), ood_images)

    def _describe_doubt(self, exceeded: tuple[LimitExceeded, ...]) -> OodFinding:
        return OodFinding(
            exceeded,
            f"the code of model '{self.card.name}' may show something else than the image: {_figures(exceeded)}",
        )

    def _describe(self, exceeded: tuple[LimitExceeded, ...]) -> OodFinding:
        figures = _figures(exceeded)
        if [item.score for item in exceeded] == ["mse"]:
            return OodFinding(exceeded, f"model '{self.card.name}' does not reproduce the image well enough: {figures}")
        return OodFinding(exceeded, f"the image is not of the kind that model '{self.card.name}' is for: {figures}")


def _figures(exceeded: tuple[LimitExceeded, ...]) -> str:
    return ", ".join(f"{item.score} {item.value:.4g} (limit {item.limit:.4g})" for item in exceeded)


def _named(first: int | None, index: int = 0) -> str:
    return "" if first is None else f"image {first + index:,}: "


def _refusal(ood: OodFinding, which: str = "") -> OutOfDistribution:
    return OutOfDistribution(f"{which}{ood.sentence}; on_ood=fallback sends it losslessly")
