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

from latentwire.options import Fit
from training.errors import InvalidRecipe

RECIPES_DIR = Path(__file__).parent / "recipes"
MAX_RECIPE_BYTES = 1 << 16

ArchitectureName = Literal["dense", "conv", "conv-plain", "codebook"]
ActivationName = Literal["silu", "relu", "leaky-relu", "gelu", "tanh", "sigmoid", "none"]
NormalisationName = Literal["batch", "none"]
InitialisationName = Literal["torch", "glorot"]
PoolingName = Literal["max", "average", "stride"]
UpsamplingName = Literal["transposed", "nearest"]
OptimizerName = Literal["adamw", "adam", "sgd", "momentum"]
ScheduleName = Literal["one-cycle", "cosine", "constant"]
LossName = Literal["mse", "l1", "bce"]
MonitoredName = Literal["none", "training", "validation"]
WeightsName = Literal["float32", "float16", "int8"]

MAX_LAYER_SIZE = 65536

_DENSE_FIELDS = ("layers", "decoder_layers", "tied")

# The dense network of a recipe that names no layers: for MNIST, with article 001's widths.
_DEFAULT_LAYERS = (784, 512, 128, 10)

# What runs of convolutional networks recorded for `layers`, which meant nothing to them, while it was a list of hidden
# layers only.
_FORMER_DEFAULT_LAYERS = (512, 128)

# Earlier runs recorded these, which say nothing of the weights.
_FORMER_FIELDS = {"bits"}


class Recipe(BaseModel):
    """Everything that decides what a run makes. Two runs of equal recipes on one machine give equal weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="of the run and of the model it makes")
    description: str = Field("", max_length=500, description="one sentence for the model card")

    dataset: str = Field(
        "mnist", min_length=1, max_length=1000, description="mnist, synthetic, or a path: .npz, IDX or image files"
    )
    image_height: int = Field(0, ge=0, le=4096, description="pixels; 0 takes that of the data")
    image_width: int = Field(0, ge=0, le=4096, description="pixels; 0 takes that of the data")
    channels: int = Field(0, ge=0, le=4, description="1 grey, 3 RGB, 4 RGBA; 0 takes those of the data")
    fit: Fit = Field("strict", description="what to do with images of another size")
    training_images: int = Field(0, ge=0, description="use only so many images for training; 0 uses all")
    validation_images: int = Field(5000, ge=1, description="cut from the training images, to choose the best epoch")
    seed: int = Field(0, ge=0, lt=2**31, description="of initial weights, order of images, augmentation and noise")

    architecture: ArchitectureName = Field("dense", description="kind of network")
    code_size: int = Field(10, ge=1, le=MAX_LAYER_SIZE, description="numbers in the code; dense: the end of layers")
    activation: ActivationName = Field("silu", description="of the hidden layers")
    code_activation: ActivationName = Field("none", description="of the code")
    output_activation: ActivationName = Field("sigmoid", description="of the reconstruction")
    normalisation: NormalisationName = Field("batch", description="of the hidden layers")
    initialisation: InitialisationName = Field("torch", description="of weights: torch's own, or Glorot's as in Keras")
    variational: bool = Field(
        False, description="the encoder gives a distribution over codes, and its mean is the code"
    )
    kl_weight: float = Field(1.0, ge=0, description="variational: of the divergence from the normal distribution")
    rate_lambda: float = Field(
        0.0, ge=0, le=1e6, description="bits that a unit of an image's squared error is worth; 0 trains for error alone"
    )
    layers: tuple[int, ...] = Field(
        _DEFAULT_LAYERS, description="dense: sizes of the encoder's layers, from the image's values to the code"
    )
    decoder_layers: tuple[int, ...] = Field(
        (), description="dense: sizes of the decoder's, from the code to the image's values; empty mirrors layers"
    )
    tied: bool = Field(False, description="dense: the decoder's weights are the encoder's, transposed")
    conv_widths: tuple[int, ...] = Field((16, 32), description="conv-plain: channels of each block, which halves sides")
    decoder_widths: tuple[int, ...] = Field((), description="conv-plain: the decoder's; empty mirrors conv_widths")
    kernel_size: int = Field(3, ge=1, le=15, description="conv-plain: side of all kernels, an odd number")
    pooling: PoolingName = Field("max", description="conv-plain: how blocks halve sides: pooling, or strided")
    upsampling: UpsamplingName = Field("transposed", description="conv-plain: how the decoder doubles sides")
    conv_code: Literal["dense", "map"] = Field("dense", description="conv-plain: a layer's output, or the last block's")
    dense_layers: tuple[int, ...] = Field((), description="conv-plain: sizes of layers between last block and code")
    encoder_width: int = Field(16, ge=1, le=1024, description="conv: channels of the encoder's first layer")
    decoder_width: int = Field(16, ge=1, le=1024, description="conv: channels of the decoder's last hidden layer")
    hidden: int = Field(256, ge=1, le=65536, description="conv: size of the dense layers beside the code")
    encoder_blocks: tuple[int, int, int] = Field((0, 1, 1), description="conv: residual blocks after each halving")
    decoder_blocks: tuple[int, int, int] = Field((1, 1, 0), description="conv: residual blocks before each doubling")

    map_channels: int = Field(
        0, ge=0, le=64, description="conv: channels of the part of the code that is a map of details; 0 has none"
    )
    correction: bool = Field(False, description="conv: the encoder corrects its code by what the decoder makes of it")
    entries: int = Field(256, ge=4, le=65536, description="codebook: pictures on the path of each number of the code")

    epochs: int = Field(40, ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=2, description="images in one step")
    loss: LossName = Field("mse", description="what is minimised")
    optimizer: OptimizerName = Field("adamw", description="torch's optimiser")
    learning_rate: float = Field(0.002, gt=0, description="peak of the schedule")
    weight_decay: float = Field(0.01, ge=0, description="of the optimiser")
    schedule: ScheduleName = Field("one-cycle", description="of the learning rate")
    warmup: float = Field(0.15, ge=0, lt=1, description="fraction of the steps in which the learning rate rises")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0 averages none")
    noise: float = Field(0.0, ge=0, lt=1, description="fraction of the input's pixels that are blackened in training")
    noise_std: float = Field(0.0, ge=0, le=10, description="of Gaussian noise that is added to the input in training")
    augment: float = Field(0.0, ge=0, le=4, description="strength of random warps of the images; 0 is none")
    augment_until: float = Field(0.85, gt=0, le=1, description="fraction of the steps with warps, before a plain end")
    stop_on: MonitoredName = Field("none", description="the loss that ends training when it falls no more")
    patience: int = Field(10, ge=1, description="stop_on: epochs without a fall by min_change, until training ends")
    min_change: float = Field(0.0005, ge=0, description="stop_on: the least fall of the loss that counts")

    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the forward pass in training")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    threads: int = Field(0, ge=0, le=1024, description="of torch on the CPU; 0 leaves the choice to torch")
    channels_last: bool = Field(False, description="memory format that speeds up convolutions")
    weights: WeightsName = Field("float32", description="how graphs store weights; int8 is a quarter")

    max_rmse_increase: float = Field(0.001, gt=0, description="by quantization, on the validation images")

    @model_validator(mode="before")
    @classmethod
    def _one_size_of_the_code(cls, fields: Any) -> Any:
        """Let `layers` and `code_size` follow one another where only one of them is given."""
        if not isinstance(fields, dict):
            return fields
        if fields.get("architecture", "dense") != "dense":
            # Only dense networks have layers of that kind.
            former = tuple(fields.get("layers") or ()) == _FORMER_DEFAULT_LAYERS
            return {**fields, "layers": ()} if former or "layers" not in fields else fields
        if "layers" not in fields and "code_size" in fields:
            return {**fields, "layers": (*_DEFAULT_LAYERS[:-1], fields["code_size"])}
        if fields.get("layers") and "code_size" not in fields:
            return {**fields, "code_size": fields["layers"][-1]}
        return fields

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Self:
        if self.channels == 2:
            raise ValueError("there are no images of 2 channels")
        for field in ("layers", "decoder_layers", "conv_widths", "decoder_widths", "dense_layers"):
            if any(not 1 <= size <= MAX_LAYER_SIZE for size in getattr(self, field)):
                raise ValueError(f"{field} holds a size that is not from 1 to {MAX_LAYER_SIZE}")
        for field in ("encoder_blocks", "decoder_blocks"):
            if any(count < 0 for count in getattr(self, field)):
                raise ValueError(f"{field} holds a negative number of blocks")
        if self.architecture == "dense":
            self._check_layers()
        elif self.layers or self.decoder_layers:
            raise ValueError(f"layers and decoder_layers are of the architecture dense, not of {self.architecture}")
        elif self.tied:
            raise ValueError("tied is of the architecture dense: convolutions share no weights with their way back")
        if self.architecture == "conv-plain":
            self._check_convolutions()
        if self.correction and self.architecture != "conv":
            raise ValueError(f"correction is of the architecture conv, not of {self.architecture}")
        if self.map_channels and self.architecture != "conv":
            raise ValueError(f"map_channels is of the architecture conv, not of {self.architecture}")
        if self.map_channels and (self.variational or self.code_activation != "none"):
            raise ValueError("a map of details has no code_activation and is not variational")
        if self.correction and (self.variational or self.code_activation != "none"):
            raise ValueError("a code is corrected by adding to it, so it has no code_activation and is not variational")
        if self.architecture == "codebook" and self.variational:
            raise ValueError("a codebook finds its codes by search, so it cannot be variational")
        if self.architecture == "codebook" and self.rate_lambda > 0:
            raise ValueError("a codebook finds its codes by search, so it cannot be trained for a rate_lambda")
        if self.loss == "bce" and self.output_activation != "sigmoid":
            raise ValueError("loss bce compares probabilities, which only the output_activation sigmoid gives")
        if self.variational and self.code_activation != "none":
            raise ValueError("variational codes are normally distributed, so their code_activation must be none")
        if self.rate_lambda > 0 and self.variational:
            raise ValueError("rate_lambda counts the bits of rounded codes, and variational draws them: take one")
        if self.rate_lambda > 0 and self.loss != "mse":
            raise ValueError(f"rate_lambda weighs bits against squared error, so the loss must be mse, not {self.loss}")
        if self.warmup == 0 and self.schedule == "one-cycle":
            raise ValueError("schedule one-cycle needs a warmup above 0")
        return self

    def _check_layers(self) -> None:
        if len(self.layers) < 2:
            raise ValueError("layers needs the image's number of values first and the code's size last, as in 784,10")
        if self.layers[-1] != self.code_size:
            raise ValueError(f"layers end with {self.layers[-1]}, and code_size is {self.code_size}")
        if self.decoder_layers and (self.decoder_layers[0], self.decoder_layers[-1]) != (
            self.code_size,
            self.layers[0],
        ):
            raise ValueError(
                f"decoder_layers lead from {self.decoder_layers[0]} to {self.decoder_layers[-1]} numbers, and should "
                f"from the code's {self.code_size} to the image's {self.layers[0]}"
            )
        if self.tied and self.decoder_layers not in ((), tuple(reversed(self.layers))):
            raise ValueError("tied needs a decoder that mirrors the encoder, without decoder_layers of its own")

    def _check_convolutions(self) -> None:
        if not self.conv_widths:
            raise ValueError("conv-plain needs at least one block in conv_widths")
        if self.decoder_widths and len(self.decoder_widths) != len(self.conv_widths):
            raise ValueError(
                f"conv_widths halve the image's sides {len(self.conv_widths)} times and decoder_widths double them "
                f"{len(self.decoder_widths)} times, which does not give the image's size"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError("kernel_size must be odd, or convolutions would change the image's size")
        if self.conv_code == "map" and (self.dense_layers or self.variational):
            raise ValueError("conv_code map takes the last block's output as it is: no dense_layers, not variational")

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
    return make_recipe({"name": path.stem, **_merge(fields, overrides or {})})


def make_recipe(fields: Mapping[str, Any]) -> Recipe:
    """Check the fields of a recipe. A list may also be given as one string with commas, as the command line does.

    Raises:
        InvalidRecipe: a field that does not exist, or a value that it does not take.
    """
    fields = {field: value for field, value in fields.items() if field not in _FORMER_FIELDS}
    known = Recipe.model_fields
    for field in fields:
        if field not in known:
            raise InvalidRecipe(f"a recipe has no field '{field}'{_did_you_mean(field, known)}")
    values = {field: _as_list(value) if is_list(field) else value for field, value in fields.items()}
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # What follows from a wrong field is wrong too; the field that was given is to be named.
        first = next((one for one in found if one["loc"] and one["loc"][0] in fields), found[0])
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise InvalidRecipe(f"the recipe contradicts itself: {message}") from error
        field = str(first["loc"][0])
        given = "missing" if first["type"] == "missing" else repr(fields.get(field, first["input"]))
        raise InvalidRecipe(f"the recipe's field '{field}' is {given}: {message[0].lower()}{message[1:]}") from error


def _merge(fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Override fields, and what follows from them.

    Whoever changes one of layers and code_size means both, and another architecture has no use for the file's layers.
    """
    merged = {**fields, **overrides}
    if merged.get("architecture", "dense") != "dense":
        if "architecture" in overrides and fields.get("layers"):
            merged.setdefault("code_size", fields["layers"][-1])
            merged = {name: value for name, value in merged.items() if name in overrides or name not in _DENSE_FIELDS}
        return merged
    if ("layers" in overrides) == ("code_size" in overrides):
        return merged
    layers = _as_list(merged.get("layers", _DEFAULT_LAYERS))
    if "layers" in overrides:
        merged.pop("code_size", None)
    else:
        merged["layers"] = layers = [*layers[:-1], merged["code_size"]]
    if fields.get("decoder_layers") and "decoder_layers" not in overrides:
        merged["decoder_layers"] = [*layers[-1:], *fields["decoder_layers"][1:]]
    return merged


def is_list(field: str) -> bool:
    """Whether that field of a recipe holds several values."""
    return get_origin(Recipe.model_fields[field].annotation) is tuple


def choices(field: str) -> tuple[str, ...]:
    """Return the values that the field may take, if they are a fixed few."""
    annotation = Recipe.model_fields[field].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _as_list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",")] if value.strip() else []


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(sorted(known))}"
