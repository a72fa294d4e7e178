"""Bitstreams -> images. A receiver needs this module, and not `latentwire.encoder`."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from latentwire.entropy import quantizer
from latentwire.entropy.arithmetic import coder_of
from latentwire.errors import GoldenMismatch, InvalidCode, InvalidVector
from latentwire.format import lossless
from latentwire.format.bitstream import read_bitstream
from latentwire.format.chunk_coder import ChunkCoder
from latentwire.format.container import Frame, PackedImages
from latentwire.format.container_reader import read_frames
from latentwire.imaging import image
from latentwire.model.card import ModelCard, check_fingerprint, load_card
from latentwire.model.onnx_session import OnnxModel, open_half
from latentwire.model.signature import Signers

# Floating point differs a little between processors; a wrong graph differs by far more.
GOLDEN_PIXEL_TOLERANCE = 2


class Decoder:
    """The receiver's half of a model."""

    def __init__(self, card: ModelCard, graph: OnnxModel) -> None:
        self.card = card
        self._graph = graph
        self._coder = coder_of(card.tables)
        self._chunks = ChunkCoder(card.tables, card.image)

    @classmethod
    def open(cls, folder: Path, threads: int = 1, signers: Signers | None = None) -> Self:
        """Open `folder/card.json` and `folder/decoder.onnx`.

        Args:
            folder: of the model.
            threads: number of threads that one run of the graph may use.
            signers: those one of whom must have signed the card; None uses the card of anyone.

        Raises:
            ModelError: a file is missing, or is not what the card says, or is not signed as `signers` demand.
        """
        card = load_card(folder, signers)
        return cls(card, open_half(folder, card, "decoder", threads))

    def decode(self, bitstreams: Sequence[bytes]) -> image.Pixels:
        """Decode N bitstreams, in the full framing, to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidCode: one of them is not a bitstream, or damaged.
            UnsupportedVersion: one of them has another version.
            ModelMismatch: another model made one of them.
        """
        return self.decode_raw([self._payload(bitstream) for bitstream in bitstreams])

    def decode_raw(self, payloads: Sequence[bytes]) -> image.Pixels:
        """Decode N payloads of this model, without header and checksum, to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidCode: one of them is not a payload that this model's encoder makes.
        """
        pixels = np.empty((len(payloads), *self.card.image.as_tuple()), dtype=np.uint8)
        for index, result in enumerate(self.decode_each(payloads)):
            if isinstance(result, InvalidCode):
                raise result
            pixels[index] = result
        return pixels

    def decode_each(self, payloads: Sequence[bytes]) -> list[image.Pixels | InvalidCode]:
        """Decode independent payloads, with one run of the graph.

        Returns:
            For each payload its uint8 (H, W, C) pixels, or the error that `decode_raw` raises for it.
        """
        results: dict[int, image.Pixels | InvalidCode] = {}
        symbols = {}
        for index, payload in enumerate(payloads):
            try:
                if lossless.is_lossless(payload):
                    results[index] = lossless.read_payload(payload, self.card.image)
                else:
                    symbols[index] = self._coder.decode(payload)
            except InvalidCode as error:
                results[index] = error
        if symbols:
            try:
                results.update(zip(symbols, self.decode_symbols(np.stack(list(symbols.values()))), strict=True))
            except InvalidCode as error:
                if len(payloads) == 1:
                    return [error]
                return [self.decode_each([payload])[0] for payload in payloads]
        return [results[index] for index in range(len(payloads))]

    def decode_batch(self, stream: Iterable[bytes]) -> Iterator[image.Pixels]:
        """Decode a container, with one chunk in memory at a time.

        Args:
            stream: bytes of the container, in pieces of any length.

        Yields:
            uint8 (N, H, W, C) pixels, of any N.

        Raises:
            InvalidCode: not a container, or one that contradicts itself.
            UnsupportedVersion: a container of another version.
            ModelMismatch: a container of another model.
            DamagedChunk: a chunk is damaged, or the container is cut short. All images before it have been yielded.
        """
        for frame in read_frames(stream, self.check_fingerprint):
            yield from self.decode_frame(frame)

    def decode_frame(self, frame: Frame) -> Iterator[image.Pixels]:
        """Decode one chunk of a container of this model.

        Yields:
            uint8 (N, H, W, C) pixels, of any N.

        Raises:
            DamagedChunk: the chunk is damaged.
        """
        chunk = self._chunks.unpack(frame)
        rest, done = chunk.symbols, 0
        for coded in image.slices(chunk.coded(), self.card.image, image.DECODE_BATCH_SIZE):
            pixels = np.empty((len(coded), *self.card.image.as_tuple()), dtype=np.uint8)
            try:
                if count := int(coded.sum()):
                    pixels[coded], rest = self.decode_symbols(rest[:count]), rest[count:]
                for index in np.flatnonzero(~coded).tolist():
                    payload = lossless.MARKER + chunk.payloads[done + index]
                    pixels[index] = lossless.read_payload(payload, self.card.image)
            except InvalidCode as error:
                raise frame.damaged(str(error)) from error
            done += len(coded)
            yield pixels

    def open_frame(self, frame: Frame, _max_pixels: int) -> Iterator[PackedImages]:
        """Yield the images of one chunk of a container of this model, together, to decode them as `decode_frame`."""
        yield PackedImages(len(frame.body), 0, self.decode_frame(frame))

    def decode_symbols(self, symbols: npt.NDArray[np.int64]) -> image.Pixels:
        """Decode symbols, int64 (N, code size), to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidCode: the decoder's output for one of them is not finite.
        """
        x_hat = self.x_hat(quantizer.dequantize(symbols, self.card.quantizer))
        if not np.isfinite(x_hat).all():
            raise InvalidCode("the decoder's output is not finite for these symbols")
        return image.to_pixels(x_hat)

    def decode_vectors(self, y: npt.NDArray[np.float32]) -> image.Pixels:
        """Decode codes that need not be quantized, float32 (N, code size), to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidVector: a number of a code, or of the decoder's output, is not finite.
        """
        if not np.isfinite(y).all():
            raise InvalidVector("the code has an element that is not a finite float32 number")
        x_hat = self.x_hat(y)
        if not np.isfinite(x_hat).all():
            raise InvalidVector("the decoder's output is not finite for this code")
        return image.to_pixels(x_hat)

    def decode_vector(self, vector: Sequence[float]) -> image.Pixels:
        """Decode a code that need not be quantized to uint8 (H, W, C) pixels.

        Raises:
            InvalidVector: not `code_size` numbers, or a number of the code, or of the decoder's output, is not a finite
                float32.
        """
        size = self.card.code_size
        if len(vector) != size:
            raise InvalidVector(f"the code has {len(vector)} elements; model '{self.card.name}' takes {size}")
        with np.errstate(over="ignore"):
            y = np.asarray(vector, dtype=np.float64).astype(np.float32)
        pixels: image.Pixels = self.decode_vectors(y[None])[0]
        return pixels

    def x_hat(self, y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the reconstructions, float32 (N, C, H, W), of codes, float32 (N, code size)."""
        return self._graph.run(y)

    def check_fingerprint(self, fingerprint: bytes) -> None:
        """Check that this model made a bitstream or a container.

        Raises:
            ModelMismatch: the fingerprint is not that of this model.
        """
        check_fingerprint(self.card, fingerprint)

    def check_golden(self) -> None:
        """Decode the card's golden symbols, and compare the pixels with those in the card.

        Raises:
            GoldenMismatch: a pixel differs by more than 2 of 255.
        """
        golden = self.card.golden
        expected = image.read_image(base64.b64decode(golden.reconstruction_png_base64), self.card.image)
        y_hat = quantizer.dequantize(np.array([golden.symbols]), self.card.quantizer)
        pixels = image.to_pixels(self.x_hat(y_hat))[0]
        if np.abs(pixels.astype(np.int16) - expected).max() > GOLDEN_PIXEL_TOLERANCE:
            raise GoldenMismatch(f"the decoder of model '{self.card.name}' does not give its golden image")

    def _payload(self, bitstream: bytes) -> bytes:
        parsed = read_bitstream(bitstream)
        self.check_fingerprint(parsed.fingerprint)
        return parsed.payload
