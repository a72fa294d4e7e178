"""A run's state <-> a file: written whole or not at all, and read without running any code that a file may hold."""

import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from training.atomic import write_atomically
from training.errors import InvalidCheckpoint, InvalidRecipe, InvalidRun
from training.recipe import Recipe, make_recipe

FORMAT = 1


class Checkpoint(NamedTuple):
    """The state after `epoch` epochs.

    `shape` is (height, width, channels) of the images, `ema` the state of the averaged weights if the recipe averages.
    `best_bits` are the bits of the best epoch's codes, 0 unless a rate is trained; `lowest_loss` and `epochs_waited`
    are the state of early stopping.
    """

    recipe: dict[str, Any]
    shape: tuple[int, int, int]
    epoch: int
    best_epoch: int
    best_rmse: float
    best_bits: float
    model: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor] | None
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    lowest_loss: float
    epochs_waited: int

    @property
    def ema_weights(self) -> dict[str, torch.Tensor]:
        """The weights that a model is made of: the averaged ones, or the network's own if the recipe averages none."""
        if self.ema is None:
            return self.model
        prefix = "module."  # torch's AveragedModel holds the network under this name
        return {name.removeprefix(prefix): values for name, values in self.ema.items() if name.startswith(prefix)}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one before.

    Raises:
        CannotWrite: the disk is full, or the folder read-only; the checkpoint before is intact.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **checkpoint._asdict()}, buffer)
    write_atomically(path, buffer.getbuffer())


def load_checkpoint(path: Path, recipe: Recipe) -> Checkpoint:
    """Read a checkpoint of a run of this recipe.

    Raises:
        InvalidRun: there is no such file.
        InvalidCheckpoint: it is cut short, damaged, or was made by another recipe.
    """
    checkpoint, made_by = read_checkpoint(path)
    before = made_by.options()
    for field, wanted in recipe.options().items():
        was = before.get(field)
        if was != wanted and field not in _WITHOUT_EFFECT_ON_WEIGHTS:
            raise InvalidCheckpoint(
                f"the checkpoint {path} was made by another recipe: its {field} is {was!r}, that of the run {wanted!r}"
            )
    return checkpoint


def read_checkpoint(path: Path) -> tuple[Checkpoint, Recipe]:
    """Read a checkpoint, and the recipe that made it.

    Raises:
        InvalidRun: there is no such file.
        InvalidCheckpoint: it is cut short, damaged, or of another version.
    """
    try:
        with path.open("rb") as file:
            # torch writes a checksum with each tensor, but does not verify it.
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
            file.seek(0)
            content = None if damaged else torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InvalidRun(f"{path.parent} has no {path.name}: training has not reached that point") from error
    except Exception as error:  # torch raises many kinds for damaged files; all mean the same here
        raise InvalidCheckpoint(f"the checkpoint {path} is cut short, damaged, or not a checkpoint") from error
    if damaged:
        raise InvalidCheckpoint(f"the checkpoint {path} is damaged: a checksum in it does not match")
    if (
        not isinstance(content, dict)
        or content.pop("format", None) != FORMAT
        or set(content) != set(Checkpoint._fields)
    ):
        raise InvalidCheckpoint(f"the file {path} is not a checkpoint that this version reads")
    checkpoint = Checkpoint(**content)
    try:
        made_by = make_recipe(checkpoint.recipe)
    except InvalidRecipe as error:
        raise InvalidCheckpoint(f"the checkpoint {path} is of another version: {error}") from error
    return checkpoint, made_by


# Fields that concern the steps after training, or the machine, and may be changed in a run's recipe.
_WITHOUT_EFFECT_ON_WEIGHTS = {"name", "description", "licence", "device", "max_rmse_increase", "weights"}
