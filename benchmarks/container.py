"""`python -m benchmarks.container`: how fast containers are packed and unpacked, and what they add to the codes.

Images' symbols are drawn as often as a model's own tables say, so that no data set is needed. Times are those of the
processor, of one core, so that other work on the machine counts little; each is the best of some rounds. Overhead is
everything but the ideal code length: frames, checksums, lanes and rounding.
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
from latentwire.entropy.quantizer import Symbols
from latentwire.errors import ModelError
from latentwire.format.container import Chunk, ChunkCoder, ContainerWriter, FrameReader
from latentwire.model.card import FREQUENCY_TOTAL, ModelCard, load_card

IMAGES = (10, 100, 1_000, 10_000)
ROUNDS = 3


class Row(NamedTuple):
    """One container: bytes an image, and symbols a second of both ways and of zlib beside them."""

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
    """Draw symbols, int64 (images, code size), as often as the tables say; an escape is the symbol after the table."""
    columns = []
    for table in card.tables:
        chances = np.array([*table.frequencies, table.escape]) / FREQUENCY_TOTAL
        columns.append(table.first + random.choice(len(chances), images, p=chances))
    return np.stack(columns, axis=1).astype(np.int64)


def measure(card: ModelCard, images: int, rounds: int = ROUNDS) -> Row:
    """Pack and unpack so many images of a model.

    Raises:
        RuntimeError: other symbols came back.
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
        # The symbols as bytes, as one would send them without any of this.
        squeezed = zlib.compress(np.clip(symbols - symbols.min(), 0, 255).astype(np.uint8).tobytes(), 9)
        zlib_s.append(time.process_time() - unpacked)
        pack_s.append(packed - started)
        unpack_s.append(unpacked - packed)
        if not np.array_equal(found, symbols):
            raise RuntimeError("other symbols came back")
    # Without what tells an image losslessly from symbols in a single code; a container needs no such step.
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
    """Return the rows as a table in Markdown."""
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
    parser.add_argument("models", nargs="*", type=Path, help="folders of models; all in models/ without any")
    parser.add_argument(
        "--images", nargs="+", type=int, default=IMAGES, help="sizes of containers (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    folders = given.models or sorted(path.parent for path in Path("models").glob("*/card.json"))
    if any(images < 1 for images in given.images):
        print("a container is measured with 1 image or more", file=sys.stderr)
        return 2
    try:
        cards = [load_card(folder.resolve()) for folder in folders]
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
