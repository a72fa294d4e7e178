"""The fields of a recipe."""

import json
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from latentwire.options import Background, Fit
from training.recipe.architecture import STRICT, Architecture, Codebook, Dense

InitialisationName = Literal["torch", "glorot"]
OptimizerName = Literal["adamw", "adam", "sgd", "momentum"]
ScheduleName = Literal["one-cycle", "cosine", "constant"]
LossName = Literal["mse", "l1", "bce"]
MonitoredName = Literal["none", "training", "validation"]
WeightsName = Literal["float32", "float16", "int8"]


class Recipe(BaseModel):
    """Everything that decides what a run makes. Two runs of equal recipes on one machine give equal weights."""

    model_config = STRICT

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="name of the run and of the model it makes")
    description: str = Field("", max_length=500, description="one sentence for the model card")
    licence: str = Field("", max_length=100, description="licence of the model, such as MIT, for its graphs and README")

    dataset: str = Field(
        "mnist", min_length=1, max_length=1000, description="mnist, synthetic, or a path: .npz, IDX or image files"
    )
    image_height: int = Field(0, ge=0, le=4096, description="pixels; 0 takes that of the data")
    image_width: int = Field(0, ge=0, le=4096, description="pixels; 0 takes that of the data")
    channels: int = Field(0, ge=0, le=4, description="1 grey, 3 RGB, 4 RGBA; 0 takes those of the data")
    fit: Fit = Field("strict", description="what to do with images of another size")
    background: Background = Field(
        "auto", description="what shows through transparent pixels; auto takes what differs more from the visible ones"
    )
    training_images: int = Field(0, ge=0, description="number of images to train on; 0 takes all")
    validation_images: int = Field(
        0,
        ge=0,
        description="number of training images that are set aside to choose the best epoch; 0 takes a tenth, "
        "at most 5,000",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of initial weights, order of images, augmentation and noise")

    architecture: Architecture = Field(Dense(), discriminator="kind", description="kind of network")
    initialisation: InitialisationName = Field(
        "torch", description="initial weights of layers: torch's own, or Glorot's as in Keras"
    )
    kl_weight: float = Field(
        1.0, ge=0, description="weight of the divergence from the normal distribution, if variational"
    )
    rate_lambda: float = Field(
        0.0, ge=0, le=1e6, description="bits that a unit of an image's squared error is worth; 0 trains for error alone"
    )

    epochs: int = Field(40, ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=2, description="images in one step")
    loss: LossName = Field("mse", description="loss that is minimised")
    optimizer: OptimizerName = Field("adamw", description="torch's optimiser")
    learning_rate: float = Field(0.002, gt=0, description="peak of the schedule")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of the optimiser")
    schedule: ScheduleName = Field("one-cycle", description="schedule of the learning rate")
    warmup: float = Field(0.15, ge=0, lt=1, description="fraction of the steps in which the learning rate rises")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0 averages none")
    noise: float = Field(0.0, ge=0, lt=1, description="fraction of the input's pixels that are blackened in training")
    noise_std: float = Field(
        0.0, ge=0, le=10, description="standard deviation of Gaussian noise on the input in training; white is 1"
    )
    augment: float = Field(0.0, ge=0, le=4, description="strength of random warps of the images; 0 is none")
    augment_until: float = Field(0.85, gt=0, le=1, description="fraction of the steps with warps, before a plain end")
    stop_on: MonitoredName = Field("none", description="loss that ends training when it no longer falls")
    patience: int = Field(10, ge=1, description="epochs without a fall by min_change after which stop_on ends training")
    min_change: float = Field(0.0005, ge=0, description="least fall of the loss that counts for stop_on")

    precision: Literal["float32", "bfloat16"] = Field("float32", description="precision of the forward pass")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU if the machine has one")
    threads: int = Field(0, ge=0, le=1024, description="torch's threads on the CPU; 0 leaves the choice to torch")
    channels_last: bool = Field(False, description="whether to use the memory format that speeds up convolutions")
    weights: WeightsName = Field("float32", description="type in which graphs store weights")

    max_rmse_increase: float = Field(
        0.001, gt=0, description="RMSE that quantization may add on the validation images, pixels in [0, 1]"
    )

    @property
    def code_size(self) -> int:
        """Numbers in the code."""
        return self.architecture.code_size

    @property
    def variational(self) -> bool:
        """Whether the encoder gives a distribution over codes."""
        return not isinstance(self.architecture, Codebook) and self.architecture.variational

    def options(self) -> dict[str, object]:
        """Return the values of all fields by the names of the command line's options.

        `architecture` is its kind, and its own fields follow.
        """
        values: dict[str, object] = {}
        for name in type(self).model_fields:
            values[name] = getattr(self, name)
            if name == "architecture":
                values[name] = self.architecture.kind
                own = type(self.architecture).model_fields
                values.update({field: getattr(self.architecture, field) for field in own if field != "kind"})
        return values

    def to_toml(self) -> str:
        """Return the text of a recipe file that loads as this recipe."""
        fields = self.model_dump(mode="json")
        architecture = fields.pop("architecture")
        return f"{_toml_lines(fields)}\n[architecture]\n{_toml_lines(architecture)}"

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        architecture = self.architecture
        if self.channels == 2:
            raise ValueError("there are no images of 2 channels")
        if (
            self.loss == "bce"
            and not isinstance(architecture, Codebook)
            and architecture.output_activation != "sigmoid"
        ):
            raise ValueError("loss bce compares probabilities, which only the output_activation sigmoid gives")
        if self.rate_lambda > 0 and isinstance(architecture, Codebook):
            raise ValueError("a codebook finds its codes by search, so it cannot be trained for a rate_lambda")
        if self.rate_lambda > 0 and self.variational:
            raise ValueError("rate_lambda counts the bits of rounded codes, and variational draws them: choose one")
        if self.rate_lambda > 0 and self.loss != "mse":
            raise ValueError(f"rate_lambda weighs bits against squared error, so the loss must be mse, not {self.loss}")
        if self.warmup == 0 and self.schedule == "one-cycle":
            raise ValueError("schedule one-cycle needs a warmup above 0")
        return self


def _toml_lines(fields: dict[str, object]) -> str:
    # A JSON string, number, boolean or list is the same in TOML.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())
