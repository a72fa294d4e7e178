"""The receiver of the Python API: bitstreams -> images, without the encoder."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from latentwire.decoder import Decoder
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from latentwire.options import Framing


class DecodedImage(np.ndarray[tuple[int, ...], np.dtype[np.uint8]]):
    """An image: an array of uint8 (H, W, C), C being 1 for grey, 3 for RGB and 4 for RGBA, with methods to write it."""

    def to_png(self) -> bytes:
        """Return the image as the bytes of a PNG file."""
        return image.write_png(self._pixels())

    def to_webp(self) -> bytes:
        """Return the image as the bytes of a lossless WebP file."""
        return image.write_webp(self._pixels())

    def to_pillow(self) -> Image.Image:
        """Return the image as a Pillow image of the mode L, RGB or RGBA."""
        return image.to_picture(self._pixels())

    def _pixels(self) -> image.Pixels:
        return np.asarray(self)


class Receiver:
    """Decodes bitstreams with the decoder of one model. A receiver does not load the encoder.

    Several threads may use one receiver.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, threads: int = 1) -> Self:
        """Open the decoder of the model in `folder`, and check it against the golden data in its card.

        Args:
            folder: of the model, as `models/mnist-conv-10`.
            threads: number of threads that one run of the graph may use; small graphs are fastest with 1.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        decoder = Decoder.open(Path(folder), threads)
        decoder.check_golden()
        return cls(decoder)

    @property
    def card(self) -> ModelCard:
        """The card of the model: its image shape, code size, quality and provenance."""
        return self._decoder.card

    def decode(self, bitstream: bytes, *, framing: Framing = "full") -> DecodedImage:
        """Decode one image.

        Args:
            bitstream: the `bitstream` of an `Encoded`.
            framing: `full`, or `raw` for a payload without header and checksum.

        Raises:
            CodeError: the bitstream cannot be decoded; InvalidCode, ModelMismatch and others.
        """
        decode = self._decoder.decode if framing == "full" else self._decoder.decode_raw
        decoded: DecodedImage = decode([bitstream])[0].view(DecodedImage)
        return decoded

    def decode_many(self, container: bytes | Iterable[bytes]) -> Iterator[DecodedImage]:
        """Decode a container, image by image, in order.

        Args:
            container: bytes of the container, at once or in pieces of any length.

        Raises:
            CodeError: the container cannot be decoded. With DamagedChunk, all images before the damage were yielded.
        """
        for pixels in self._decoder.decode_batch([container] if isinstance(container, bytes) else container):
            for item in pixels:
                yield item.view(DecodedImage)

    def decode_code(self, code: Sequence[float] | np.ndarray[Any, np.dtype[np.floating]]) -> DecodedImage:
        """Decode a code, which need not be quantized, nor the code of any image.

        Args:
            code: `code_size` numbers, as the `code` of an `Encoded`.

        Raises:
            InvalidVector: another number of elements, or a number that is not finite.
        """
        values = code.tolist() if isinstance(code, np.ndarray) else code
        return self._decoder.decode_vector(values).view(DecodedImage)
