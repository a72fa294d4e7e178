"""What is sent of one image of any size, at the quality that a request asks for."""

import math
from typing import TYPE_CHECKING, NamedTuple

from latentwire.any_size.encoder import AnySizeEncoder, CodedImage
from latentwire.any_size.rate_control import Errors, RateControl, encode_measured, reconstruction_errors
from latentwire.any_size.transparency import clear_transparent
from latentwire.errors import TargetMissed
from latentwire.format import any_size_lossless
from latentwire.format.alpha import write_alphas
from latentwire.format.any_size import parts_of
from latentwire.format.bitstream import OVERHEAD_BYTES, write_bitstream
from latentwire.imaging.image import Pixels
from latentwire.options import Framing

if TYPE_CHECKING:  # a sender must not load the decoder's code
    from latentwire.any_size.decoder import AnySizeDecoder

DEFAULT_QUALITY = 50.0

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
        measure: bool = True,
    ) -> Sent:
        """Encode one image; losslessly where that takes no more bytes, as far as a quick estimate sees.

        Args:
            pixels: uint8 (H, W, C), C being 1 for grey, 3 for RGB, and 2 and 4 for these with alpha.
            framing: `full` or `raw`, which `target_bytes` is about.
            quality: from 0, the fewest bytes, to 100; 50 if no argument asks for anything else.
            target_bytes: the best quality at which the bitstream has at most this many bytes.
            min_psnr_db: the lowest quality at which the reconstruction has at least this PSNR, in dB.
            measure: decode the result for its errors, if there is a decoder.

        Raises:
            ValueError: more than one of the three is given, a quality is not within 0 and 100, a PSNR is not a number,
                or a PSNR is asked for without a decoder.
            TargetMissed: no quality reaches the target.
            ImageError: the image cannot be encoded.
        """
        if sum(wish is not None for wish in (quality, target_bytes, min_psnr_db)) > 1:
            raise ValueError("quality, target_bytes and min_psnr_db exclude each other: give one of them")
        self._encoder.header(pixels, 0)  # refuses what the format does not have
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
        if errors is None and measure and self._decoder is not None:
            errors = reconstruction_errors(pixels, coded, self._decoder)
        quality = self._encoder.quality_of(coded.header.quality)
        return self._framed(coded.payload, coded.ideal_bits, quality, errors, None)

    def _encode(self, pixels: Pixels, quality: int, *, measure: bool) -> tuple[CodedImage, Errors | None]:
        encoder, decoder = self._encoder, self._decoder
        if decoder is None or not measure:
            return encoder.encode(pixels, quality), None
        header = encoder.header(pixels, quality)
        latents = (encoder.analyse(pixels, header, part) for part in parts_of(header))
        return encode_measured(encoder, pixels, header, latents, write_alphas(pixels, header), decoder)

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
