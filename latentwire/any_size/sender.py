"""What is sent of one image of any size, at the quality that a request asks for."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from latentwire.any_size.encoder import AnySizeEncoder, CodedImage, CodedPart
from latentwire.any_size.rate_control import Errors, RateControl, encode_measured, reconstruction_errors
from latentwire.any_size.transparency import clear_transparent
from latentwire.effort import EFFORTS, FITTING_INDICES, REACHING_INDICES, Effort
from latentwire.errors import InvalidParameter, TargetMissed
from latentwire.format import any_size_lossless
from latentwire.format.alpha import write_alphas
from latentwire.format.any_size import Header, parts_of
from latentwire.format.bitstream import OVERHEAD_BYTES, write_bitstream
from latentwire.imaging.image import Pixels
from latentwire.options import Framing

if TYPE_CHECKING:  # a sender must not load the decoder's code
    from latentwire.any_size.decoder import AnySizeDecoder

DEFAULT_QUALITY = 50.0

# Images of at most so many pixels are refined unless an effort is asked for, as that takes about a tenth of a second.
SMALL_PIXELS = 1 << 16
# Passes of the refiner for each part, by effort.
PASSES: dict[Effort, int] = {1: 0, 2: 4, 3: 32}

# Parts that are encoded to see whether a large drawing takes fewer bytes losslessly.
SAMPLED_PARTS = 3


class Sent(NamedTuple):
    """An encoded image.

    Attributes:
        payload: what is sent under the raw framing.
        bitstream: what is sent under the full framing.
        ideal_bits: of all symbols, by the probabilities of the model; of the payload, if it is lossless.
        quality: of 0 to 100, that the image was encoded at; None if it is lossless.
        errors: of the reconstruction; None if it is not lossless and there is no decoder.
        sent_as: `raw`, `png` or `webp` if the image is sent losslessly, None if its symbols are sent.
    """

    payload: bytes
    bitstream: bytes
    ideal_bits: float
    quality: float | None
    errors: Errors | None
    sent_as: str | None


class AnySizeSender:
    """Encodes images of any size with one model, and with its decoder also measures what a receiver will see."""

    def __init__(self, encoder: AnySizeEncoder, decoder: "AnySizeDecoder | None" = None) -> None:
        self.card = encoder.card
        self._encoder = encoder
        self._decoder = decoder

    def encode(
        self,
        pixels: Pixels,
        framing: Framing = "full",
        *,
        quality: float | None = None,
        target_bytes: int | None = None,
        min_psnr_db: float | None = None,
        effort: Effort | None = None,
        measure: bool = True,
    ) -> Sent:
        """Encode one image; losslessly where that takes no more bytes, as far as a quick estimate sees.

        Args:
            pixels: uint8 (H, W, C), C being 1 for grey, 3 for RGB, and 2 and 4 for these with alpha.
            framing: `full` or `raw`, which `target_bytes` is about.
            quality: from 0, the fewest bytes, to 100; 50 if no argument asks for anything else.
            target_bytes: the best quality at which the bitstream has at most this many bytes.
            min_psnr_db: the lowest quality at which the reconstruction has at least this PSNR, in dB.
            effort: 1; or 2 and 3 to refine the symbols, which takes several times as long. By default 2 for an image
                of at most `SMALL_PIXELS`, if there are a decoder and a refiner, else 1. A refined result is never worse
                than that of 1: it has fewer bits and errors together, a lower error in `target_bytes`, or fewer
                bytes at `min_psnr_db`.
            measure: decode the result for its errors, if there is a decoder.

        Raises:
            ValueError: more than one of the three is given, a quality is not within 0 and 100, a PSNR is not a number,
                or a PSNR or an effort is asked for without a decoder.
            InvalidParameter: an effort is asked for of a model without a refiner.
            TargetMissed: no quality reaches the target.
            ImageError: the image cannot be encoded.
        """
        if sum(wish is not None for wish in (quality, target_bytes, min_psnr_db)) > 1:
            raise ValueError("quality, target_bytes and min_psnr_db exclude each other: give one of them")
        self._encoder.header(pixels, 0)  # refuses what the format does not have
        effort = self._checked_effort(effort, pixels)
        errors = None
        if target_bytes is not None:
            if (exact := self.encode_lossless(pixels, target_bytes, framing)) is not None:
                return exact
            coded = self._fit_bytes(pixels, target_bytes - _overhead_of(framing))
        else:
            # Bytes and PSNR rise with the quality: what takes no more bytes than the lowest one meets any PSNR.
            wanted = 0 if min_psnr_db is not None else DEFAULT_QUALITY if quality is None else quality
            if not 0 <= wanted <= 100:
                raise ValueError(f"the quality is {wanted}; it must be from 0 to 100")
            if (exact := self._encode_drawing(pixels, self._encoder.quality_index(wanted))) is not None:
                return exact
            if min_psnr_db is not None:
                coded = self._reach_psnr(pixels, min_psnr_db)
            else:
                coded, errors = self._encode(pixels, self._encoder.quality_index(wanted), measure=measure)
            if (exact := self.encode_lossless(pixels, len(coded.payload), "raw")) is not None:
                return exact
        if errors is None and (measure or effort > 1) and self._decoder is not None:
            errors = reconstruction_errors(pixels, coded, self._decoder)
        if effort > 1 and errors is not None:
            allowed = None if target_bytes is None else target_bytes - _overhead_of(framing)
            coded, errors = self._refine(pixels, coded, errors, effort, allowed, min_psnr_db)
        quality = self._encoder.quality_of(coded.header.quality)
        return self._framed(coded.payload, coded.ideal_bits, quality, errors, None)

    def _encode(self, pixels: Pixels, quality: int, *, measure: bool) -> tuple[CodedImage, Errors | None]:
        encoder, decoder = self._encoder, self._decoder
        if decoder is None or not measure:
            return encoder.encode(pixels, quality), None
        header = encoder.header(pixels, quality)
        latents = (encoder.analyse(pixels, header, part) for part in parts_of(header))
        parts = (encoder.encode_part(part, quality) for part in latents)
        return encode_measured(pixels, header, parts, write_alphas(pixels, header), decoder)

    def _checked_effort(self, effort: Effort | None, pixels: Pixels) -> Effort:
        if effort is None:
            is_small = pixels.shape[0] * pixels.shape[1] <= SMALL_PIXELS
            can_refine = self._decoder is not None and self._encoder.refiner is not None
            return 2 if is_small and can_refine else 1
        if effort not in EFFORTS:
            raise ValueError(f"the effort is {effort}; it must be 1, 2 or 3")
        if effort > 1 and self._decoder is None:
            raise ValueError("an effort above 1 looks at the reconstruction: use a Codec, which has a decoder")
        if effort > 1 and self._encoder.refiner is None:
            raise InvalidParameter(f"model '{self.card.name}' has no refiner, which an effort above 1 needs")
        return effort

    def _refine(
        self,
        pixels: Pixels,
        plain: CodedImage,
        plain_errors: Errors,
        effort: Effort,
        allowed_bytes: int | None,
        min_psnr_db: float | None,
    ) -> tuple[CodedImage, Errors]:
        """Return the refined image and its errors, or what there is already if that is not worse.

        Args:
            pixels: uint8 (H, W, C).
            plain: the image by an effort of 1.
            plain_errors: its errors.
            effort: above 1.
            allowed_bytes: of the payload, if the image has a target.
            min_psnr_db: of the reconstruction, if that is the target.
        """
        refiner, alphas = self._encoder.refiner, write_alphas(pixels, plain.header)
        assert refiner is not None and self._decoder is not None  # noqa: PT018, S101
        best = plain.header.quality
        lower = (0,) if min_psnr_db is None and allowed_bytes is None else FITTING_INDICES
        for index in (max(0, best - less) for less in (lower if min_psnr_db is None else REACHING_INDICES)):
            header = plain.header._replace(quality=index)
            coded, errors = encode_measured(
                pixels, header, self._refined(pixels, header, effort), alphas, self._decoder
            )
            if min_psnr_db is not None:
                is_better = errors.psnr_db >= min_psnr_db and len(coded.payload) < len(plain.payload)
            elif allowed_bytes is not None:
                is_better = errors.mse < plain_errors.mse and len(coded.payload) <= allowed_bytes
            else:
                worth = refiner.bits_per_error(index) * pixels[:, :, :3].size
                is_better = coded.ideal_bits + worth * errors.mse < plain.ideal_bits + worth * plain_errors.mse
            if is_better:
                return coded, errors
        return plain, plain_errors

    def _refined(self, pixels: Pixels, header: Header, effort: Effort) -> Iterator[CodedPart]:
        encoder, decoder = self._encoder, self._decoder
        assert encoder.refiner is not None and decoder is not None  # noqa: PT018, S101
        for part in parts_of(header):
            yield encoder.refiner.refine(encoder, decoder, pixels, header, part, PASSES[effort])

    def encode_lossless(self, pixels: Pixels, target_bytes: int, framing: Framing) -> Sent | None:
        """Return the lossless image, if it has at most this many bytes in this framing, by a quick estimate first."""
        max_bytes = target_bytes - _overhead_of(framing)
        pixels = clear_transparent(pixels)
        if not any_size_lossless.may_fit(pixels, max_bytes):
            return None
        payload = any_size_lossless.write_payload(pixels)
        if len(payload) > max_bytes:
            return None
        return self._framed(payload, 8.0 * len(payload), None, Errors(0, 0), any_size_lossless.kind_of(payload))

    def _encode_drawing(self, pixels: Pixels, quality: int) -> Sent | None:
        """Return a large image losslessly, if it takes no more bytes than its parts seem to take at a quality index.

        Only an image that looks like a drawing is tried, and only one of many parts: one of few is encoded as quickly.
        """
        header = self._encoder.header(pixels, quality)
        parts = parts_of(header)
        if len(parts) < 2 * SAMPLED_PARTS or not any_size_lossless.is_drawing(pixels):
            return None
        sample = [parts[(2 * number + 1) * len(parts) // (2 * SAMPLED_PARTS)] for number in range(SAMPLED_PARTS)]
        coded = (self._encoder.encode_part(self._encoder.analyse(pixels, header, part), quality) for part in sample)
        area = sum(part.height * part.width for part in sample)
        whole = sum(part.height * part.width for part in parts)
        return self.encode_lossless(pixels, sum(len(part.body) for part in coded) * whole // area, "raw")

    def _framed(
        self, payload: bytes, ideal_bits: float, quality: float | None, errors: Errors | None, sent_as: str | None
    ) -> Sent:
        return Sent(payload, write_bitstream(payload, self.card.fingerprint), ideal_bits, quality, errors, sent_as)

    def _fit_bytes(self, pixels: Pixels, payload_bytes: int) -> CodedImage:
        if payload_bytes < 1:
            raise TargetMissed(f"a bitstream has at least {OVERHEAD_BYTES + 1} bytes; allow more")
        return RateControl(self._encoder, pixels).within_bytes(payload_bytes)

    def _reach_psnr(self, pixels: Pixels, min_psnr_db: float) -> CodedImage:
        if not math.isfinite(min_psnr_db):
            raise ValueError(f"the PSNR is {min_psnr_db}; it must be a finite number of dB")
        if self._decoder is None:
            raise ValueError("a PSNR is measured on the reconstruction: use a Codec, which has a decoder")
        return RateControl(self._encoder, pixels).reaching_psnr(min_psnr_db, self._decoder)


def _overhead_of(framing: Framing) -> int:
    return OVERHEAD_BYTES if framing == "full" else 0
