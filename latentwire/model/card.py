"""The schema of `models/<name>/card.json` of a model of one image shape, and the model's identity.

Such a model's code is one vector of fixed length; `latentwire.model.any_size_card` has the other kind of model. A card
names both graphs by their SHA-256, so that a folder with only one of them still identifies the whole model.
`latentwire.model.onnx_session` opens the graphs.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from latentwire.errors import InvalidCard, ModelMismatch
from latentwire.model.guard_limits import GuardLimits
from latentwire.model.schema import Frozen, NonNegative, Positive, Sha256
from latentwire.model.signature import Signers

CARD_FILE = "card.json"
ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

MAX_CARD_BYTES = 4 << 20
MAX_CODE_SIZE = 4096

# The frequencies of a table add up to this.
FREQUENCY_BITS = 16
FREQUENCY_TOTAL = 1 << FREQUENCY_BITS

Frequency = Annotated[int, Field(ge=1, le=FREQUENCY_TOTAL - 1)]


class ImageShape(Frozen):
    """Height and width in pixels, and number of channels: 1 for grey, 3 for RGB, 4 for RGBA. 8 bits a channel."""

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    channels: Literal[1, 3, 4]

    def as_tuple(self) -> tuple[int, int, int]:
        """Return (height, width, channels)."""
        return (self.height, self.width, self.channels)

    @property
    def pixels(self) -> int:
        """Height × width."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.width} × {self.height} pixels, {self.channels} channel{'s' * (self.channels > 1)}"


class UniformQuantizer(Frozen):
    """Parameters of a uniform scalar quantizer: coordinate i has the levels `low[i] + symbol * step[i]`."""

    kind: Literal["uniform"] = "uniform"
    low: tuple[float, ...] = Field(
        min_length=1, max_length=MAX_CODE_SIZE, description="y_hat of symbol 0, for each coordinate"
    )
    step: tuple[Positive, ...] = Field(description="distance between neighbouring y_hat, for each coordinate")

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.low) != len(self.step):
            raise ValueError("quantizer.low and quantizer.step differ in length")
        return self

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """`low` and `step` as float64 (code size); not to be written to."""
        return np.array(self.low), np.array(self.step)

    def __eq__(self, other: object) -> bool:
        # pydantic compares what is cached, too, and of arrays that is no truth value.
        return isinstance(other, UniformQuantizer) and (self.low, self.step) == (other.low, other.step)

    def __hash__(self) -> int:
        return hash((self.low, self.step))


class FrequencyTable(Frozen):
    """How often one coordinate's symbols occur, of 65,536: `frequencies` of first, first + 1, …; `escape` of others.

    These integers alone steer the entropy coder; no float takes part.
    """

    first: int = Field(ge=-(1 << 30), le=1 << 30, description="the symbol that the first frequency is of")
    frequencies: tuple[Frequency, ...] = Field(min_length=1, max_length=FREQUENCY_TOTAL - 1)
    escape: Frequency = Field(description="of all symbols that have no frequency here, together")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if (total := sum(self.frequencies) + self.escape) != FREQUENCY_TOTAL:
            raise ValueError(f"frequencies and escape add up to {total:,}, not to {FREQUENCY_TOTAL:,}")
        return self

    @property
    def last(self) -> int:
        """The symbol that the last frequency is of."""
        return self.first + len(self.frequencies) - 1


class GraphFile(Frozen):
    """One ONNX file: its SHA-256 and its size in bytes."""

    sha256: Sha256
    bytes: int = Field(ge=1)


class Golden(Frozen):
    """A drawn test picture, its symbols and its reconstruction, by which encoder and decoder are checked at start.

    An encoder is right if its symbols differ by at most 1 from these, a decoder if its pixels differ by at most 2 of
    255: floating point differs a little between processors, a wrong graph differs by far more.
    """

    image_png_base64: str = Field(description="input of the encoder")
    symbols: tuple[int, ...] = Field(description="output of the encoder, and input of the decoder")
    reconstruction_png_base64: str = Field(description="output of the decoder")


class Quality(Frozen):
    """Measured through the real encoder and decoder; pixels in [0, 1], errors per pixel over all images.

    `float_*` is the autoencoder alone, with the code as float32. The others include the quantized code, the bitstream
    and 8-bit pixels. `psnr_db` is that of the mean MSE.
    """

    dataset: str
    images: int = Field(ge=1)
    float_mse: NonNegative
    float_rmse: NonNegative
    float_psnr_db: float
    mse: NonNegative
    rmse: NonNegative
    psnr_db: float
    ideal_bits: Positive = Field(description="mean -log2 of the probabilities that the tables give the symbols")
    payload_bytes: Positive = Field(description="mean bytes of the payload")
    bitstream_bytes: Positive = Field(description="mean bytes of the bitstream, with header and checksum")
    bpp: Positive = Field(description="bits per pixel of the bitstream")

    @classmethod
    def from_means(
        cls,
        *,
        dataset: str,
        images: int,
        shape: ImageShape,
        float_mse: float,
        mse: float,
        ideal_bits: float,
        payload_bytes: float,
        bitstream_bytes: float,
    ) -> "Quality":
        """Derive RMSE, PSNR (dB) and bpp from mean squared errors and mean sizes in bytes.

        Raises:
            ValueError: an error is 0 or not finite, so that it has no PSNR.
        """

        def psnr_db(mean: float) -> float:
            return -10 * math.log10(mean)

        return cls(
            dataset=dataset,
            images=images,
            float_mse=float_mse,
            float_rmse=math.sqrt(float_mse),
            float_psnr_db=psnr_db(float_mse),
            mse=mse,
            rmse=math.sqrt(mse),
            psnr_db=psnr_db(mse),
            ideal_bits=ideal_bits,
            payload_bytes=payload_bytes,
            bitstream_bytes=bitstream_bytes,
            bpp=8 * bitstream_bytes / shape.pixels,
        )


class ModelCard(Frozen):
    """One model: its image shape, quantizer, tables, graphs, golden data, guard limits and measured quality."""

    card_version: Literal[1] = 1
    kind: Literal["vector"] = "vector"
    name: str = Field(pattern=f"^{MODEL_NAME.pattern}$")
    model_id: Sha256
    description: str = Field(max_length=500)
    image: ImageShape
    code_size: int = Field(ge=1, le=MAX_CODE_SIZE, description="number of coordinates of the code")
    quantizer: UniformQuantizer
    tables: tuple[FrequencyTable, ...] = Field(max_length=MAX_CODE_SIZE, description="one for each coordinate")
    encoder: GraphFile
    decoder: GraphFile
    golden: Golden
    guard: GuardLimits | None = None
    quality: Quality | None = None
    provenance: dict[str, Any] = Field(default_factory=dict, description="recipe as run, seed, versions, revision")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len(self.quantizer.low) != self.code_size:
            raise ValueError(f"the quantizer has {len(self.quantizer.low)} coordinates, the code {self.code_size}")
        if len(self.tables) != self.code_size:
            raise ValueError(f"the card has {len(self.tables)} tables, and the code {self.code_size} coordinates")
        if len(self.golden.symbols) != self.code_size:
            raise ValueError(f"golden.symbols has {len(self.golden.symbols)} elements, the code {self.code_size}")
        if self.model_id != model_id_of(self.image, self.quantizer, self.tables, self.encoder, self.decoder):
            raise ValueError("model_id does not belong to these graphs and codec fields")
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
        """Return what a list of models shows: names, kind, shape, measured means, and the description."""
        measured = self.quality
        return {
            "name": self.name,
            "model_id": self.model_id,
            "kind": self.kind,
            "shape": list(self.image.as_tuple()),
            "payload_bytes": measured.payload_bytes if measured else None,
            "psnr_db": measured.psnr_db if measured else None,
            "description": self.description,
        }

    def to_json(self) -> str:
        """The text of `card.json`, each list of numbers on one line."""
        text = self.model_dump_json(indent=2)
        return _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"


def model_id_of(
    image: ImageShape,
    quantizer: UniformQuantizer,
    tables: Sequence[FrequencyTable],
    encoder: GraphFile,
    decoder: GraphFile,
) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of everything that the meaning of a bitstream depends on."""
    identity = {
        "image": image.model_dump(mode="json"),
        # The spelling of this key is part of every published model_id.
        "quantiser": quantizer.model_dump(mode="json"),
        "tables": [table.model_dump(mode="json") for table in tables],
        "encoder": encoder.sha256,
        "decoder": decoder.sha256,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_card(folder: Path, signers: Signers | None = None) -> ModelCard:
    """Read and check `folder/card.json`.

    Args:
        folder: of the model.
        signers: those one of whom must have signed the card; None uses the card of anyone.

    Raises:
        UntrustedModel: see `Signers.check`.
        InvalidCard: the file is missing, a pipe or a device, over 4 MiB, not JSON, not of this schema, contradicts
            itself, or names another model than its folder does.
    """
    return read_card(read_card_text(folder, signers), folder.name)


def read_card_text(folder: Path, signers: Signers | None = None) -> bytes:
    """Read `folder/card.json`, and check its signature before anything of it is parsed.

    Raises:
        UntrustedModel: see `Signers.check`.
        InvalidCard: the file is missing, a pipe or a device, or over 4 MiB.
    """
    path = folder / CARD_FILE
    try:
        if path.exists() and not path.is_file():
            # Opening a pipe would wait for someone who writes.
            raise InvalidCard(f"{CARD_FILE} of model '{folder.name}' is not a regular file")
        with path.open("rb") as file:
            text = file.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise InvalidCard(f"model '{folder.name}' has no readable {CARD_FILE}: {error.strerror}") from error
    if len(text) > MAX_CARD_BYTES:
        raise InvalidCard(f"the card of model '{folder.name}' is over {MAX_CARD_BYTES} bytes")
    if signers is not None:
        signers.check(folder, text)
    return text


def read_card(text: bytes, name: str) -> ModelCard:
    """Check the content of a `card.json` in the folder of that name.

    Raises:
        InvalidCard: not JSON, not of this schema, contradicts itself, or names another model.
    """
    return check_card(ModelCard.model_validate_json, text, name)


class NamedCard(Protocol):
    """What the cards of all kinds of models have."""

    @property
    def name(self) -> str:
        """The name of the model, and of its folder."""

    @property
    def fingerprint(self) -> bytes:
        """The bytes by which a bitstream names the model."""


Card = TypeVar("Card", bound=NamedCard)


def check_card(validate: Callable[[bytes], Card], text: bytes, name: str) -> Card:
    """Return what `validate` makes of the content of a `card.json`; raise as `read_card` does."""
    try:
        card = validate(text)
    except ValidationError as error:
        raise InvalidCard(f"the card of model '{name}' is not valid: {first_fault(error, CARD_FILE)}") from error
    if card.name != name:
        raise InvalidCard(f"the card in folder '{name}' names the model '{card.name}'")
    return card


def check_fingerprint(card: NamedCard, fingerprint: bytes) -> None:
    """Check that the model of a card made a bitstream.

    Raises:
        ModelMismatch: the fingerprint is not that of this model.
    """
    if fingerprint != card.fingerprint:
        raise ModelMismatch(
            f"the bitstream was made by the model with fingerprint {fingerprint.hex()}; "
            f"'{card.name}' has {card.fingerprint.hex()}"
        )


def first_fault(error: ValidationError, file: str) -> str:
    """Return where the first thing wrong in a file is, and what."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or file}: {first['msg']}"


# A list of numbers and nothing else. A string cannot hold one: its line breaks are escaped, and so it has no indent.
_NUMBERS = re.compile(r"\[(\n[-+.eE\d,\s]*)\]")
