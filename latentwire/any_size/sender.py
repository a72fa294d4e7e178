"""What is sent of one image of any size, at the quality that a request asks for."""

import math
from typing import TYPE_CHECKING, NamedTuple

from latentwire.any_size.encoder import AnySizeEncoder, CodedImage
from latentwire.any_size.rate_control import Errors, RateControl, reconstruction_errors
from latentwire.errors import TargetMissed
from latentwire.format.bitstream import OVERHEAD_BYTES, write_bitstream
from latentwire.imaging.image import Pixels
from latentwire.options import Framing

if TYPE_CHECKING:  # a sender must not load the decoder's code
    from latentwire.any_size.decoder import AnySizeDecoder

DEFAULT_QUALITY = 50.0


class Sent(NamedTuple):
    """An encoded image.

    Attributes:
        bitstream: in the framing that was asked for.
        coded: the payload, its header and its ideal code length.
        quality: of 0 to 100, that the image was encoded at.
        errors: of the reconstruction; None without a decoder.
    """

    bitstream: bytes
    coded: CodedImage
    quality: float
    errors: Errors | None


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
    ) -> Sent:
        """Encode one image.

        Args:
            pixels: uint8 (H, W, C), C being 1 for grey and 3 for RGB.
            framing: `full` or `raw`.
            quality: from 0, the fewest bytes, to 100; 50 if no argument asks for anything else.
            target_bytes: the best quality at which the bitstream has at most this many bytes.
            min_psnr_db: the lowest quality at which the reconstruction has at least this PSNR, in dB.

        Raises:
            ValueError: more than one of the three is given, a quality is not within 0 and 100, a PSNR is not a number,
                or a PSNR is asked for without a decoder.
            TargetMissed: no quality reaches the target.
            ImageError: the image cannot be encoded.
        """
        if sum(wish is not None for wish in (quality, target_bytes, min_psnr_db)) > 1:
            raise ValueError("quality, target_bytes and min_psnr_db exclude each other: give one of them")
        if min_psnr_db is not None:
            coded = self._reach_psnr(pixels, min_psnr_db)
        elif target_bytes is not None:
            coded = self._fit_bytes(pixels, target_bytes - (OVERHEAD_BYTES if framing == "full" else 0))
        else:
            wanted = DEFAULT_QUALITY if quality is None else quality
            if not 0 <= wanted <= 100:
                raise ValueError(f"the quality is {wanted}; it must be from 0 to 100")
            coded = self._encoder.encode(pixels, self._encoder.quality_index(wanted))
        errors = None if self._decoder is None else reconstruction_errors(pixels, coded, self._decoder)
        bitstream = coded.payload if framing == "raw" else write_bitstream(coded.payload, self.card.fingerprint)
        return Sent(bitstream, coded, self._encoder.quality_of(coded.header.quality), errors)

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
