"""Better symbols for an image, found by the gradient of the decoder. A sender's matter: receivers see nothing of it.

Plain rounding chooses each symbol by itself. The error of a picture is a joint matter of neighbouring symbols, so a
symbol that is rounded the other way can make up for others. A pass computes how the squared error changes with each
latent, and how the bits do, and moves by 1 that symbol of each position that promises the most: one, as the promises
of neighbours do not add up. Where bits and error together come out worse, the pass is taken back, and the next one is
more careful.
"""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from latentwire.any_size.tiles import Tile, as_maps, tile_pixels, with_margin
from latentwire.any_size.transparency import has_alpha
from latentwire.entropy.coder_tables import Tables
from latentwire.errors import ModelError, ModelNotReady
from latentwire.format.any_size import STRIDE, Header, Part
from latentwire.imaging.image import Pixels
from latentwire.model.any_size_card import QUALITY_PARTS, REFINER_FILE, SCALE_TABLES, AnySizeCard, Refinement
from latentwire.model.card import FREQUENCY_BITS
from latentwire.model.model_files import read_file
from latentwire.model.onnx_session import Floats, MapGraph, open_map_graph

if TYPE_CHECKING:
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.any_size.encoder import AnySizeEncoder, CodedPart, SymbolMaps

# How many times the curvature of the error is expected, for the neighbours that move too; and how that goes on.
CARE, LESS_CARE, MORE_CARE = 2.0, 0.9, 1.5
# Larger symbols are not moved.
LARGEST = 400
# What a symbol costs more that is not in its table: 4 bits for the length of its distance.
_LENGTH_BITS = 4


class Move(NamedTuple):
    """The changes of the symbols that a pass tries, int64 (latents, h, w), and whether there is any."""

    changes: npt.NDArray[np.int64]
    is_any: bool


class Refiner:
    """Refines the symbols of parts. Several threads may use one."""

    def __init__(self, refinement: Refinement, tables: Tables, open_graph: Callable[[], MapGraph]) -> None:
        self._sensitivity = np.array(refinement.sensitivity)
        self._bits_per_error = np.log(refinement.bits_per_error)
        self._rises = np.diff(_costs(tables), axis=1)
        self._open_graph = open_graph

    @cached_property
    def _graph(self) -> MapGraph:
        # Opened when it is first used: many processes never refine, and it would be a fifteenth of the service's start.
        try:
            return self._open_graph()
        except ModelError as error:
            raise ModelNotReady(str(error)) from error

    @classmethod
    def open(cls, folder: Path, card: AnySizeCard, latents: int, tables: Tables, threads: int = 1) -> Self | None:
        """Check `refiner.onnx`; return None if the card has none.

        Raises:
            ModelError: the file is missing, or is not the one in the card.
        """
        if (refinement := card.refinement) is None:
            return None
        read_file(folder / REFINER_FILE, refinement.graph)
        inputs, outputs = {"latents": latents, "differences": 3}, {"gradient": latents}
        graph = partial(open_map_graph, folder / REFINER_FILE, refinement.graph, inputs, outputs, threads)
        return cls(refinement, tables, graph)

    def bits_per_error(self, quality: int) -> float:
        """Return how many bits a squared error of 1, summed over values in [0, 1], is worth at a quality index."""
        level = np.arange(len(self._bits_per_error))
        return float(np.exp(np.interp(quality / QUALITY_PARTS, level, self._bits_per_error)))

    def refine(
        self,
        encoder: "AnySizeEncoder",
        decoder: "AnySizeDecoder",
        pixels: Pixels,
        header: Header,
        part: Part,
        passes: int,
    ) -> "CodedPart":
        """Code a part of an image, with its symbols refined.

        Args:
            encoder: of the model.
            decoder: of the model.
            pixels: of the whole image, uint8 (H, W, C).
            header: of the payload.
            part: of the image.
            passes: how many changes are tried.

        Raises:
            ImageError: as `AnySizeEncoder.encode`.
            ModelNotReady: the graph cannot be opened.
            Cancelled: the work that this is a step of was given up.
        """
        quality = header.quality
        gain, inverse = (values[:, None, None] for values in encoder.entropy.tables.gains(quality))
        # Pixels of the margin bear on the part's symbols, and themselves need a margin to be right.
        reach = decoder.card.margins.decoder
        tile = with_margin(part, header, 2 * reach)
        outer = Part(tile.top, tile.left, tile.bottom - tile.top, tile.right - tile.left)
        analysed = encoder.analyse(pixels, header, outer)
        rows, columns = tile.inner
        y = analysed[:, rows, columns] * gain
        z = encoder.hyper(y)
        received = analysed * (gain * inverse)
        original, counted = as_maps(tile_pixels(pixels, tile)), _counted(pixels, tile, reach)
        worth = self.bits_per_error(quality)
        step = worth * inverse
        curvature = 2 * worth * self._sensitivity[:, None, None] * np.square(inverse)

        best, best_cost, gradient = encoder.quantize(y, z, quality), np.inf, np.zeros_like(y)
        tried, maps, care = best, best.maps(), CARE
        for number in range(passes + 1):
            received[:, rows, columns] = tried.latents * inverse
            differences = (_shown(decoder, received[None], header) - original) * counted
            cost = tried.writer.ideal_bits + worth * float(np.square(differences, dtype=np.float64).sum())
            if cost < best_cost:
                best, best_cost, care = tried, cost, max(1.0, care * LESS_CARE)
                if number < passes:
                    slopes = self._graph.run("gradient", latents=received[None], differences=differences)
                    gradient, maps = 2 * step * slopes[0, :, rows, columns], best.maps()
            else:
                care *= MORE_CARE
            if number == passes or not (move := self._move(maps, gradient, care * curvature / 2)).is_any:
                break
            # Means follow the symbols, so what is rounded is what a receiver has now, and the change.
            tried = encoder.quantize(best.latents + move.changes.astype(np.float32), z, quality)
        return encoder.finish(best)

    def _move(self, maps: "SymbolMaps", gradient: Floats, penalty: npt.NDArray[np.float64]) -> Move:
        """Return the changes that promise most.

        Args:
            maps: the symbols as they are.
            gradient: of the cost of the error, in bits, by each latent in quantization steps.
            penalty: what a change costs beside its gradient.
        """
        symbols, tables = maps.symbols, maps.tables
        place = np.clip(symbols, 1 - LARGEST, LARGEST - 1) + LARGEST
        up = self._rises[tables, place] + gradient
        down = -self._rises[tables, place - 1] - gradient
        gain = np.minimum(up, down) + penalty
        gain[~maps.coded | (np.abs(symbols) >= LARGEST - 1)] = 0
        moved = (gain < 0) & (gain == gain.min(0))
        return Move(np.where(moved, np.where(up < down, 1, -1), 0), bool(moved.any()))


def _costs(tables: Tables) -> Floats:
    """Return the bits of each symbol from -LARGEST to LARGEST by each scale table, about so for those outside."""
    symbols = np.arange(-LARGEST, LARGEST + 1)
    rows = []
    for number in range(SCALE_TABLES):
        first, last = tables.first[number], tables.last[number]
        bits = FREQUENCY_BITS - np.log2(np.array(tables.frequencies[number]))
        outside = np.maximum(first - symbols, symbols - last)
        escaped = bits[-1] + _LENGTH_BITS + np.floor(np.log2(2 * np.maximum(outside, 1)))
        rows.append(np.where(outside > 0, escaped, bits[np.clip(symbols - first, 0, last - first)]))
    return np.array(rows, np.float32)


def _shown(decoder: "AnySizeDecoder", received: Floats, header: Header) -> Floats:
    """Return what a receiver sees of latents: float32 (1, 3, h, w) in [0, 1], grey if the image is."""
    shown = as_maps(decoder.run(received))
    if header.colours == 1:
        shown[:] = shown.mean(1, keepdims=True)
    return shown


def _counted(pixels: Pixels, tile: Tile, reach: int) -> npt.NDArray[np.float32]:
    """Return which pixels of a tile count, of 0 and 1: those within reach of its part that somebody sees."""
    counted = np.zeros(((tile.bottom - tile.top) * STRIDE, (tile.right - tile.left) * STRIDE), np.float32)
    rows, columns = (slice(max(0, side.start - reach) * STRIDE, (side.stop + reach) * STRIDE) for side in tile.inner)
    counted[rows, columns] = 1
    seen = pixels[tile.top * STRIDE : tile.bottom * STRIDE, tile.left * STRIDE : tile.right * STRIDE]
    counted[seen.shape[0] :] = 0
    counted[:, seen.shape[1] :] = 0
    if has_alpha(seen):
        counted[: seen.shape[0], : seen.shape[1]] *= seen[:, :, -1] > 0
    return counted
