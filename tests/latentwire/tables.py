"""Frequency tables and symbols for tests that need no model."""

import math
from collections.abc import Sequence

import numpy as np

from latentwire.entropy.symbols import Symbols
from latentwire.model.card import FREQUENCY_TOTAL, FrequencyTable


def peaked_table(first: int, size: int, scale: float, escape: int = 3) -> FrequencyTable:
    """A table of `size` symbols whose frequencies fall off on both sides of the middle one."""
    room = FREQUENCY_TOTAL - escape - size
    weights = [math.exp(-abs(at - size // 2) / scale) for at in range(size)]
    frequencies = [1 + int(room * weight / sum(weights)) for weight in weights]
    frequencies[size // 2] += FREQUENCY_TOTAL - escape - sum(frequencies)
    return FrequencyTable(first=first, frequencies=tuple(frequencies), escape=escape)


def draw_symbols(random: np.random.Generator, tables: Sequence[FrequencyTable], images: int) -> Symbols:
    """Draw symbols, int64 (images, code size), as often as the tables say; escapes come as far-off symbols."""
    columns = []
    for table in tables:
        entries = np.arange(len(table.frequencies) + 1)
        drawn = random.choice(entries, images, p=np.array([*table.frequencies, table.escape]) / FREQUENCY_TOTAL)
        far = random.integers(-(1 << 31), 1 << 31, images)
        beside = random.choice([table.first - 1, table.last + 1], images)
        outside = np.where((far >= table.first) & (far <= table.last) | (random.random(images) < 0.5), beside, far)
        columns.append(np.where(drawn == len(table.frequencies), outside, table.first + drawn))
    return np.stack(columns, axis=1).astype(np.int64)


def ideal_bytes(tables: Sequence[FrequencyTable], symbols: Symbols) -> float:
    """Sum -log2 of the probabilities that the tables give the symbols; escapes count without their distances."""
    bits = 0.0
    for table, column in zip(tables, symbols.T, strict=True):
        entries = np.where((column < table.first) | (column > table.last), -1, column - table.first)
        bits -= float(np.log2(np.array([*table.frequencies, table.escape])[entries] / FREQUENCY_TOTAL).sum())
    return bits / 8
