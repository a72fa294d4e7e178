"""The bitstream -> images. A receiver needs this half, and never imports the other."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from latentwire.entropy import quantizer
from latentwire.entropy.arithmetic import coder_of
from latentwire.errors import GoldenMismatch, InvalidCode, InvalidVector, ModelMismatch
from latentwire.format import lossless
from latentwire.format.bitstream import read_bitstream
from latentwire.format.container import ChunkCoder, Frame, FrameReader
from latentwire.imaging import image
from latentwire.model.card import DECODER_FILE, ModelCard, load_card
from latentwire.model.onnx_session import OnnxModel, open_onnx

GOLDEN_PIXEL_TOLERANCE = 2


class Decoder:
    """The receiver's half of a model."""

    def __init__(self, card: ModelCard, graph: OnnxModel) -> None:
        self.card = card
        self._graph = graph
        self._coder = coder_of(card.tables)
        self._chunks = ChunkCoder(card.tables, card.image)

    @classmethod
    def open(cls, folder: Path, threads: int = 1) -> Self:
        """Open `folder/card.json` and `folder/decoder.onnx`; the encoder's file is not looked at.

        Args:
            folder: of the model.
            threads: that the graph may use within one run.

        Raises:
            ModelError: a file is missing, or is not what the card says.
        """
        card = load_card(folder)
        height, width, channels = card.image.as_tuple()
        graph = open_onnx(folder / DECODER_FILE, card.decoder, (card.code_size,), (channels, height, width), threads)
        return cls(card, graph)

    def decode(self, bitstreams: Sequence[bytes]) -> image.Pixels:
        """Decode the bitstream of N images to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidCode: one of them is not bitstream, or damaged.
            UnsupportedVersion: one of them is of another version.
            ModelMismatch: one of them was made by another model.
        """
        return self.decode_raw([self._payload(bitstream) for bitstream in bitstreams])

    def decode_raw(self, payloads: Sequence[bytes]) -> image.Pixels:
        """Decode payloads of this very model, without header and checksum, to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidCode: one of them is not a payload that this model's encoder makes.
        """
        pixels = np.empty((len(payloads), *self.card.image.as_tuple()), dtype=np.uint8)
        for at, one in enumerate(self.decode_each(payloads)):
            if isinstance(one, InvalidCode):
                raise one
            pixels[at] = one
        return pixels

    def decode_each(self, payloads: Sequence[bytes]) -> list[image.Pixels | InvalidCode]:
        """Decode payloads that have nothing to do with each other, with one run of the graph.

        Returns:
            For each its uint8 (H, W, C) pixels, or what `decode_raw` raises for it.
        """
        each: dict[int, image.Pixels | InvalidCode] = {}
        symbols = {}
        for at, payload in enumerate(payloads):
            try:
                if lossless.is_lossless(payload):
                    each[at] = lossless.read_payload(payload, self.card.image)
                else:
                    symbols[at] = self._coder.decode(payload)
            except InvalidCode as error:
                each[at] = error
        if symbols:
            try:
                each.update(zip(symbols, self.decode_symbols(np.stack(list(symbols.values()))), strict=True))
            except InvalidCode as error:
                if len(payloads) == 1:
                    return [error]
                return [one for payload in payloads for one in self.decode_each([payload])]
        return [each[at] for at in range(len(payloads))]

    def decode_batch(self, stream: Iterable[bytes]) -> Iterator[image.Pixels]:
        """Decode a container; one chunk of it is held at a time.

        Args:
            stream: the container's bytes, in pieces of any length.

        Yields:
            uint8 (N, H, W, C) pixels, of any N.

        Raises:
            InvalidCode: not a container, or one that contradicts itself.
            UnsupportedVersion: a container of another version.
            ModelMismatch: a container of another model's codes.
            DamagedChunk: a chunk is damaged, or the container is cut short. What was yielded before is right.
        """
        reader = FrameReader()
        for piece in stream:
            reader.feed(piece)
            frame = reader.take()
            if reader.header is not None:
                self.check_fingerprint(reader.header.fingerprint)
            while frame is not None:
                yield from self.decode_frame(frame)
                frame = reader.take()
        reader.finish()

    def decode_frame(self, frame: Frame) -> Iterator[image.Pixels]:
        """Decode one chunk of a container of this model; yield uint8 (N, H, W, C) pixels.

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
                for at in np.flatnonzero(~coded).tolist():
                    pixels[at] = lossless.read_payload(lossless.MARKER + chunk.payloads[done + at], self.card.image)
            except InvalidCode as error:
                raise frame.damaged(str(error)) from error
            done += len(coded)
            yield pixels

    def decode_symbols(self, symbols: npt.NDArray[np.int64]) -> image.Pixels:
        """Decode symbols, int64 (N, code size), to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidCode: one of them lies so far out that the decoder has no image there.
        """
        x_hat = self.x_hat(quantizer.dequantize(symbols, self.card.quantizer))
        if not np.isfinite(x_hat).all():
            raise InvalidCode("the code lies so far out that the decoder has no image there")
        return image.to_pixels(x_hat)

    def decode_vectors(self, y: npt.NDArray[np.float32]) -> image.Pixels:
        """Decode points of the code space, float32 (N, code size), to uint8 (N, H, W, C) pixels.

        Raises:
            InvalidVector: a number that is not finite, or a point so far out that the decoder's own numbers overflow.
        """
        if not np.isfinite(y).all():
            raise InvalidVector("a code has an element that is not a finite float32 number")
        x_hat = self.x_hat(y)
        if not np.isfinite(x_hat).all():
            raise InvalidVector("a code lies so far out that the decoder has no image there")
        return image.to_pixels(x_hat)

    def decode_vector(self, vector: Sequence[float]) -> image.Pixels:
        """Decode any point of the code space, unquantized, to uint8 (H, W, C) pixels.

        Raises:
            InvalidVector: not `code_size` numbers, one that is not finite in float32, or a point so far out that
                the decoder's own numbers overflow there.
        """
        size = self.card.code_size
        if len(vector) != size:
            raise InvalidVector(f"the code has {len(vector)} elements; model '{self.card.name}' takes {size}")
        with np.errstate(over="ignore"):
            y = np.asarray(vector, dtype=np.float64).astype(np.float32)
        if not np.isfinite(y).all():
            raise InvalidVector("the code has an element that is not a finite float32 number")
        pixels: image.Pixels = self.decode_vectors(y[None])[0]
        return pixels

    def x_hat(self, y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the reconstructions, float32 (N, C, H, W), of codes, float32 (N, code size)."""
        return self._graph.run(y)

    def check_fingerprint(self, fingerprint: bytes) -> None:
        """Refuse codes of other models.

        Raises:
            ModelMismatch: the fingerprint is not that of this model.
        """
        if fingerprint != self.card.fingerprint:
            raise ModelMismatch(
                f"the code was made by the model with fingerprint {fingerprint.hex()}; "
                f"'{self.card.name}' has {self.card.fingerprint.hex()}"
            )

    def check_golden(self) -> None:
        """Decode the card's golden symbols and compare.

        Raises:
            GoldenMismatch: a pixel is off by more than 2 of 255.
        """
        golden = self.card.golden
        expected = image.read_image(base64.b64decode(golden.reconstruction_png_base64), self.card.image)
        y_hat = quantizer.dequantize(np.array([golden.symbols]), self.card.quantizer)
        pixels = image.to_pixels(self.x_hat(y_hat))[0]
        if np.abs(pixels.astype(np.int16) - expected).max() > GOLDEN_PIXEL_TOLERANCE:
            raise GoldenMismatch(f"the decoder of model '{self.card.name}' does not give its golden image")

    def _payload(self, bitstream: bytes) -> bytes:
        code = read_bitstream(bitstream)
        self.check_fingerprint(code.fingerprint)
        return code.payload
