"""Images -> bitstreams. A sender needs this module, and not `latentwire.decoder`."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from latentwire.entropy import quantizer
from latentwire.entropy.arithmetic import coder_of
from latentwire.entropy.symbols import Symbols
from latentwire.errors import GoldenMismatch
from latentwire.format import bitstream, lossless
from latentwire.format.chunk_coder import ChunkCoder
from latentwire.format.container import Chunk
from latentwire.format.container_writer import ContainerWriter
from latentwire.imaging import image
from latentwire.model.card import ModelCard, load_card
from latentwire.model.onnx_session import OnnxModel, open_half
from latentwire.model.signature import Signers
from latentwire.options import Fit
from latentwire.timing import timed_stage

# Floating point differs a little between processors; a wrong graph differs by far more.
GOLDEN_SYMBOL_TOLERANCE = 1


class EncodedImage(NamedTuple):
    """One encoded image.

    Attributes:
        y: code before quantization, float32 (code size).
        payload: coded symbols, or the lossless image; what is sent under the raw framing.
        bitstream: payload with header and checksum; what is sent under the full framing.
        ideal_bits: length in bits that the model's tables give the symbols; that of the payload for a lossless image.
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
    def open(cls, folder: Path, threads: int = 1, signers: Signers | None = None) -> Self:
        """Open `folder/card.json` and `folder/encoder.onnx`.

        Args:
            folder: of the model.
            threads: number of threads that one run of the graph may use.
            signers: those one of whom must have signed the card; None uses the card of anyone.

        Raises:
            ModelError: a file is missing, or is not what the card says, or is not signed as `signers` demand.
        """
        card = load_card(folder, signers)
        return cls(card, open_half(folder, card, "encoder", threads))

    def encode_file(self, data: bytes, fit: Fit = "strict") -> EncodedImage:
        """Encode the bytes of one image file; see `latentwire.imaging.reader.ImageReader` for the arguments.

        Raises:
            ImageError: the bytes are not an image, or the image does not fit this model, or has no code.
        """
        return self.encode(image.read_image(data, self.card.image, fit)[None])[0]

    def encode(self, pixels: image.Pixels) -> list[EncodedImage]:
        """Encode uint8 (N, H, W, C) pixels of the model's shape, each image on its own.

        Raises:
            UncodableImage: the code of an image has a symbol of more than 32 bits.
        """
        return self._code(self.y(pixels))

    def encode_lossless(self, pixels: image.Pixels) -> list[EncodedImage]:
        """Encode uint8 (N, H, W, C) pixels of the model's shape losslessly, each image on its own.

        This takes about a hundred times the bytes, and is for images that the model cannot reproduce.
        """
        payloads = [lossless.write_payload(item) for item in pixels]
        return [
            self._frame(y, payload, 8.0 * len(payload)) for y, payload in zip(self.y(pixels), payloads, strict=True)
        ]

    def encode_batch(self, pixels: Iterable[image.Pixels], announced: int = 0) -> Iterator[bytes]:
        """Encode many images into a container, with one chunk in memory at a time.

        Args:
            pixels: arrays of uint8 (N, H, W, C), of any N and the model's shape.
            announced: number of all images, 0 if unknown.

        Yields:
            The container's bytes, in pieces.

        Raises:
            UncodableImage: the code of an image has a symbol of more than 32 bits.
        """
        writer = self.open_container(announced)
        for block in pixels:
            for part in image.slices(block, self.card.image):
                if ready := writer.add(self.encode_chunk(part)):
                    yield ready
        yield writer.finish()

    def encode_chunk(self, pixels: image.Pixels) -> Chunk:
        """Encode images, uint8 (N, H, W, C), for a container; see `image.slices` for how many.

        Raises:
            UncodableImage: the code of an image has a symbol of more than 32 bits.
        """
        return Chunk(quantizer.quantize(self.y(pixels), self.card.quantizer))

    def ideal_bits(self, symbols: Symbols) -> npt.NDArray[np.float64]:
        """Return the ideal code lengths, float64 (N), of symbols, int64 (N, code size); see `ArithmeticCoder`."""
        return self._coder.ideal_bits(symbols)

    def open_container(self, announced: int = 0) -> ContainerWriter:
        """Begin a container of this model; `announced` is the number of images, 0 if unknown."""
        return ContainerWriter(self._chunks, self.card.fingerprint, announced)

    def y(self, pixels: image.Pixels) -> npt.NDArray[np.float32]:
        """Return the codes before quantization, float32 (N, code size), of uint8 (N, H, W, C) pixels."""
        return self.y_of(image.to_x(pixels))

    def y_of(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the codes before quantization, float32 (N, code size), of x, float32 (N, C, H, W) in [0, 1]."""
        return self._graph.run(x)

    def check_golden(self) -> None:
        """Encode the card's golden image, and compare its symbols with those in the card.

        Raises:
            GoldenMismatch: a symbol differs by more than 1.
        """
        golden = self.card.golden
        pixels = image.read_image(base64.b64decode(golden.image_png_base64), self.card.image)
        symbols = quantizer.quantize(self.y(pixels[None]), self.card.quantizer)[0]
        if np.abs(symbols - np.array(golden.symbols)).max() > GOLDEN_SYMBOL_TOLERANCE:
            raise GoldenMismatch(f"the encoder of model '{self.card.name}' does not give its golden symbols")

    @timed_stage("entropy")
    def _code(self, codes: npt.NDArray[np.float32]) -> list[EncodedImage]:
        return [
            self._frame(y, *self._coder.encode(symbols))
            for y, symbols in zip(codes, quantizer.quantize_lists(codes, self.card.quantizer), strict=True)
        ]

    def _frame(self, y: npt.NDArray[np.float32], payload: bytes, ideal_bits: float) -> EncodedImage:
        return EncodedImage(y, payload, bitstream.write_bitstream(payload, self.card.fingerprint), ideal_bits)
