"""The codec of the Python API: encoder and decoder of one model."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from latentwire.any_size.decoder import AnySizeDecoder
from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.any_size.sender import AnySizeSender
from latentwire.decoder import Decoder
from latentwire.effort import Effort
from latentwire.encoder import Encoder
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from latentwire.options import Background, Fit, Framing, OnOod, Verify
from latentwire.receiver import Receiver
from latentwire.selection.guard import Guard
from latentwire.sender import Encoded, EncodedMany, ImageSource, Sender, refuse_quality


class Codec(Sender, Receiver):
    """Encodes and decodes images with one model.

    Unlike a `Sender`, a codec reconstructs each image that it encodes. So it measures the error that a receiver will
    see, and finds more out-of-distribution images. Several threads may use one codec.

    >>> from pathlib import Path
    >>> from latentwire import Codec
    >>> codec = Codec.load("models/mnist-conv-10")
    >>> encoded = codec.encode(Path("examples/seven.png"))
    >>> len(encoded.bitstream), round(encoded.psnr_db, 1), encoded.ood
    (14, 24.4, None)
    >>> image = codec.decode(encoded.bitstream)
    >>> image.shape, image.dtype
    ((28, 28, 1), dtype('uint8'))
    >>> Path("received.png").write_bytes(image.to_png())  # doctest: +SKIP
    """

    def __init__(self, half: Guard | AnySizeSender, decoder: Decoder | AnySizeDecoder) -> None:
        Sender.__init__(self, half)
        Receiver.__init__(self, decoder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, threads: int = 1) -> Self:
        """Open the model in `folder`, and check it against the golden data in its card.

        Args:
            folder: of the model, as `models/mnist-conv-10`.
            threads: number of threads that one run of a graph may use; small graphs are fastest with 1.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        path = Path(folder)
        card = load_any_card(path)
        if isinstance(card, AnySizeCard):
            any_size = AnySizeEncoder.open(path, card, threads)
            any_size_decoder = AnySizeDecoder.open(path, card, threads, any_size.entropy)
            any_size.check_golden()
            any_size_decoder.check_golden()
            return cls(AnySizeSender(any_size, any_size_decoder), any_size_decoder)
        encoder, decoder = Encoder.open(path, threads), Decoder.open(path, threads)
        encoder.check_golden()
        decoder.check_golden()
        return cls(Guard(encoder, decoder), decoder)

    def encode(
        self,
        source: ImageSource,
        *,
        fit: Fit = "strict",
        background: Background = "auto",
        on_ood: OnOod = "fallback",
        framing: Framing = "full",
        quality: float | None = None,
        target_bytes: int | None = None,
        max_mse: float | None = None,
        min_psnr_db: float | None = None,
        effort: Effort | None = None,
    ) -> Encoded:
        """Encode one image; see `Sender.encode`.

        Args:
            source: as in `Sender.encode`.
            fit: as in `Sender.encode`.
            background: as in `Sender.encode`.
            on_ood: as in `Sender.encode`.
            framing: as in `Sender.encode`.
            quality: as in `Sender.encode`.
            target_bytes: as in `Sender.encode`.
            max_mse: of a vector model: mean squared error of the reconstruction, values in [0, 1], beyond which the
                image is out-of-distribution; None for the limit in the card.
            min_psnr_db: of a model for images of any size: the lowest quality at which the reconstruction has at least
                this PSNR, in dB.
            effort: of a model for images of any size: 1; or 2 and 3 to refine the symbols by the decoder's gradient,
                for fewer bytes at the same PSNR. It takes several times as long, and is never worse. By default 2 for
                images of at most 65,536 pixels, 1 for larger ones.

        Raises:
            OSError: the file cannot be read.
            ImageError: the image cannot be encoded.
            ValueError: the model has no such option, or the options contradict each other.
        """
        if isinstance(self._half, Guard):
            refuse_quality(quality, target_bytes, min_psnr_db, effort)
            return self._encode(self._half, source, fit, background, on_ood, framing, max_mse)
        if max_mse is not None:
            raise ValueError("max_mse is for vector models; min_psnr_db asks for a quality of images of any size")
        return self._encode_any_size(
            self._half, source, background, framing, quality, target_bytes, min_psnr_db, effort
        )

    def encode_many(
        self,
        sources: Iterable[ImageSource],
        *,
        fit: Fit = "strict",
        background: Background = "auto",
        on_ood: OnOod = "fallback",
        quality: float | None = None,
        verify: Verify = "latent",
    ) -> EncodedMany:
        """Encode many images into one container; see `Sender.encode_many`.

        Args:
            sources: as in `Sender.encode_many`.
            fit: as in `Sender.encode_many`.
            background: as in `Sender.encode_many`.
            on_ood: as in `Sender.encode_many`.
            quality: as in `Sender.encode_many`.
            verify: of a vector model: `reconstruction` to find out-of-distribution images as `encode` does, which takes
                several times as long; `latent` to find them as a sender does.

        Raises:
            OSError: a file cannot be read.
            ImageError: an image cannot be encoded; the error has its number, from 0.
            ValueError: the model has no such option.
        """
        return self._encode_many(sources, fit, background, on_ood, verify, quality)
