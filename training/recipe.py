"""One training run's every choice, as one flat frozen object.

Enters: a TOML file (a name under `recipes/`, or a path) and overrides from the command line. Leaves: a checked
`Recipe`. Knows no torch, so that commands which only read a recipe start at once.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.errors import InvalidRecipe

RECIPES_DIR = Path(__file__).parent / "recipes"
MAX_RECIPE_BYTES = 1 << 16

ArchitectureName = Literal["dense", "conv"]
DatasetName = Literal["mnist", "synthetic"]
ActivationName = Literal["silu", "relu", "leaky-relu", "gelu", "tanh", "sigmoid", "none"]
NormalisationName = Literal["batch", "none"]
OptimizerName = Literal["adamw", "adam", "sgd", "momentum"]
ScheduleName = Literal["one-cycle", "cosine", "constant"]
LossName = Literal["mse"]


class Recipe(BaseModel):
    """Everything that decides what a run makes. Two runs of equal recipes on one machine give equal weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="of the run and of the model it makes")
    description: str = Field("", max_length=500, description="one sentence for the model card")

    dataset: DatasetName = Field("mnist", description="images to train and test on")
    training_images: int = Field(0, ge=0, description="use only so many images for training; 0 uses all")
    validation_images: int = Field(5000, ge=1, description="cut from the training images, to choose the best epoch")
    seed: int = Field(0, ge=0, lt=2**31, description="of initial weights, order of images and augmentation")

    architecture: ArchitectureName = Field("dense", description="kind of network")
    code_size: int = Field(10, ge=1, le=65536, description="numbers in the code")
    activation: ActivationName = Field("silu", description="of the hidden layers")
    code_activation: ActivationName = Field("none", description="of the code")
    output_activation: ActivationName = Field("sigmoid", description="of the reconstruction")
    normalisation: NormalisationName = Field("batch", description="of the hidden layers")
    layers: tuple[int, ...] = Field((512, 128), description="dense: sizes of the encoder's hidden layers")
    decoder_layers: tuple[int, ...] = Field((), description="dense: the decoder's; empty mirrors the encoder's")
    encoder_width: int = Field(16, ge=1, le=1024, description="conv: channels of the encoder's first layer")
    decoder_width: int = Field(16, ge=1, le=1024, description="conv: channels of the decoder's last hidden layer")
    hidden: int = Field(256, ge=1, le=65536, description="conv: size of the dense layers beside the code")
    encoder_blocks: tuple[int, int, int] = Field((0, 1, 1), description="conv: residual blocks after each halving")
    decoder_blocks: tuple[int, int, int] = Field((1, 1, 0), description="conv: residual blocks before each doubling")

    epochs: int = Field(40, ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=2, description="images in one step")
    loss: LossName = Field("mse", description="what is minimised")
    optimizer: OptimizerName = Field("adamw", description="torch's optimiser")
    learning_rate: float = Field(0.002, gt=0, description="peak of the schedule")
    weight_decay: float = Field(0.01, ge=0, description="of the optimiser")
    schedule: ScheduleName = Field("one-cycle", description="of the learning rate")
    warmup: float = Field(0.15, ge=0, lt=1, description="fraction of the steps in which the learning rate rises")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0 averages none")
    augment: float = Field(0.0, ge=0, le=4, description="strength of random warps of the images; 0 is none")
    augment_until: float = Field(0.85, gt=0, le=1, description="fraction of the steps with warps, before a plain end")

    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the forward pass in training")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    threads: int = Field(0, ge=0, le=1024, description="of torch on the CPU; 0 leaves the choice to torch")
    channels_last: bool = Field(False, description="memory format that speeds up convolutions")

    bits: int = Field(0, ge=0, le=16, description="of each symbol; 0 takes the fewest that max_rmse_increase allows")
    max_rmse_increase: float = Field(0.001, gt=0, description="by quantisation, on the validation images")

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Self:
        for field in ("layers", "decoder_layers"):
            if any(size < 1 for size in getattr(self, field)):
                raise ValueError(f"{field} holds a size below 1")
        for field in ("encoder_blocks", "decoder_blocks"):
            if any(count < 0 for count in getattr(self, field)):
                raise ValueError(f"{field} holds a negative number of blocks")
        if self.warmup == 0 and self.schedule == "one-cycle":
            raise ValueError("schedule one-cycle needs a warmup above 0")
        return self

    def to_toml(self) -> str:
        """Return the text of a recipe file that loads as this recipe."""
        # A JSON string, number, boolean or list is the same in TOML.
        fields = self.model_dump(mode="json")
        return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the project, sorted."""
    return sorted(path.stem for path in RECIPES_DIR.glob("*.toml"))


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe by its name, or by the path of a `.toml` file, and override some of its fields.

    A file without a `name` is named after itself.

    Raises:
        InvalidRecipe: no such recipe, not TOML, a field that does not exist, or a value that it does not take.
    """
    path = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES_DIR / f"{name_or_path}.toml"
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise InvalidRecipe(f"{path} is over {MAX_RECIPE_BYTES} bytes, which no recipe needs")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if path.parent == RECIPES_DIR:
            names = recipe_names()
            raise InvalidRecipe(f"there is no recipe '{name_or_path}'{_did_you_mean(name_or_path, names)}") from error
        raise InvalidRecipe(f"the recipe {path} cannot be read") from error
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRecipe(f"the recipe {path} is not valid TOML: {error}") from error
    return make_recipe({"name": path.stem, **fields, **(overrides or {})})


def make_recipe(fields: Mapping[str, Any]) -> Recipe:
    """Check the fields of a recipe. A list may also be given as one string with commas, as the command line does.

    Raises:
        InvalidRecipe: a field that does not exist, or a value that it does not take.
    """
    known = Recipe.model_fields
    for field in fields:
        if field not in known:
            raise InvalidRecipe(f"a recipe has no field '{field}'{_did_you_mean(field, known)}")
    values = {
        field: _split(value) if isinstance(value, str) and is_list(field) else value for field, value in fields.items()
    }
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise InvalidRecipe(f"the recipe contradicts itself: {message}") from error
        field = str(first["loc"][0])
        given = "missing" if first["type"] == "missing" else repr(fields[field])
        raise InvalidRecipe(f"the recipe's field '{field}' is {given}: {message[0].lower()}{message[1:]}") from error


def is_list(field: str) -> bool:
    """Whether that field of a recipe holds several values."""
    return get_origin(Recipe.model_fields[field].annotation) is tuple


def choices(field: str) -> tuple[str, ...]:
    """Return the values that the field may take, if they are a fixed few."""
    annotation = Recipe.model_fields[field].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")] if value.strip() else []


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(sorted(known))}"
