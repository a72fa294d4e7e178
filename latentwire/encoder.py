"""Images -> bitstream. A sender needs this half, and never imports the other."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from latentwire.entropy import quantizer
from latentwire.entropy.arithmetic import Symbols, coder_of
from latentwire.errors import GoldenMismatch
from latentwire.format import bitstream, lossless
from latentwire.format.container import Chunk, ChunkCoder, ContainerWriter
from latentwire.imaging import image
from latentwire.model.card import ENCODER_FILE, ModelCard, load_card
from latentwire.model.onnx_session import OnnxModel, open_onnx
from latentwire.options import Fit

GOLDEN_SYMBOL_TOLERANCE = 1


class EncodedImage(NamedTuple):
    """One image's code.

    `y` is float32 (code size). `payload` (raw framing) holds the coded symbols, or the image losslessly. `bitstream`
    (full framing) also names the model. `ideal_bits` is the code length that the model's tables give the symbols; for a
    lossless image it is the length of the payload.
    """

    y: npt.NDArray[np.float32]
    payload: bytes
    bitstream: bytes
    ideal_bits: float


class Encoder:
    """The sender's half of a model."""

    def __init__(self, card: ModelCard, graph: OnnxModel) -> None:
        self.card = card
        self._graph = graph
        self._coder = coder_of(card.tables)
        self._chunks = ChunkCoder(card.tables, card.image)

    @classmethod
    def open(cls, folder: Path, threads: int = 1) -> Self:
        """Open `folder/card.json` and `folder/encoder.onnx`; the decoder's file is not looked at.

        Args:
            folder: of the model.
            threads: that the graph may use within one run.

        Raises:
            ModelError: a file is missing, or is not what the card says.
        """
        card = load_card(folder)
        height, width, channels = card.image.as_tuple()
        graph = open_onnx(folder / ENCODER_FILE, card.encoder, (channels, height, width), (card.code_size,), threads)
        return cls(card, graph)

    def encode_file(self, data: bytes, fit: Fit = "strict", max_pixels: int = image.DEFAULT_MAX_PIXELS) -> EncodedImage:
        """Encode the bytes of one image file; see `latentwire.imaging.image.read_image` for the arguments.

        Raises:
            ImageError: the bytes are not an image, not one that fits this model, or one whose code cannot be sent.
        """
        return self.encode(image.read_image(data, self.card.image, fit, max_pixels)[None])[0]

    def encode(self, pixels: image.Pixels) -> list[EncodedImage]:
        """Encode uint8 (N, H, W, C) pixels of the model's shape, one code for each image.

        Raises:
            UncodableImage: one of the images has a code that lies too far out.
        """
        encoded = []
        for y in self.y(pixels):
            symbols = quantizer.quantize_one(y.tolist(), self.card.quantizer)
            encoded.append(self._frame(y, *self._coder.encode_one(symbols)))
        return encoded

    def encode_lossless(self, pixels: image.Pixels) -> list[EncodedImage]:
        """Encode uint8 (N, H, W, C) pixels of the model's shape losslessly: codes that give back these very pixels.

        They have some hundred times the bytes, and are for images that the model makes something else of.
        """
        payloads = [lossless.write_payload(one) for one in pixels]
        return [
            self._frame(y, payload, 8.0 * len(payload)) for y, payload in zip(self.y(pixels), payloads, strict=True)
        ]

    def encode_batch(self, pixels: Iterable[image.Pixels], announced: int = 0) -> Iterator[bytes]:
        """Encode many images into a container, chunk by chunk; one chunk's codes are held at a time.

        Args:
            pixels: arrays of uint8 (N, H, W, C), of any N and the model's shape.
            announced: number of all images, if it is known.

        Yields:
            The container's bytes, in pieces.

        Raises:
            UncodableImage: one of the images has a code that lies too far out.
        """
        writer = self.open_container(announced)
        for block in pixels:
            for part in image.slices(block, self.card.image):
                if ready := writer.add(self.encode_chunk(part)):
                    yield ready
        yield writer.finish()

    def encode_chunk(self, pixels: image.Pixels) -> Chunk:
        """Encode a few images, uint8 (N, H, W, C), for a container; see `image.slices` for how few.

        Raises:
            UncodableImage: one of the images has a code that lies too far out.
        """
        return Chunk(quantizer.quantize(self.y(pixels), self.card.quantizer))

    def ideal_bits(self, symbols: Symbols) -> npt.NDArray[np.float64]:
        """Return the ideal code lengths, float64 (N), of symbols, int64 (N, code size); see `ArithmeticCoder`."""
        return self._coder.ideal_bits(symbols)

    def open_container(self, announced: int = 0) -> ContainerWriter:
        """Begin a container of this model's codes; `announced` is the number of images, if it is known."""
        return ContainerWriter(self._chunks, self.card.fingerprint, announced)

    def y(self, pixels: image.Pixels) -> npt.NDArray[np.float32]:
        """Return the codes before quantization, float32 (N, code size), of uint8 (N, H, W, C) pixels."""
        return self._graph.run(image.to_x(pixels))

    def check_golden(self) -> None:
        """Encode the card's golden image and compare.

        Raises:
            GoldenMismatch: a symbol is off by more than 1.
        """
        golden = self.card.golden
        pixels = image.read_image(base64.b64decode(golden.image_png_base64), self.card.image)
        symbols = quantizer.quantize(self.y(pixels[None]), self.card.quantizer)[0]
        if np.abs(symbols - np.array(golden.symbols)).max() > GOLDEN_SYMBOL_TOLERANCE:
            raise GoldenMismatch(f"the encoder of model '{self.card.name}' does not give its golden code")

    def _frame(self, y: npt.NDArray[np.float32], payload: bytes, ideal_bits: float) -> EncodedImage:
        return EncodedImage(y, payload, bitstream.write_bitstream(payload, self.card.fingerprint), ideal_bits)
