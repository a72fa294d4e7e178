"""The receiver of the Python API: bitstreams -> images, without the encoder."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from latentwire.any_size.decoder import AnySizeDecoder, PartialImage
from latentwire.decoder import Decoder
from latentwire.errors import InvalidCode, InvalidVector
from latentwire.imaging import image
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from latentwire.model.card import ModelCard
from latentwire.options import Framing


class DecodedImage(np.ndarray[tuple[int, ...], np.dtype[np.uint8]]):
    """An image: an array of uint8 (H, W, C), with methods to write it.

    C is 1 for grey, 2 for grey with alpha, 3 for RGB and 4 for RGBA.
    """

    def to_png(self) -> bytes:
        """Return the image as the bytes of a PNG file."""
        return image.write_png(self._pixels())

    def to_webp(self) -> bytes:
        """Return the image as the bytes of a lossless WebP file."""
        return image.write_webp(self._pixels())

    def to_pillow(self) -> Image.Image:
        """Return the image as a Pillow image of the mode L, LA, RGB or RGBA."""
        return image.to_picture(self._pixels())

    def _pixels(self) -> image.Pixels:
        return np.asarray(self)


class Receiver:
    """Decodes bitstreams with the decoder of one model. A receiver does not load the encoder.

    Several threads may use one receiver.
    """

    def __init__(self, decoder: Decoder | AnySizeDecoder) -> None:
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
        path = Path(folder)
        card = load_any_card(path)
        decoder: Decoder | AnySizeDecoder
        if isinstance(card, AnySizeCard):
            decoder = AnySizeDecoder.open(path, card, threads)
        else:
            decoder = Decoder.open(path, threads)
        decoder.check_golden()
        return cls(decoder)

    @property
    def card(self) -> ModelCard | AnySizeCard:
        """The card of the model; its `kind` is `vector` or `any-size`."""
        return self._decoder.card

    def decode(self, bitstream: bytes, *, framing: Framing = "full") -> DecodedImage:
        """Decode one image.

        Args:
            bitstream: the `bitstream` of an `Encoded`.
            framing: `full`, or `raw` for a payload without header and checksum.

        Raises:
            CodeError: the bitstream cannot be decoded; InvalidCode, ModelMismatch and others.
        """
        decoder = self._decoder
        if isinstance(decoder, AnySizeDecoder):
            payload = bitstream if framing == "raw" else decoder.payload_of(bitstream)
            return decoder.decode_raw(payload).view(DecodedImage)
        decode = decoder.decode if framing == "full" else decoder.decode_raw
        decoded: DecodedImage = decode([bitstream])[0].view(DecodedImage)
        return decoded

    def decode_partial(self, bitstream: bytes, *, framing: Framing = "full") -> PartialImage:
        """Decode what is whole of an image of any size whose bitstream is cut short or damaged.

        Large images are sent in parts, about 1,024 × 1,024 pixels each, that are checked and decoded each on its own.

        Args:
            bitstream: as in `decode`, or the beginning of it.
            framing: as in `decode`.

        Returns:
            The image, and the rectangles of it that are missing.

        Raises:
            InvalidCode: no part is whole, or the model is a vector model.
            CodeError: as `decode`, but for what is damaged.
        """
        decoder = self._decoder
        if not isinstance(decoder, AnySizeDecoder):
            raise InvalidCode("the bitstream of a vector model has no parts")
        return decoder.decode_partly(bitstream if framing == "raw" else decoder.damaged_payload_of(bitstream))

    def decode_many(self, container: bytes | Iterable[bytes]) -> Iterator[DecodedImage]:
        """Decode a container, image by image, in order.

        Args:
            container: bytes of the container, at once or in pieces of any length.

        Raises:
            CodeError: the container cannot be decoded. With DamagedChunk, all images before the damage were yielded.
        """
        decoder, pieces = self._decoder, [container] if isinstance(container, bytes) else container
        if isinstance(decoder, AnySizeDecoder):
            for pixels in decoder.decode_batch(pieces):
                yield pixels.view(DecodedImage)
            return
        for many in decoder.decode_batch(pieces):
            for item in many:
                yield item.view(DecodedImage)

    def decode_code(self, code: Sequence[float] | np.ndarray[Any, np.dtype[np.floating]]) -> DecodedImage:
        """Decode a code, which need not be quantized, nor the code of any image.

        Args:
            code: `code_size` numbers, as the `code` of an `Encoded`.

        Raises:
            InvalidVector: another number of elements, or a number that is not finite.
        """
        decoder = self._decoder
        if isinstance(decoder, AnySizeDecoder):
            raise InvalidVector("a model for images of any size has no code of fixed length")
        values = code.tolist() if isinstance(code, np.ndarray) else code
        return decoder.decode_vector(values).view(DecodedImage)
