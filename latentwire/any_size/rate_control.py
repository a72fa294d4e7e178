"""Finds the quality that a number of bytes, or a PSNR, asks for: latents are computed once, and quantized again.

Bytes and PSNR rise with the quality. They are estimated at a few levels, on a sample of the image's parts. Then the
whole image is coded at the most promising quality, and at others near it, until of two neighbouring qualities one is
enough and the other is not.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from latentwire.any_size.encoder import AnySizeEncoder, CodedImage, CodedPart
from latentwire.any_size.transparency import has_alpha
from latentwire.errors import TargetMissed
from latentwire.format.alpha import write_alphas
from latentwire.format.any_size import STRIDE, Header, Part, parts_of, write_payload
from latentwire.imaging.image import Pixels
from latentwire.model.any_size_card import QUALITY_PARTS
from latentwire.model.onnx_session import Floats

if TYPE_CHECKING:  # a sender must not load the decoder's code
    from latentwire.any_size.decoder import AnySizeDecoder, Area

# Parts that are looked at to find a quality.
SAMPLED_PARTS = 2
# About what a payload has beside the ideal code length.
OVERHEAD_BYTES = 6
# The least that a measure is taken to rise from one quality to the next.
MIN_SLOPE = 1e-6

Measure = Callable[[int], float]


class Errors(NamedTuple):
    """Of a reconstruction, values in [0, 1]: mean squared error, and the largest difference of one value."""

    mse: float
    max_error: float

    @property
    def psnr_db(self) -> float:
        """Peak signal-to-noise ratio in dB, infinite for an exact reconstruction."""
        return -10 * math.log10(self.mse) if self.mse else math.inf


class RateControl:
    """Encodes one image at the quality that a limit asks for."""

    def __init__(self, encoder: AnySizeEncoder, pixels: Pixels) -> None:
        """Compute the latents of an image, uint8 (H, W, C).

        Raises:
            ImageError: as `AnySizeEncoder.encode`.
        """
        self._encoder = encoder
        self._pixels = pixels
        self._header = encoder.header(pixels, 0)
        parts = parts_of(self._header)
        self._alphas = write_alphas(pixels, self._header)
        self._latents = [encoder.analyse(pixels, self._header, part) for part in parts]
        step = -(-len(parts) // SAMPLED_PARTS)
        chosen = zip(parts[::step], self._latents[::step], strict=True)
        self._sample = [_sampled(encoder, pixels, part, latents) for part, latents in chosen]
        # A reader of the card's model has no other qualities.
        self._end = encoder.entropy.tables.best_quality + 1
        self._coded: dict[int, CodedImage] = {}

    def within_bytes(self, target_bytes: int) -> CodedImage:
        """Return the image at the best quality whose payload has at most this many bytes.

        Raises:
            TargetMissed: the payload has more at the lowest quality.
        """
        share = sum(one.pixels.size for one in self._sample) / self._pixels.size
        overhead = OVERHEAD_BYTES + sum(map(len, self._alphas))

        def estimate(quality: int) -> float:
            coded = (self._encoder.encode_part(one.latents, quality, only_measure=True) for one in self._sample)
            return math.log(sum(part.ideal_bits for part in coded) / 8 / share + overhead)

        def exact(quality: int) -> float:
            return math.log(len(self._code(quality).payload))

        too_many = _first_reaching(cache(estimate), exact, math.log(target_bytes + 0.5), self._end)
        if not too_many:
            raise TargetMissed(
                f"the image takes {len(self._code(0).payload):,} bytes at the lowest quality, more than the "
                f"{target_bytes:,} that are allowed; scale it down"
            )
        return self._code(too_many - 1)

    def reaching_psnr(self, min_psnr_db: float, decoder: "AnySizeDecoder") -> CodedImage:
        """Return the image at the lowest quality at which its reconstruction has at least this PSNR, in dB.

        Raises:
            TargetMissed: it has less at the best quality.
        """

        def estimate(quality: int) -> float:
            errors = []
            for one in self._sample:
                coded = self._encoder.encode_part(one.latents, quality, only_measure=True)
                areas = decoder.synthesize(one.header._replace(quality=quality), [coded.latents])
                errors.append(errors_of(one.pixels, areas).mse)
            return Errors(float(np.mean(errors)), 0).psnr_db

        def exact(quality: int) -> float:
            header = self._header._replace(quality=quality)
            self._coded[quality], errors = encode_measured(
                self._pixels,
                header,
                (self._encoder.encode_part(part, quality) for part in self._latents),
                self._alphas,
                decoder,
            )
            return errors.psnr_db

        found = _first_reaching(cache(estimate), cache(exact), min_psnr_db, self._end)
        if found == self._end:
            raise TargetMissed(
                f"the model does not reach {min_psnr_db:g} dB for this image; its best quality gives "
                f"{exact(self._end - 1):.2f} dB"
            )
        return self._code(found)

    def _code(self, quality: int) -> CodedImage:
        if quality not in self._coded:
            header = self._header._replace(quality=quality)
            self._coded[quality] = self._encoder.encode_latents(header, self._latents, self._alphas)
        return self._coded[quality]


def encode_measured(
    pixels: Pixels,
    header: Header,
    parts: Iterable[CodedPart],
    alphas: Iterable[bytes],
    decoder: "AnySizeDecoder",
) -> tuple[CodedImage, Errors]:
    """Encode an image, and decode it meanwhile, with two rows of parts in memory at a time.

    Args:
        pixels: uint8 (H, W, C).
        header: of the payload.
        parts: of the image, coded as they are asked for.
        alphas: of each part, of `write_alphas`.
        decoder: of the model. It gets the latents that a receiver finds, without reading them from the payload.

    Returns:
        The image, and the errors of its reconstruction.
    """
    bodies: list[bytes] = []
    ideal_bits: list[float] = []

    def quantized() -> Iterator[Floats]:
        for coded, alpha in zip(parts, alphas, strict=True):
            bodies.append(alpha + coded.body)
            ideal_bits.append(8 * len(alpha) + coded.ideal_bits)
            yield coded.latents

    errors = errors_of(pixels, decoder.synthesize(header, quantized()))
    return CodedImage(header, write_payload(header, bodies), sum(ideal_bits)), errors


def reconstruction_errors(pixels: Pixels, coded: CodedImage, decoder: "AnySizeDecoder") -> Errors:
    """Decode an image as a receiver does, area by area, and compare it with its original, uint8 (H, W, C)."""
    _, areas = decoder.decode_areas(coded.payload, max_pixels=pixels.size)
    return errors_of(pixels, areas)


def errors_of(pixels: Pixels, areas: "Iterable[Area]") -> Errors:
    """Return the errors of areas that together are the reconstruction of an image, uint8 (H, W, C).

    They are those of the colours of all pixels that are not transparent; alpha is exact.
    """
    squares, largest, values = 0, 0, 0
    for area, found in areas:
        original = pixels[area.rows, area.columns]
        colours = original.shape[2] - has_alpha(original)
        difference = found[:, :, :colours].astype(np.int16) - original[:, :, :colours]
        visible = difference.size
        if has_alpha(original):
            seen = original[:, :, -1:] > 0
            difference *= seen
            visible = int(seen.sum()) * colours
        squares += int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
        largest = max(largest, int(np.abs(difference).max()))
        values += visible
    return Errors(squares / max(1, values) / 255**2, largest / 255)


class _Sampled(NamedTuple):
    """A part that is looked at: its pixels and their header, as if it were an image, and its latents."""

    pixels: Pixels
    header: Header
    latents: Floats


def _sampled(encoder: AnySizeEncoder, pixels: Pixels, part: Part, latents: Floats) -> _Sampled:
    rows = slice(STRIDE * part.top, STRIDE * (part.top + part.height))
    columns = slice(STRIDE * part.left, STRIDE * (part.left + part.width))
    seen = pixels[rows, columns]
    return _Sampled(seen, encoder.header(seen, 0), latents)


def _first_reaching(estimate: Measure, exact: Measure, wanted: float, end: int) -> int:
    """Return the first of 0 … `end` - 1 whose exact measure is at least `wanted`, or `end`.

    Args:
        estimate: cheap, and wrong by about the same everywhere; nearly linear over a level.
        exact: rises.
        wanted: of the exact measure.
        end: after the last.
    """
    grid = [*range(0, end - 1, QUALITY_PARTS), end - 1]
    place = bisect_left(grid, wanted, 1, len(grid) - 1, key=estimate)
    left, right = grid[place - 1], grid[place]
    slope = max((estimate(right) - estimate(left)) / (right - left), MIN_SLOPE)
    low, high, below, above = -1, end, math.nan, math.nan
    promising, stride = left + (wanted - estimate(left)) / slope, 1
    for tries in count():
        at = math.ceil(min(max(promising, low + 1), high - 1))
        value = exact(at)
        if value >= wanted:
            high, above = at, value
        else:
            low, below = at, value
        if high - low == 1:
            return high
        share = (wanted - below) / (above - below)
        if math.isnan(share):
            # As far as the slope says, and farther with each try that stays on the same side.
            steps = (wanted - value) / slope
            promising = at + (max(steps, stride) if value < wanted else min(steps, -stride))
            stride *= 2
        else:
            promising = (low + high) / 2 if tries % 3 == 2 else low + share * (high - low)
    raise AssertionError
