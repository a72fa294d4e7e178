"""`python -m benchmarks.container`: measure the speed of packing and unpacking containers, and their overhead.

Symbols are drawn by the frequencies of a model's tables, so that no data set is needed. Times are processor times of
one core, the best of several rounds, so that other work on the machine hardly matters. Overhead is everything beyond
the ideal code length: frames, checksums, lanes and rounding.
"""

import argparse
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.entropy.symbols import Symbols
from latentwire.errors import ModelError
from latentwire.format.chunk_coder import ChunkCoder
from latentwire.format.container import Chunk
from latentwire.format.container_reader import FrameReader
from latentwire.format.container_writer import ContainerWriter
from latentwire.model.card import FREQUENCY_TOTAL, ModelCard, load_card
from training.release.model_dir import find_vector_models

IMAGES = (10, 100, 1_000, 10_000)
ROUNDS = 3


class Row(NamedTuple):
    """One container: its bytes, and symbols per second of packing and unpacking, and of zlib for comparison."""

    images: int
    container_bytes: int
    ideal_bytes: float
    packed_per_s: float
    unpacked_per_s: float
    zlib_bytes: int
    zlib_per_s: float

    @property
    def overhead_bytes(self) -> float:
        """Bytes an image beyond the ideal code length."""
        return (self.container_bytes - self.ideal_bytes) / self.images


def draw_symbols(card: ModelCard, images: int, random: np.random.Generator) -> Symbols:
    """Draw symbols, int64 (images, code size), by the tables' frequencies; an escape is the symbol after the table."""
    columns = []
    for table in card.tables:
        chances = np.array([*table.frequencies, table.escape]) / FREQUENCY_TOTAL
        columns.append(table.first + random.choice(len(chances), images, p=chances))
    return np.stack(columns, axis=1).astype(np.int64)


def measure(card: ModelCard, images: int, rounds: int = ROUNDS) -> Row:
    """Pack and unpack the codes of `images` images.

    Raises:
        RuntimeError: unpacking gave other symbols.
    """
    symbols = draw_symbols(card, images, np.random.default_rng(images))
    coder = ChunkCoder(card.tables, card.image)
    pack_s, unpack_s, zlib_s = [], [], []
    for _ in range(rounds):
        started = time.process_time()
        container = _pack(coder, card, symbols)
        packed = time.process_time()
        found = _unpack(coder, container)
        unpacked = time.process_time()
        # The symbols as bytes, compressed by zlib alone.
        squeezed = zlib.compress(np.clip(symbols - symbols.min(), 0, 255).astype(np.uint8).tobytes(), 9)
        zlib_s.append(time.process_time() - unpacked)
        pack_s.append(packed - started)
        unpack_s.append(unpacked - packed)
        if not np.array_equal(found, symbols):
            raise RuntimeError("unpacking gave other symbols")
    # A container does not need the step that marks a lossless payload, so its cost is subtracted.
    single = ArithmeticCoder(card.tables).ideal_bits(symbols) + np.log2((FREQUENCY_TOTAL - 1) / FREQUENCY_TOTAL)
    return Row(
        images,
        len(container),
        float(single.sum()) / 8,
        symbols.size / min(pack_s),
        symbols.size / min(unpack_s),
        len(squeezed),
        symbols.size / min(zlib_s),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| images | bytes an image | ideal | overhead | packed, million symbols/s | unpacked | zlib: bytes | packed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.images:,} | {row.container_bytes / row.images:.3f} | {row.ideal_bytes / row.images:.3f} | "
        f"{row.overhead_bytes:.3f} | {row.packed_per_s / 1e6:.1f} | {row.unpacked_per_s / 1e6:.1f} | "
        f"{row.zlib_bytes / row.images:.3f} | {row.zlib_per_s / 1e6:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Print one table for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.container", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, help="model folders (default: all in models/)")
    parser.add_argument(
        "--images", nargs="+", type=int, default=IMAGES, help="numbers of images in a container (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    if any(images < 1 for images in given.images):
        print("--images takes numbers of 1 or more", file=sys.stderr)
        return 2
    try:
        cards = [load_card(folder.resolve()) for folder in given.models]
        cards = cards or list(find_vector_models(Path("models").resolve()).values())
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    for card in cards:
        print(f"{card.name}, {card.code_size} symbols an image, on one core:\n")
        print(table([measure(card, images) for images in given.images]) + "\n")
    return 0


def _pack(coder: ChunkCoder, card: ModelCard, symbols: Symbols) -> bytes:
    writer = ContainerWriter(coder, card.fingerprint, len(symbols))
    size = coder.chunk_images
    pieces = [writer.add(Chunk(symbols[start : start + size])) for start in range(0, len(symbols), size)]
    return b"".join([*pieces, writer.finish()])


def _unpack(coder: ChunkCoder, container: bytes) -> Symbols:
    reader = FrameReader()
    reader.feed(container)
    chunks = [coder.unpack(frame).symbols for frame in iter(reader.take, None)]
    reader.finish()
    return np.concatenate(chunks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
