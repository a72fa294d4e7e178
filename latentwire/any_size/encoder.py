"""Images of any size -> payloads. The sender's half, which needs neither decoder.onnx nor its code."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from latentwire.any_size.entropy_model import HYPER_LIMIT, EntropyModel, Pass
from latentwire.any_size.part_reader import read_part
from latentwire.any_size.refiner import Refiner
from latentwire.any_size.tiles import tile_pixels, with_margin
from latentwire.entropy.coder_tables import Integers
from latentwire.entropy.lanes import SymbolWriter, best_lanes
from latentwire.errors import GoldenMismatch, ImageMismatch, UncodableImage
from latentwire.format.alpha import write_alphas
from latentwire.format.any_size import (
    MAX_SIDE,
    STRIDE,
    Header,
    Part,
    ends_row,
    has_lanes_byte,
    parts_of,
    read_payload,
    write_payload,
)
from latentwire.imaging import image
from latentwire.imaging.reader import AnySizeReader
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ENCODER_FILE
from latentwire.model.onnx_session import PIXELS, Floats, MapGraph, open_map_graph
from latentwire.timing import timed_stage

MAX_SYMBOL = 32_000

NOT_FINITE = "the image cannot be encoded: a latent is not a finite number"

# Quantization explains a mean distance of 1/4 of a step.
GOLDEN_MEAN_DISTANCE = 0.5


class CodedPart(NamedTuple):
    """One part at one quality.

    Attributes:
        body: what is sent of it; empty if only the ideal code length was asked for.
        ideal_bits: by the probabilities of the model.
        latents: what a receiver gets, float32 (latents, h, w), in quantization steps.
    """

    body: bytes
    ideal_bits: float
    latents: Floats


class SymbolMaps(NamedTuple):
    """The symbols of one part, and how they are coded.

    Attributes:
        symbols: int64 (latents, h, w).
        tables: number of the scale table of each symbol, of the same shape.
        coded: which of them are coded; the others are 0.
    """

    symbols: Integers
    tables: Integers
    coded: npt.NDArray[np.bool_]


class Quantized(NamedTuple):
    """The symbols of one part, written, and what a receiver gets by them.

    Attributes:
        passes: each, and its symbols, int64 (channels × squares).
        latents: what a receiver gets, float32 (latents, h, w), in quantization steps.
        writer: has been given z and the symbols.
        check: of all scale tables' numbers.
    """

    passes: list[tuple[Pass, Integers]]
    latents: Floats
    writer: SymbolWriter
    check: int

    def maps(self) -> SymbolMaps:
        """Return the symbols of all passes by their places."""
        shape = self.latents.shape
        maps = SymbolMaps(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_))
        for asked, symbols in self.passes:
            place = asked.channels, *np.divmod(asked.squares, shape[2])
            for whole, values in zip(maps, (symbols, asked.tables, asked.coded), strict=True):
                whole[place] = values.reshape(whole[place].shape)
        return maps


class CodedImage(NamedTuple):
    """An image at one quality.

    Attributes:
        header: of the payload.
        payload: what is sent.
        ideal_bits: of all symbols, by the probabilities of the model, and of the alpha.
    """

    header: Header
    payload: bytes
    ideal_bits: float


class AnySizeEncoder:
    """The sender's half of a model for images of any size. Several threads may use one."""

    def __init__(
        self, card: AnySizeCard, entropy: EntropyModel, graph: MapGraph, refiner: Refiner | None = None
    ) -> None:
        self.card = card
        self.entropy = entropy
        self.refiner = refiner
        self._graph = graph

    @classmethod
    def open(cls, folder: Path, card: AnySizeCard, threads: int = 1, entropy: EntropyModel | None = None) -> Self:
        """Open `encoder.onnx`, `entropy.onnx`, `tables.json`, and `refiner.onnx` if there is one, in `folder`.

        Args:
            folder: of the model.
            card: its card.
            threads: number of threads that one run of a graph may use.
            entropy: the entropy model, if it is open already.

        Raises:
            ModelError: a file is missing, or is not what the card says.
        """
        entropy = entropy or EntropyModel.open(folder, card, threads)
        tables = entropy.tables
        inputs, outputs = {PIXELS: 3, "gained": tables.latents}, {"latents": tables.latents}
        outputs["hyper"] = tables.hyper_latents
        graph = open_map_graph(folder / ENCODER_FILE, card.encoder, inputs, outputs, threads, STRIDE)
        return cls(card, entropy, graph, Refiner.open(folder, card, tables.latents, entropy.coder_tables, threads))

    def quality_index(self, quality: float) -> int:
        """Return the index, 0 to 255, of a quality from 0 to 100."""
        return round(self.entropy.tables.best_quality * quality / 100)

    def quality_of(self, index: int) -> float:
        """Return the quality, 0 to 100, of an index."""
        return 100 * index / self.entropy.tables.best_quality

    def header(self, pixels: image.Pixels, quality: int) -> Header:
        """Return the header of an image, uint8 (H, W, C), at a quality index.

        Raises:
            ImageMismatch: a side is 0 or over 65,535, or the image has other than 1 to 4 channels.
        """
        height, width, channels = pixels.shape
        if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
            raise ImageMismatch(f"the image has {width:,} × {height:,} pixels; a side has 1 to {MAX_SIDE:,}")
        if channels == 1 or channels == 2 or channels == 3 or channels == 4:
            return Header(height, width, channels, quality)
        raise ImageMismatch(
            f"the image has {channels} channels; this model takes 1, which is grey, 3, RGB, or these and alpha"
        )

    def encode(self, pixels: image.Pixels, quality: int) -> CodedImage:
        """Encode an image, uint8 (H, W, C), at a quality index, part by part, with one part in memory at a time.

        Args:
            pixels: uint8 (H, W, C), C being 1 for grey, 3 for RGB, and 2 and 4 for these with alpha.
            quality: index, 0 to 255.

        Raises:
            ImageMismatch: the image has a size or a number of channels that the format does not have.
            UncodableImage: a latent is not finite.
        """
        header = self.header(pixels, quality)
        latents = (self.analyse(pixels, header, part) for part in parts_of(header))
        return self.encode_latents(header, latents, write_alphas(pixels, header))

    def encode_latents(self, header: Header, latents: Iterable[Floats], alphas: Iterable[bytes]) -> CodedImage:
        """Code the latents of an image's parts, each of `analyse`, at the header's quality, after those of `alphas`."""
        bodies, ideal_bits = [], 0.0
        for part, alpha in zip(latents, alphas, strict=True):
            coded = self.encode_part(part, header.quality)
            bodies.append(alpha + coded.body)
            ideal_bits += 8 * len(alpha) + coded.ideal_bits
        return CodedImage(header, write_payload(header, bodies), ideal_bits)

    def analyse(self, pixels: image.Pixels, header: Header, part: Part) -> Floats:
        """Return the latents of a part before the gain, float32 (latents, h, w).

        Raises:
            UncodableImage: a latent is not finite.
        """
        tile = with_margin(part, header, self.card.margins.encoder)
        keep_memory = not ends_row(part, header)
        latents = self._graph.run("latents", keep_memory=keep_memory, pixels=tile_pixels(pixels, tile))[0]
        inner: Floats = latents[:, tile.inner[0], tile.inner[1]]
        if not np.isfinite(inner).all():
            raise UncodableImage(NOT_FINITE)
        return inner

    @timed_stage("entropy")
    def encode_part(self, latents: Floats, quality: int, *, only_measure: bool = False) -> CodedPart:
        """Code the latents of a part, float32 (latents, h, w) before the gain.

        Args:
            latents: of `analyse`.
            quality: index, 0 to 255.
            only_measure: give the ideal code length, and no body.

        Raises:
            UncodableImage: a latent is too large.
        """
        y = latents * self.entropy.tables.gains(quality)[0][:, None, None]
        return self.finish(self.quantize(y, self.hyper(y), quality), only_measure=only_measure)

    def hyper(self, y: Floats) -> Integers:
        """Return z, int64 (hyper latents, a, b), of latents after the gain, float32 (latents, h, w).

        Raises:
            UncodableImage: a latent is too large.
        """
        hyper = self._graph.run("hyper", keep_memory=True, gained=y[None])[0]
        if not np.isfinite(hyper).all():
            raise UncodableImage(NOT_FINITE)
        z: Integers = np.rint(np.clip(hyper, -HYPER_LIMIT, HYPER_LIMIT)).astype(np.int64)
        return z

    def quantize(self, y: Floats, z: Integers, quality: int) -> Quantized:
        """Round latents after the gain, float32 (latents, h, w), to the symbols that are nearest by the means of z.

        Args:
            y: the latents.
            z: of `hyper`.
            quality: index, 0 to 255.
        """
        entropy, (_, height, width) = self.entropy, y.shape
        y = y.reshape(len(y), -1)
        passes = []
        writer = SymbolWriter(entropy.coder_tables)
        writer.write(entropy.hyper_numbers(*z.shape[1:]), z.ravel())

        def exchange(asked: Pass) -> Integers:
            rest = y[asked.channels].take(asked.squares, 1).ravel()
            rest -= asked.mean
            np.rint(rest, out=rest)
            np.clip(rest, -MAX_SYMBOL, MAX_SYMBOL, out=rest)
            rest *= asked.coded
            symbols: Integers = rest.astype(np.int64)
            writer.write(asked.coded_tables, symbols[asked.coded])
            passes.append((asked, symbols))
            return symbols

        walked = entropy.walk(z, quality, height, width, exchange)
        return Quantized(passes, walked.latents, writer, walked.check)

    @staticmethod
    def finish(quantized: Quantized, *, only_measure: bool = False) -> CodedPart:
        """Code symbols; without a body if only the ideal code length is asked for."""
        _, height, width = quantized.latents.shape
        body = b"" if only_measure else _body(quantized.writer, quantized.check, Part(0, 0, height, width))
        return CodedPart(body, quantized.writer.ideal_bits, quantized.latents)

    def check_golden(self) -> None:
        """Compare the latents of the card's golden image with those in its golden payload.

        Raises:
            GoldenMismatch: quantization does not explain their distance.
        """
        golden = self.card.golden
        pixels = AnySizeReader().read(base64.b64decode(golden.image_png_base64)).pixels
        header, bodies, _ = read_payload(base64.b64decode(golden.payload_base64))
        gain = self.entropy.tables.gains(header.quality)[0][:, None, None]
        for part, body in zip(parts_of(header), bodies, strict=True):
            expected = read_part(self.entropy, body or b"", part, header.quality)
            distance = np.abs(self.analyse(pixels, header, part) * gain - expected).mean()
            if not distance < GOLDEN_MEAN_DISTANCE:
                raise GoldenMismatch(f"the encoder of model '{self.card.name}' does not give its golden latents")


def _body(writer: SymbolWriter, check: int, part: Part) -> bytes:
    if not has_lanes_byte(part):
        return writer.finish(check, 1)
    lanes = best_lanes(writer.ideal_bits)
    return bytes((lanes,)) + writer.finish(check, lanes)
