"""The results of the guard: scores, findings, and what is sent of an image."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from latentwire.encoder import EncodedImage
from latentwire.format.container import Chunk
from latentwire.imaging.fitting import Fitting
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ModelCard


class LimitExceeded(NamedTuple):
    """A score beyond its limit."""

    score: str
    value: float
    limit: float


class OodFinding(NamedTuple):
    """Why an image is out-of-distribution, or in doubt: each score beyond its limit; none if it has no code at all."""

    exceeded: tuple[LimitExceeded, ...]
    sentence: str

    @property
    def names(self) -> str:
        """The names of the scores beyond their limits; "uncodable" if there is no code to be scored."""
        return ", ".join(limit.score for limit in self.exceeded) or "uncodable"

    def after(self, fitting: Fitting | None) -> "OodFinding":
        """Return this for a source that was changed before it was assessed; the sentence then says so."""
        return self if fitting is None else self._replace(sentence=f"{self.sentence}, after {fitting.sentence}")


class Assessment(NamedTuple):
    """An encoded image, its scores, and whether it is out-of-distribution.

    Attributes:
        encoded: the bitstream; None if the image cannot be encoded, and `scores` is empty then.
        scores: value of each score; all but `bits` and `input_deviation` only with a decoder.
        max_error: largest difference of one value in [0, 1]; None without a decoder.
        ood: why the image is out-of-distribution; None if it is not.
        doubt: why the reconstruction may show something else than the image; None if it does not, or without a decoder.
    """

    encoded: EncodedImage | None
    scores: dict[str, float]
    max_error: float | None
    ood: OodFinding | None
    doubt: OodFinding | None

    @property
    def mse(self) -> float | None:
        """Mean squared error of the reconstruction, values in [0, 1]; None without a decoder."""
        return self.scores.get("mse")

    @property
    def is_sure(self) -> bool:
        """Whether the image is neither out-of-distribution nor in doubt."""
        return self.ood is None and self.doubt is None

    @property
    def may_climb(self) -> bool:
        """Whether the image is out-of-distribution or in doubt, but perhaps not for a better model of its kind."""
        is_of_kind = self.ood is None or not any(item.score == "input_deviation" for item in self.ood.exceeded)
        return is_of_kind and not self.is_sure


class GuardedImage(NamedTuple):
    """What is sent of an image, and how well a receiver will see it.

    Attributes:
        card: card of the model that the bitstream names.
        encoded: the bitstream.
        mse: mean squared error of the reconstruction, values in [0, 1]; None if it is not known.
        psnr_db: peak signal-to-noise ratio in dB, infinite for an exact reconstruction; None if it is not known.
        max_error: largest difference of one value in [0, 1]; None if it is not known.
        ood: why the image is out-of-distribution; None if it is not.
        doubt: why the code may show something else than the image, if it is sent all the same, or is not for that.
        sent_as: `raw`, `png` or `webp` if the image is sent losslessly, None if its symbols are sent.
        fitting: how the source was changed before; None if it was not. The figures above are about the result.
        any_size: (height, width, channels) of an image of any size; None for a vector model.
        quality: of 0 to 100, that an image of any size was encoded at; None if it is sent losslessly.
    """

    card: ModelCard | AnySizeCard
    encoded: EncodedImage
    mse: float | None
    psnr_db: float | None
    max_error: float | None
    ood: OodFinding | None
    doubt: OodFinding | None
    sent_as: str | None
    fitting: Fitting | None = None
    any_size: tuple[int, int, int] | None = None
    quality: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the image."""
        return self.any_size or self.card.image.as_tuple()  # type: ignore[union-attr]  # one or the other kind

    def after(self, fitting: Fitting | None) -> "GuardedImage":
        """Return this for a source that was changed before it was encoded.

        The sentence then says so. The figures of a lossless image are not known: they would compare its pixels with
        themselves, and not with those of the source.
        """
        if fitting is None:
            return self
        ood, doubt = self.ood and self.ood.after(fitting), self.doubt and self.doubt.after(fitting)
        if self.sent_as is None:
            return self._replace(ood=ood, doubt=doubt, fitting=fitting)
        return self._replace(mse=None, psnr_db=None, max_error=None, ood=ood, doubt=doubt, fitting=fitting)


class GuardedChunk(NamedTuple):
    """Successive images for a container, and which of them are out-of-distribution: index -> why."""

    chunk: Chunk
    ood_images: Mapping[int, OodFinding]

    @classmethod
    def join(cls, parts: Iterable["GuardedChunk"]) -> "GuardedChunk":
        """Return one or more parts as one, in their order."""
        symbols, payloads, ood_images, first = [], {}, {}, 0
        for part in parts:
            symbols.append(part.chunk.symbols)
            payloads.update({first + index: payload for index, payload in part.chunk.payloads.items()})
            ood_images.update({first + index: ood for index, ood in part.ood_images.items()})
            first += part.chunk.images
        return cls(Chunk(np.concatenate(symbols), payloads), ood_images)


def psnr_db(mse: float) -> float:
    """Return the peak signal-to-noise ratio, in dB, of a mean squared error of values in [0, 1]; infinite for 0."""
    return -10 * math.log10(mse) if mse else math.inf
