"""What sender and receiver compute alike: which table codes each symbol, and the means that symbols are differences to.

A part's z is coded first; from it comes a mean and a scale for each latent. The latents' symbols are coded in four
passes, and those of a pass correct means and scales of the next ones: the first group of channels on black squares
(row + column even), the same on white ones, the other channels on black squares, and on white ones.

Tables come from integers alone: from `entropy.onnx`, whose results are the same integers on every machine, and from
`tables.json`. Means are floats, and bear on pixels only.
"""

import binascii
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from latentwire.entropy.coder_tables import Integers, Tables
from latentwire.errors import GoldenMismatch
from latentwire.model.any_size_card import (
    ENTROPY_FILE,
    MAX_QUARTERS,
    SCALE_TABLES,
    AnySizeCard,
    EntropyTables,
    load_tables,
)
from latentwire.model.onnx_session import Floats, MapGraph, open_map_graph

# Means and their corrections are integers in this unit.
MEAN_UNIT = np.float32(1 / 32)

HYPER_LIMIT = 127  # magnitude of z
SQUASHED_LIMIT = 127

GOLDEN_SIDE = 4  # of the fixed input of `entropy.onnx`


class Pass(NamedTuple):
    """What a sender or a receiver is asked for: the symbols of one pass.

    Attributes:
        channels: of the latents.
        squares: positions of the pass, among rows × columns.
        tables: number of the scale table of each symbol, uint8 (channels × squares).
        coded: which of them are coded; the others are 0.
        mean: float32 (channels × squares), in quantization steps.
    """

    channels: slice
    squares: Integers
    tables: npt.NDArray[np.uint8]
    coded: npt.NDArray[np.bool_]
    mean: Floats

    @property
    def coded_tables(self) -> Integers:
        """The numbers of those that are coded, int64 (n)."""
        return self.tables[self.coded].astype(np.int64)


# A sender quantizes and writes the symbols of a pass, a receiver reads them: int64 (channels × squares).
Exchange = Callable[[Pass], Integers]


class Walked(NamedTuple):
    """The result of a part.

    Attributes:
        latents: quantized, float32 (latents, h, w), in quantization steps.
        check: CRC-16 of all scale tables' numbers.
    """

    latents: Floats
    check: int


class EntropyModel:
    """The entropy model of one model."""

    def __init__(self, tables: EntropyTables, graph: MapGraph) -> None:
        self.tables = tables
        # The scale tables, and then those of z.
        self.coder_tables = Tables([*tables.scale_tables, *tables.hyper_tables])
        self._graph = graph

    @classmethod
    def open(cls, folder: Path, card: AnySizeCard, threads: int = 1) -> Self:
        """Open `tables.json` and `entropy.onnx`, and check that this machine computes the integers that the card says.

        Raises:
            ModelError: a file is missing, is not what the card says, or does not compute what the card says.
        """
        tables = load_tables(folder, card)
        inputs, outputs = entropy_signature(tables)
        model = cls(tables, open_map_graph(folder / ENTROPY_FILE, card.entropy, inputs, outputs, threads))
        if model.golden_sha256() != card.golden.entropy_sha256:
            raise GoldenMismatch(
                f"{ENTROPY_FILE} of model '{card.name}' does not give its golden integers on this machine, which "
                "therefore cannot exchange bitstreams with others"
            )
        return model

    def hyper_numbers(self, height: int, width: int) -> Integers:
        """Return the numbers of the tables that code z of this size, int64 (hyper latents × height × width)."""
        return np.repeat(SCALE_TABLES + np.arange(self.tables.hyper_latents), height * width)

    def walk(self, z: Integers, quality: int, height: int, width: int, exchange: Exchange) -> Walked:
        """Go through the symbols of one part.

        Args:
            z: int64 (hyper latents, a, b).
            quality: its index, 0 to 255.
            height: rows of latents.
            width: columns of latents.
            exchange: gives the symbols of each pass.
        """
        latents, first = self.tables.latents, self.tables.first_group
        below = self._graph.run("means_and_scales", z=z[None].astype(np.float32))[0, :, :height, :width]
        below = below.reshape(2 * latents, -1)
        mean = below[:latents] * (self.tables.gains(quality)[0] * MEAN_UNIT)[:, None]
        offset = self.tables.offset(quality).astype(np.float32)
        quarters = np.clip(below[latents:] + offset[:, None], 0, MAX_QUARTERS)
        scales = quarters.reshape(1, latents, height, width)
        is_white = (np.arange(height)[:, None] + np.arange(width)) % 2 == 1
        black, white = np.flatnonzero(~is_white), np.flatnonzero(is_white)

        seen = np.zeros((latents, height * width), np.float32)
        checks = 0xFFFF

        def code(channels: slice, squares: Integers, corrections: Floats | None) -> Integers:
            nonlocal checks
            means, quarter = mean[channels].take(squares, 1), quarters[channels].take(squares, 1)
            if corrections is not None:
                chosen = corrections[0].reshape(2, len(means), -1).take(squares, 2)
                means += chosen[0] * MEAN_UNIT
                quarter += chosen[1]
                np.clip(quarter, 0, MAX_QUARTERS, out=quarter)
            nearest = np.minimum(quarter.ravel() + 2, MAX_QUARTERS).astype(np.uint8) >> 2
            checks = binascii.crc_hqx(nearest, checks)
            asked = Pass(channels, squares, nearest, nearest >= self.tables.skip_below, means.ravel())
            found = exchange(asked).reshape(means.shape)
            means += found
            mean[channels, squares] = means
            return found

        def near(channels: slice, squares: Integers, found: Integers) -> Floats:
            """Return what the context sees of all symbols of these channels, with those that were found now."""
            seen[channels, squares] = squash(found)
            signed = seen[channels].reshape(1, -1, height, width)
            return np.concatenate([signed, np.abs(signed)], 1)

        leading, others = slice(0, first), slice(first, latents)
        around = near(leading, black, code(leading, black, None))
        corrections = self._graph.run("corrections_1", keep_memory=True, symbols_1=around, scales_1=scales[:, :first])
        around = near(leading, white, code(leading, white, corrections))
        corrections = self._graph.run("corrections_2", keep_memory=True, symbols_2=around, scales_2=scales)
        around = np.concatenate([around, near(others, black, code(others, black, corrections))], 1)
        corrections = self._graph.run("corrections_3", symbols_3=around, scales_3=scales)
        code(others, white, corrections)
        return Walked(mean.reshape(latents, height, width), checks)

    def golden_sha256(self) -> str:
        """Return the SHA-256 (hex) of what `entropy.onnx` gives for a fixed input, as int32, little-endian.

        The input is extreme: it has the largest magnitudes that each input can have, in a fixed pattern.
        """
        inputs, outputs = entropy_signature(self.tables)
        values = {name: _golden_input(name, channels) for name, channels in inputs.items()}
        digest = hashlib.sha256()
        for output in outputs:
            digest.update(np.rint(self._graph.run(output, keep_memory=False, **values)).astype("<i4").tobytes())
        return digest.hexdigest()


def entropy_signature(tables: EntropyTables) -> tuple[dict[str, int], dict[str, int]]:
    """Return the names and channels of the inputs and outputs of `entropy.onnx`."""
    latents, first = tables.latents, tables.first_group
    others = latents - first
    inputs = {"z": tables.hyper_latents, "symbols_1": 2 * first, "scales_1": first, "symbols_2": 2 * first}
    inputs |= {"scales_2": latents, "symbols_3": 2 * latents, "scales_3": latents}
    outputs = {"means_and_scales": 2 * latents, "corrections_1": 2 * first}
    return inputs, outputs | {"corrections_2": 2 * others, "corrections_3": 2 * others}


def squash(symbols: Integers) -> Floats:
    """Return 16 log2(1 + |symbol|), rounded, at most 127, with the sign of the symbol: float32 of symbols' shape.

    The context sees these and their magnitudes.
    """
    most = len(_SQUASHED) // 2
    signed: Floats = _SQUASHED[np.clip(symbols, -most, most)]
    return signed


def _squash_table() -> Floats:
    # 16 log2(1 + n) is never halfway between two integers, and from 240 on at least 127.
    sizes = np.minimum(np.rint(16 * np.log2(1 + np.arange(256))), SQUASHED_LIMIT).astype(np.float32)
    # Negative symbols count from the end of the table.
    return np.concatenate([sizes, -sizes[:0:-1]])


_SQUASHED = _squash_table()


def _golden_input(name: str, channels: int) -> Floats:
    """Return the fixed input of this name: its bounds in the pattern of the bits of SHAKE-256 of its name."""
    low, high = (0, MAX_QUARTERS) if name.startswith("scales") else (-HYPER_LIMIT, HYPER_LIMIT)
    count = channels * GOLDEN_SIDE * GOLDEN_SIDE
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(name.encode()).digest(-(-count // 8)), np.uint8))[:count]
    values = np.where(bits == 1, high, low).astype(np.float32)
    return values.reshape(1, channels, GOLDEN_SIDE, GOLDEN_SIDE)
