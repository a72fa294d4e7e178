"""Images -> codes, and what a receiver will make of them: no image is sent wrong without a word.

A model knows one kind of images. It gives a code to any other, too, and the code decodes to something, but not to that
image. So the guard scores each image. Beyond a limit of the model's card it is *out-of-distribution* (OOD), and is
refused, sent with a warning, or sent losslessly. The scores:

    input deviation            distance of the image from the training images, at each place in units of their spread
    bits                       ideal length of its code: how rare its symbols are
    mse                        mean squared error of the image as delivered, pixels in [0, 1]
    reconstruction deviation   the same error, at each place in units of the error that is usual there

The last two need a decoder beside the encoder; the image is decoded once, through the very payload that is sent. Images
for a container are decoded from their symbols, and only if that is asked for.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.encoder import EncodedImage, Encoder
from latentwire.entropy.arithmetic import Symbols
from latentwire.errors import InvalidCode, OutOfDistribution, UncodableImage
from latentwire.format import lossless
from latentwire.format.container import Chunk, ContainerWriter
from latentwire.imaging import image
from latentwire.model.card import GuardLimits, ModelCard
from latentwire.options import OnOod, Verify
from latentwire.selection.ood_scores import ReferenceStatistics, Scores

if TYPE_CHECKING:
    # Only for its name: a sender has a guard without that code.
    from latentwire.decoder import Decoder


class LimitExceeded(NamedTuple):
    """One score that is beyond its limit."""

    score: str
    value: float
    limit: float


class OodFinding(NamedTuple):
    """Why an image is not one that the model is for: each score beyond its limit, or none if it has no code at all."""

    exceeded: tuple[LimitExceeded, ...]
    sentence: str


class Assessment(NamedTuple):
    """An image's code and what a receiver will see of it.

    `encoded` is None if the image has no code, and `scores` is empty then. `max_error`, the largest difference of one
    value in [0, 1], and the score `mse` are there only if a decoder is at hand.
    """

    encoded: EncodedImage | None
    scores: dict[str, float]
    max_error: float | None
    ood: OodFinding | None

    @property
    def mse(self) -> float | None:
        """The mean squared error of the image as delivered, values in [0, 1]; None if it is not known."""
        return self.scores.get("mse")


class GuardedImage(NamedTuple):
    """What is sent of an image, and what a receiver will see.

    `mse` is per value in [0, 1], `max_error` the largest difference of one value in [0, 1], `psnr_db` infinite for an
    exact picture; all three are None where they are not known. `ood` says why the image is one, and `sent_as` is
    `raw`, `png` or `webp` if it is sent losslessly.
    """

    encoded: EncodedImage
    mse: float | None
    psnr_db: float | None
    max_error: float | None
    ood: OodFinding | None
    sent_as: str | None


class GuardedChunk(NamedTuple):
    """The codes of successive images, for a container, and which of them are out-of-distribution: index -> why."""

    chunk: Chunk
    ood_images: Mapping[int, OodFinding]

    @classmethod
    def join(cls, parts: Iterable["GuardedChunk"]) -> "GuardedChunk":
        """Return one or more parts as one, in their order."""
        symbols, payloads, ood_images, first = [], {}, {}, 0
        for part in parts:
            symbols.append(part.chunk.symbols)
            payloads.update({first + place: payload for place, payload in part.chunk.payloads.items()})
            ood_images.update({first + place: ood for place, ood in part.ood_images.items()})
            first += part.chunk.images
        return cls(Chunk(np.concatenate(symbols), payloads), ood_images)


class Guard:
    """An encoder of one model that knows what it cannot code, better so if the decoder is at hand."""

    def __init__(self, encoder: Encoder, decoder: "Decoder | None" = None, limits: GuardLimits | None = None) -> None:
        """Join the halves of one model; `limits` are in place of the card's.

        Raises:
            InvalidCard: the limits' typical pictures cannot be used.
        """
        self.card: ModelCard = encoder.card
        self._encoder = encoder
        self._decoder = decoder
        self._limits: dict[str, float] = {}
        self._limits_alone: dict[str, float] = {}
        self._reference: ReferenceStatistics | None = None
        if (given := limits or self.card.guard) is not None:
            self._reference = ReferenceStatistics(given.reference, self.card.image)
            alone = {"input_deviation": given.max_input_deviation_alone, "bits": given.max_bits}
            both = {
                "mse": given.max_mse,
                "reconstruction_deviation": given.max_reconstruction_deviation,
                "input_deviation": given.max_input_deviation,
            }
            self._limits_alone = alone
            self._limits = alone if decoder is None else {**alone, **both}

    @property
    def has_decoder(self) -> bool:
        """Whether a decoder is at hand, so that the errors of the image as delivered are known."""
        return self._decoder is not None

    def assess(self, pixels: image.Pixels, max_mse: float | None = None) -> list[Assessment]:
        """Encode uint8 (N, H, W, C) pixels of the model's shape and assess each; without limits none is OOD.

        Args:
            pixels: the images.
            max_mse: in place of the card's; has no effect without a decoder.
        """
        try:
            encoded = self._encoder.encode(pixels)
            delivered = self._decoder.decode_raw([one.payload for one in encoded]) if self._decoder else None
        except (UncodableImage, InvalidCode) as error:
            if len(pixels) > 1:
                return [assessment for one in pixels for assessment in self.assess(one[None], max_mse)]
            return [Assessment(None, {}, None, OodFinding((), str(error)))]
        scores = {"bits": [one.ideal_bits for one in encoded]}
        largest: list[float | None] = [None] * len(encoded)
        if self._reference:
            scores["input_deviation"] = self._reference.input_deviation(pixels).tolist()
        if delivered is not None:
            difference = np.abs(pixels.astype(np.int16) - delivered)
            largest = [level / 255 for level in difference.max(axis=(1, 2, 3)).tolist()]
            scores["mse"] = _mse(difference).tolist()
            if self._reference:
                scores["reconstruction_deviation"] = self._reference.reconstruction_deviation(
                    pixels, delivered
                ).tolist()
        limits = self._limits if max_mse is None else {**self._limits, "mse": max_mse}
        assessments = []
        for index, one in enumerate(encoded):
            own = {score: values[index] for score, values in scores.items()}
            beyond = [score for score in own if score in limits and own[score] > limits[score]]
            ood = (
                self._describe(tuple(LimitExceeded(score, own[score], limits[score]) for score in beyond))
                if beyond
                else None
            )
            assessments.append(Assessment(one, own, largest[index], ood))
        return assessments

    def encode(self, pixels: image.Pixels, on_ood: OnOod = "fallback", max_mse: float | None = None) -> GuardedImage:
        """Encode one image, uint8 (H, W, C) pixels of the model's shape, and apply the policy for OOD images.

        Args:
            pixels: the image.
            on_ood: `refuse` it, send its code all the same and `warn`, or send it losslessly as a `fallback`. With
                `fallback`, an image whose code would be longer than the image losslessly is sent so, too.
            max_mse: in place of the card's; has no effect without a decoder.

        Raises:
            OutOfDistribution: it is one, under `refuse`.
            UncodableImage: it has no code at all, under `warn`.
        """
        return self.apply_policy(pixels, self.assess(pixels[None], max_mse)[0], on_ood)

    def encode_each(
        self, pixels: image.Pixels, on_ood: OnOod = "fallback", max_mse: float | None = None
    ) -> list[GuardedImage | OutOfDistribution | UncodableImage]:
        """Encode images, uint8 (N, H, W, C), that have nothing to do with each other, with one run of each graph.

        Args:
            pixels: the images.
            on_ood: as `encode` has it.
            max_mse: likewise.

        Returns:
            For each what `encode` returns, or what it raises.
        """
        each: list[GuardedImage | OutOfDistribution | UncodableImage] = []
        for one, assessment in zip(pixels, self.assess(pixels, max_mse), strict=True):
            try:
                each.append(self.apply_policy(one, assessment, on_ood))
            except (OutOfDistribution, UncodableImage) as error:
                each.append(error)
        return each

    def apply_policy(self, pixels: image.Pixels, assessment: Assessment, on_ood: OnOod) -> GuardedImage:
        """Do with a judged image what `encode` says.

        Raises:
            OutOfDistribution: it is an out-of-distribution image, under `refuse`.
            UncodableImage: it has no code at all, under `warn`.
        """
        ood, code = assessment.ood, assessment.encoded
        if ood is not None and on_ood == "refuse":
            raise _refusal(ood)
        if on_ood == "fallback":
            if code is None or ood is not None:
                return self.encode_lossless(pixels, ood)
            if len(code.payload) > lossless.min_bytes(self.card.image):
                itself = self.encode_lossless(pixels)
                if len(itself.encoded.payload) < len(code.payload):
                    return itself
        if code is None:
            raise UncodableImage(ood.sentence if ood else "the image has no code")
        mse = assessment.mse
        return GuardedImage(code, mse, None if mse is None else psnr_db(mse), assessment.max_error, ood, None)

    def encode_chunk(self, pixels: image.Pixels, on_ood: OnOod = "fallback", verify: Verify = "latent") -> GuardedChunk:
        """Encode a few images, uint8 (N, H, W, C), for a container, with OOD images in it losslessly as a `fallback`.

        Args:
            pixels: the images.
            on_ood: as `encode` has it.
            verify: `reconstruction` assesses them as single images, by what a receiver will see, if a decoder is at
                hand. `latent` assesses them as an encoder alone does, as decoding takes several times as long.

        Raises:
            OutOfDistribution: one of them is one, under `refuse`.
            UncodableImage: one of them has no code at all, under `warn`.
        """
        decoder = self._decoder if verify == "reconstruction" else None
        try:
            return self._assess_chunk(pixels, on_ood, decoder)
        except (UncodableImage, InvalidCode) as error:
            if len(pixels) > 1:
                return GuardedChunk.join(self.encode_chunk(one[None], on_ood, verify) for one in pixels)
            if on_ood == "warn":
                raise UncodableImage(str(error)) from error
            ood_images = {0: OodFinding((), str(error))}
            return self._assemble_chunk(pixels, np.empty((0, self.card.code_size), np.int64), ood_images, on_ood)

    def _assess_chunk(self, pixels: image.Pixels, on_ood: OnOod, decoder: "Decoder | None") -> GuardedChunk:
        limits = self._limits if decoder else self._limits_alone
        exceeded: dict[int, list[LimitExceeded]] = {}

        def compare(score: str, values: Scores, places: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
            """Note what is beyond its limit, and return what is to be encoded all the same."""
            beyond = values > limits.get(score, math.inf)
            for at in np.flatnonzero(beyond).tolist():
                exceeded_limit = LimitExceeded(score, float(values[at]), limits[score])
                exceeded.setdefault(int(places[at]), []).append(exceeded_limit)
            return ~beyond if on_ood != "warn" else np.ones(len(beyond), np.bool_)

        places = np.arange(len(pixels))
        if self._reference:
            places = places[compare("input_deviation", self._reference.input_deviation(pixels), places)]
        symbols = np.empty((0, self.card.code_size), np.int64)
        if len(places):
            symbols = self._encoder.encode_chunk(pixels[places]).symbols
            kept = compare("bits", self._encoder.ideal_bits(symbols), places)
            places, symbols = places[kept], symbols[kept]
        if decoder and len(places):
            coded, seen = pixels[places], decoder.decode_symbols(symbols)
            kept = compare("mse", _mse(coded.astype(np.int16) - seen), places)
            if self._reference:
                kept &= compare(
                    "reconstruction_deviation", self._reference.reconstruction_deviation(coded, seen), places
                )
            symbols = symbols[kept]
        ood_images = {place: self._describe(tuple(found)) for place, found in sorted(exceeded.items())}
        return self._assemble_chunk(pixels, symbols, ood_images, on_ood)

    def _assemble_chunk(
        self, pixels: image.Pixels, symbols: Symbols, ood_images: Mapping[int, OodFinding], on_ood: OnOod
    ) -> GuardedChunk:
        if on_ood == "warn":
            return GuardedChunk(Chunk(symbols), ood_images)
        if ood_images and on_ood == "refuse":
            raise _refusal(next(iter(ood_images.values())))
        payloads = {place: lossless.write_payload(pixels[place])[len(lossless.MARKER) :] for place in ood_images}
        return GuardedChunk(Chunk(symbols, payloads), ood_images)

    def open_container(self, announced: int = 0) -> ContainerWriter:
        """Begin a container for what `codes` gives; `announced` is the number of images, if it is known."""
        return self._encoder.open_container(announced)

    def encode_lossless(self, pixels: image.Pixels, ood: OodFinding | None = None) -> GuardedImage:
        """Return one image, uint8 (H, W, C) pixels, as a code of this model that gives back these very pixels."""
        code = self._encoder.encode_lossless(pixels[None])[0]
        return GuardedImage(code, 0.0, math.inf, 0.0, ood, lossless.kind_of(code.payload))

    def _describe(self, exceeded: tuple[LimitExceeded, ...]) -> OodFinding:
        figures = ", ".join(f"{one.score} {one.value:.4g} (limit {one.limit:.4g})" for one in exceeded)
        if [one.score for one in exceeded] == ["mse"]:
            return OodFinding(exceeded, f"model '{self.card.name}' does not deliver the image well enough: {figures}")
        return OodFinding(exceeded, f"the image is not of the kind that model '{self.card.name}' is for: {figures}")


def psnr_db(mse: float) -> float:
    """Return the peak signal-to-noise ratio, in dB, of a mean squared error of values in [0, 1]; infinite for 0."""
    return -10 * math.log10(mse) if mse else math.inf


def _mse(difference: npt.NDArray[np.int16]) -> Scores:
    mse: Scores = np.square(difference, dtype=np.int32).mean(axis=(1, 2, 3)) / 255**2
    return mse


def _refusal(ood: OodFinding) -> OutOfDistribution:
    return OutOfDistribution(f"{ood.sentence}; on_ood=fallback sends it losslessly")
