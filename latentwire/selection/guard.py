"""Images -> codes, and what a receiver will make of them: no image is sent wrong without a word.

A model knows one kind of images. It gives a code to any other, too, and the code decodes to something, but not to that
image. So each image is scored; one that is beyond a limit of the model's card is a *misfit*, which is refused, sent
with a warning, or sent as itself. What the scores are:

    strangeness   how far the image is from the training images, at each place in units of their spread there
    bits          ideal length of its code: how rare its symbols are
    mse           mean squared error of the image as delivered, pixels in [0, 1]
    surprise      the same error, at each place in units of the error that is usual there

The last two need a decoder beside the encoder; the image is decoded once, through the very payload that is sent. Images
for a container are decoded from their symbols, and only if that is asked for.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.encoder import EncodedImage, Encoder
from latentwire.entropy.arithmetic import Symbols
from latentwire.errors import InvalidCode, MisfitImage, UncodableImage
from latentwire.format import lossless
from latentwire.format.container import Chunk, ContainerWriter
from latentwire.imaging import image
from latentwire.model.card import GuardLimits, ModelCard
from latentwire.selection.ood_scores import Scores, TypicalImages

if TYPE_CHECKING:
    # Only for its name: a sender has a guard without that code.
    from latentwire.decoder import Decoder

OnMisfit = Literal["refuse", "warn", "fallback"]


class Excess(NamedTuple):
    """One score that is beyond its limit."""

    score: str
    value: float
    limit: float


class Misfit(NamedTuple):
    """Why an image is not one that the model is for: each score beyond its limit, or none if it has no code at all."""

    excesses: tuple[Excess, ...]
    sentence: str


class Judgement(NamedTuple):
    """An image's code and what a receiver will see of it.

    `encoded` is None if the image has no code, and `scores` is empty then. `max_error`, the largest difference of one
    value in [0, 1], and the score `mse` are there only if a decoder is at hand.
    """

    encoded: EncodedImage | None
    scores: dict[str, float]
    max_error: float | None
    misfit: Misfit | None

    @property
    def mse(self) -> float | None:
        """The mean squared error of the image as delivered, values in [0, 1]; None if it is not known."""
        return self.scores.get("mse")


class GuardedImage(NamedTuple):
    """What is sent of an image, and what a receiver will see.

    `mse` is per value in [0, 1], `max_error` the largest difference of one value in [0, 1], `psnr_db` infinite for an
    exact picture; all three are None where they are not known. `misfit` says why the image is one, and `sent_as` is
    `raw`, `png` or `webp` if it is sent as itself.
    """

    code: EncodedImage
    mse: float | None
    psnr_db: float | None
    max_error: float | None
    misfit: Misfit | None
    sent_as: str | None


class GuardedChunk(NamedTuple):
    """Some successive images' codes, for a container, and those that are misfits: place among them -> why."""

    codes: Chunk
    misfits: Mapping[int, Misfit]

    @classmethod
    def join(cls, parts: Iterable["GuardedChunk"]) -> "GuardedChunk":
        """Return one or more parts as one, in their order."""
        symbols, payloads, misfits, first = [], {}, {}, 0
        for part in parts:
            symbols.append(part.codes.symbols)
            payloads.update({first + place: payload for place, payload in part.codes.payloads.items()})
            misfits.update({first + place: misfit for place, misfit in part.misfits.items()})
            first += part.codes.images
        return cls(Chunk(np.concatenate(symbols), payloads), misfits)


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
        self._typical: TypicalImages | None = None
        if (given := limits or self.card.guard) is not None:
            self._typical = TypicalImages(given.typical, self.card.image)
            alone = {"strangeness": given.max_strangeness_alone, "bits": given.max_bits}
            both = {"mse": given.max_mse, "surprise": given.max_surprise, "strangeness": given.max_strangeness}
            self._limits_alone = alone
            self._limits = alone if decoder is None else {**alone, **both}

    @property
    def sees_delivered(self) -> bool:
        """Whether a decoder is at hand, so that the errors of the image as delivered are known."""
        return self._decoder is not None

    def judge(self, pixels: image.Pixels, max_mse: float | None = None) -> list[Judgement]:
        """Encode uint8 (N, H, W, C) pixels of the model's shape and judge each; without limits none is a misfit.

        Args:
            pixels: the images.
            max_mse: in place of the card's; has no effect without a decoder.
        """
        try:
            encoded = self._encoder.encode(pixels)
            delivered = self._decoder.decode_bare([one.payload for one in encoded]) if self._decoder else None
        except (UncodableImage, InvalidCode) as error:
            if len(pixels) > 1:
                return [judgement for one in pixels for judgement in self.judge(one[None], max_mse)]
            return [Judgement(None, {}, None, Misfit((), str(error)))]
        scores = {"bits": [one.ideal_bits for one in encoded]}
        largest: list[float | None] = [None] * len(encoded)
        if self._typical:
            scores["strangeness"] = self._typical.strangeness(pixels).tolist()
        if delivered is not None:
            difference = np.abs(pixels.astype(np.int16) - delivered)
            largest = [level / 255 for level in difference.max(axis=(1, 2, 3)).tolist()]
            scores["mse"] = _mse(difference).tolist()
            if self._typical:
                scores["surprise"] = self._typical.surprise(pixels, delivered).tolist()
        limits = self._limits if max_mse is None else {**self._limits, "mse": max_mse}
        judgements = []
        for index, one in enumerate(encoded):
            own = {score: values[index] for score, values in scores.items()}
            beyond = [score for score in own if score in limits and own[score] > limits[score]]
            misfit = self._why(tuple(Excess(score, own[score], limits[score]) for score in beyond)) if beyond else None
            judgements.append(Judgement(one, own, largest[index], misfit))
        return judgements

    def encode(
        self, pixels: image.Pixels, on_misfit: OnMisfit = "fallback", max_mse: float | None = None
    ) -> GuardedImage:
        """Encode one image, uint8 (H, W, C) pixels of the model's shape, and do with a misfit what is asked for.

        Args:
            pixels: the image.
            on_misfit: `refuse` it, send its code all the same and `warn`, or send it as itself as a `fallback`. With
                `fallback`, an image whose code would be longer than the image as itself is sent so, too.
            max_mse: in place of the card's; has no effect without a decoder.

        Raises:
            MisfitImage: it is one, under `refuse`.
            UncodableImage: it has no code at all, under `warn`.
        """
        return self.settle(pixels, self.judge(pixels[None], max_mse)[0], on_misfit)

    def encode_each(
        self, pixels: image.Pixels, on_misfit: OnMisfit = "fallback", max_mse: float | None = None
    ) -> list[GuardedImage | MisfitImage | UncodableImage]:
        """Encode images, uint8 (N, H, W, C), that have nothing to do with each other, with one run of each graph.

        Args:
            pixels: the images.
            on_misfit: as `encode` has it.
            max_mse: likewise.

        Returns:
            For each what `encode` returns, or what it raises.
        """
        each: list[GuardedImage | MisfitImage | UncodableImage] = []
        for one, judgement in zip(pixels, self.judge(pixels, max_mse), strict=True):
            try:
                each.append(self.settle(one, judgement, on_misfit))
            except (MisfitImage, UncodableImage) as error:
                each.append(error)
        return each

    def settle(self, pixels: image.Pixels, judgement: Judgement, on_misfit: OnMisfit) -> GuardedImage:
        """Do with a judged image what `encode` says.

        Raises:
            MisfitImage: it is a misfit, under `refuse`.
            UncodableImage: it has no code at all, under `warn`.
        """
        misfit, code = judgement.misfit, judgement.encoded
        if misfit is not None and on_misfit == "refuse":
            raise _refusal(misfit)
        if on_misfit == "fallback":
            if code is None or misfit is not None:
                return self.as_itself(pixels, misfit)
            if len(code.payload) > lossless.least_bytes(self.card.image):
                itself = self.as_itself(pixels)
                if len(itself.code.payload) < len(code.payload):
                    return itself
        if code is None:
            raise UncodableImage(misfit.sentence if misfit else "the image has no code")
        mse = judgement.mse
        return GuardedImage(code, mse, None if mse is None else psnr_db(mse), judgement.max_error, misfit, None)

    def codes(self, pixels: image.Pixels, on_misfit: OnMisfit = "fallback", *, delivered: bool = False) -> GuardedChunk:
        """Encode a few images, uint8 (N, H, W, C), for a container, with misfits in it as themselves as a `fallback`.

        Args:
            pixels: the images.
            on_misfit: as `encode` has it.
            delivered: judge them as single images are judged, by what a receiver will see, if a decoder is at hand.
                Otherwise they are judged as by an encoder alone, for decoding takes several times as long.

        Raises:
            MisfitImage: one of them is one, under `refuse`.
            UncodableImage: one of them has no code at all, under `warn`.
        """
        decoder = self._decoder if delivered else None
        try:
            return self._codes(pixels, on_misfit, decoder)
        except (UncodableImage, InvalidCode) as error:
            if len(pixels) > 1:
                return GuardedChunk.join(self.codes(one[None], on_misfit, delivered=delivered) for one in pixels)
            if on_misfit == "warn":
                raise UncodableImage(str(error)) from error
            misfits = {0: Misfit((), str(error))}
            return self._chunk(pixels, np.empty((0, self.card.code_size), np.int64), misfits, on_misfit)

    def _codes(self, pixels: image.Pixels, on_misfit: OnMisfit, decoder: "Decoder | None") -> GuardedChunk:
        limits = self._limits if decoder else self._limits_alone
        excesses: dict[int, list[Excess]] = {}

        def compare(score: str, values: Scores, places: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
            """Note what is beyond its limit, and return what is to be encoded all the same."""
            beyond = values > limits.get(score, math.inf)
            for at in np.flatnonzero(beyond).tolist():
                excess = Excess(score, float(values[at]), limits[score])
                excesses.setdefault(int(places[at]), []).append(excess)
            return ~beyond if on_misfit != "warn" else np.ones(len(beyond), np.bool_)

        places = np.arange(len(pixels))
        if self._typical:
            places = places[compare("strangeness", self._typical.strangeness(pixels), places)]
        symbols = np.empty((0, self.card.code_size), np.int64)
        if len(places):
            symbols = self._encoder.codes(pixels[places]).symbols
            kept = compare("bits", self._encoder.ideal_bits(symbols), places)
            places, symbols = places[kept], symbols[kept]
        if decoder and len(places):
            coded, seen = pixels[places], decoder.decode_symbols(symbols)
            kept = compare("mse", _mse(coded.astype(np.int16) - seen), places)
            if self._typical:
                kept &= compare("surprise", self._typical.surprise(coded, seen), places)
            symbols = symbols[kept]
        misfits = {place: self._why(tuple(found)) for place, found in sorted(excesses.items())}
        return self._chunk(pixels, symbols, misfits, on_misfit)

    def _chunk(
        self, pixels: image.Pixels, symbols: Symbols, misfits: Mapping[int, Misfit], on_misfit: OnMisfit
    ) -> GuardedChunk:
        if on_misfit == "warn":
            return GuardedChunk(Chunk(symbols), misfits)
        if misfits and on_misfit == "refuse":
            raise _refusal(next(iter(misfits.values())))
        payloads = {place: lossless.write_payload(pixels[place])[len(lossless.MARKER) :] for place in misfits}
        return GuardedChunk(Chunk(symbols, payloads), misfits)

    def container(self, announced: int = 0) -> ContainerWriter:
        """Begin a container for what `codes` gives; `announced` is the number of images, if it is known."""
        return self._encoder.container(announced)

    def as_itself(self, pixels: image.Pixels, misfit: Misfit | None = None) -> GuardedImage:
        """Return one image, uint8 (H, W, C) pixels, as a code of this model that gives back these very pixels."""
        code = self._encoder.encode_lossless(pixels[None])[0]
        return GuardedImage(code, 0.0, math.inf, 0.0, misfit, lossless.kind_of(code.payload))

    def _why(self, excesses: tuple[Excess, ...]) -> Misfit:
        figures = ", ".join(f"{one.score} {one.value:.4g} (limit {one.limit:.4g})" for one in excesses)
        if [one.score for one in excesses] == ["mse"]:
            return Misfit(excesses, f"model '{self.card.name}' does not deliver the image well enough: {figures}")
        return Misfit(excesses, f"the image is not of the kind that model '{self.card.name}' is for: {figures}")


def psnr_db(mse: float) -> float:
    """Return the peak signal-to-noise ratio, in dB, of a mean squared error of values in [0, 1]; infinite for 0."""
    return -10 * math.log10(mse) if mse else math.inf


def _mse(difference: npt.NDArray[np.int16]) -> Scores:
    mse: Scores = np.square(difference, dtype=np.int32).mean(axis=(1, 2, 3)) / 255**2
    return mse


def _refusal(misfit: Misfit) -> MisfitImage:
    return MisfitImage(f"{misfit.sentence}; on_misfit=fallback sends it as itself, and exactly")
