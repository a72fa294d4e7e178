"""The card of a model for images of any size, and the tables of its entropy model.

`card.json` names three graphs and `tables.json` by their SHA-256. The receiver's tables are integers: they and
`entropy.onnx`, whose results are integers too, decide how symbols are coded, so sender and receiver agree on every
machine.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from latentwire.errors import InvalidGraph
from latentwire.model.card import (
    MODEL_NAME,
    FrequencyTable,
    GraphFile,
    ModelCard,
    check_card,
    first_fault,
    read_card_text,
)
from latentwire.model.model_files import read_file
from latentwire.model.schema import Frozen, Sha256
from latentwire.model.signature import Signers

ENTROPY_FILE = "entropy.onnx"
TABLES_FILE = "tables.json"
REFINER_FILE = "refiner.onnx"

SCALE_TABLES = 64
# Scales are in quarter steps of the tables: quarter step 4 k is the middle of table k.
MAX_QUARTERS = 4 * SCALE_TABLES - 1

# A quality is written in 1/32 of a level; gains are written in 1/256 of a quarter step.
QUALITY_PARTS, OFFSET_PARTS = 32, 256
MAX_QUALITY_INDEX = 255

# Below this, float32 holds every integer.
EXACT_BELOW: Literal[16777216] = 16777216

Row = Annotated[tuple[float, ...], Field(min_length=2, max_length=1024)]
IntegerRow = Annotated[tuple[Annotated[int, Field(ge=-(1 << 24), le=1 << 24)], ...], Field(max_length=1024)]


class Exactness(Frozen):
    """The proof that every sum in `entropy.onnx` is an integer that float32 holds exactly."""

    exact_below: Literal[16777216] = EXACT_BELOW
    worst_sum: int = Field(ge=0, lt=EXACT_BELOW, description="no partial sum of any layer exceeds it in magnitude")


class Margins(Frozen):
    """How far a value of a graph sees, in latents: a tile with this margin gives the values of the whole image."""

    encoder: int = Field(ge=0, le=16)
    decoder: int = Field(ge=0, le=16)


class AnySizeGolden(Frozen):
    """A test picture with its bitstream and reconstruction, and what `entropy.onnx` gives; all are checked at start.

    The entropy part must agree to the bit. An encoder is right if quantization explains the distance of its latents
    from those of the bitstream; a decoder if its pixels differ by at most 2 of 255.
    """

    image_png_base64: str = Field(description="input of the encoder")
    payload_base64: str = Field(description="what the encoder makes of it")
    reconstruction_png_base64: str = Field(description="output of the decoder")
    entropy_sha256: Sha256 = Field(description="of the outputs for a fixed input, as int32, little-endian")


class Refinement(Frozen):
    """What a sender needs beside the other graphs to refine symbols; readers of bitstreams know nothing of it."""

    graph: GraphFile
    sensitivity: Row = Field(
        description="of each latent channel: squared error, summed over values in [0, 1], of a change by 1 after the "
        "inverse gain"
    )
    bits_per_error: Row = Field(description="of each level: bits that a squared error of 1, summed so, is worth")


class AnySizeCard(Frozen):
    """A model for images of any size: its graphs, tables, exactness bound, margins, and golden data."""

    card_version: Literal[1] = 1
    kind: Literal["any-size"] = "any-size"
    name: str = Field(pattern=f"^{MODEL_NAME.pattern}$")
    model_id: Sha256
    description: str = Field(max_length=500)
    encoder: GraphFile
    decoder: GraphFile
    entropy: GraphFile
    tables: GraphFile
    exactness: Exactness
    margins: Margins
    golden: AnySizeGolden
    refinement: Refinement | None = Field(None, description="for `effort` above 1; no part of the model's identity")
    provenance: dict[str, Any] = Field(default_factory=dict, description="data, licence, run, versions, revision")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.model_id != any_size_id_of(self.encoder, self.decoder, self.entropy, self.tables):
            raise ValueError("model_id does not belong to these graphs and tables")
        return self

    @property
    def fingerprint(self) -> bytes:
        """The first 4 bytes of `model_id`, which are part of each bitstream."""
        return bytes.fromhex(self.model_id[:8])

    @property
    def full_name(self) -> str:
        """`name@model_id`, as in the `Latentwire-Model` header."""
        return f"{self.name}@{self.model_id}"

    def summary(self) -> dict[str, Any]:
        """Return what a list of models shows: as that of a vector model, without what only those have."""
        shared = {"name": self.name, "model_id": self.model_id, "kind": self.kind, "shape": None}
        return {**shared, "payload_bytes": None, "psnr_db": None, "description": self.description}

    def to_json(self) -> str:
        """The text of `card.json`."""
        return self.model_dump_json(indent=2) + "\n"


class EntropyTables(Frozen):
    """The content of `tables.json`: frequency tables, and gains for all qualities.

    Attributes:
        hyper_tables: one for each channel of z.
        scale_tables: one for each scale, from the smallest.
        skip_below: symbols with a scale table below this number are 0 and not coded.
        gain_offsets: what a level's gain adds to the scale of each latent channel, in 1/256 of a quarter step.
        log_gain: logarithm of what latents are multiplied by before quantization, for each level and channel.
        log_inverse: the same after it.
    """

    first_group: int = Field(ge=1, description="latent channels that are coded first")
    hyper_tables: tuple[FrequencyTable, ...] = Field(min_length=1, max_length=1024)
    scale_tables: tuple[FrequencyTable, ...] = Field(min_length=SCALE_TABLES, max_length=SCALE_TABLES)
    skip_below: int = Field(ge=0, le=SCALE_TABLES)
    gain_offsets: tuple[IntegerRow, ...] = Field(min_length=2, max_length=64)
    log_gain: tuple[Row, ...]
    log_inverse: tuple[Row, ...]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        rows = (*self.gain_offsets, *self.log_gain, *self.log_inverse)
        if any(len(row) != self.latents for row in rows):
            raise ValueError("the rows of gain_offsets, log_gain and log_inverse differ in length")
        if not len(self.gain_offsets) == len(self.log_gain) == len(self.log_inverse):
            raise ValueError("gain_offsets, log_gain and log_inverse differ in their number of levels")
        if not self.first_group < self.latents:
            raise ValueError("first_group must be below the number of latent channels")
        if any(table.first > 0 or table.last < 0 for table in self.scale_tables):
            raise ValueError("a scale table has no frequency of 0")
        return self

    @property
    def latents(self) -> int:
        """Number of latent channels."""
        return len(self.log_gain[0])

    @property
    def hyper_latents(self) -> int:
        """Number of channels of z."""
        return len(self.hyper_tables)

    @property
    def best_quality(self) -> int:
        """The largest quality index."""
        return min(MAX_QUALITY_INDEX, QUALITY_PARTS * (len(self.log_gain) - 1))

    def offset(self, quality: int) -> npt.NDArray[np.int64]:
        """Return what the gain of a quality index adds to scales, in quarter steps, int64 (latents)."""
        level, share = self._between(quality)
        low, high = self._arrays[0][level], self._arrays[0][level + 1]
        sums: npt.NDArray[np.int64] = low * (QUALITY_PARTS - share) + high * share
        return (sums + QUALITY_PARTS * OFFSET_PARTS // 2) // (QUALITY_PARTS * OFFSET_PARTS)

    def gains(self, quality: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return gain and inverse gain of a quality index, each float32 (latents)."""
        level, share = self._between(quality)
        weight = share / QUALITY_PARTS
        logs = (values[level] * (1 - weight) + values[level + 1] * weight for values in self._arrays[1:])
        gain, inverse = (np.exp(log).astype(np.float32) for log in logs)
        return gain, inverse

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return np.array(self.gain_offsets), np.array(self.log_gain), np.array(self.log_inverse)

    def _between(self, quality: int) -> tuple[int, int]:
        level = min(quality // QUALITY_PARTS, len(self.log_gain) - 2)
        return level, quality - level * QUALITY_PARTS

    def to_json(self) -> str:
        """The text of `tables.json`."""
        return self.model_dump_json() + "\n"


AnyCard = Annotated[ModelCard | AnySizeCard, Field(discriminator="kind")]


def any_size_id_of(encoder: GraphFile, decoder: GraphFile, entropy: GraphFile, tables: GraphFile) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of everything that the meaning of a bitstream depends on."""
    files = {"encoder": encoder, "decoder": decoder, "entropy": entropy, "tables": tables}
    identity = {"kind": "any-size", **{name: file.sha256 for name, file in files.items()}}
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


_ANY_CARD: TypeAdapter[ModelCard | AnySizeCard] = TypeAdapter(AnyCard)


def load_any_card(folder: Path, signers: Signers | None = None) -> ModelCard | AnySizeCard:
    """Read and check `folder/card.json` of a model of either kind.

    Args:
        folder: of the model.
        signers: those one of whom must have signed the card; None uses the card of anyone.

    Raises:
        UntrustedModel: see `Signers.check`.
        InvalidCard: as `load_card`.
    """
    return read_any_card(read_card_text(folder, signers), folder.name)


def read_any_card(text: bytes, name: str) -> ModelCard | AnySizeCard:
    """Check the content of a `card.json` of either kind in the folder of that name.

    Raises:
        InvalidCard: not JSON, not of this schema, contradicts itself, or names another model.
    """
    return check_card(_ANY_CARD.validate_json, text, name)


def load_tables(folder: Path, card: AnySizeCard) -> EntropyTables:
    """Read and check `folder/tables.json`.

    Raises:
        MissingGraph: the file is missing or cannot be read.
        InvalidGraph: the file is not the one in the card, or contradicts itself.
    """
    data = read_file(folder / TABLES_FILE, card.tables)
    try:
        return EntropyTables.model_validate_json(data)
    except ValidationError as error:
        what = first_fault(error, TABLES_FILE)
        raise InvalidGraph(f"{TABLES_FILE} of model '{folder.name}' is not valid: {what}") from error
