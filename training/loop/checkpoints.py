"""A run's state <-> a file: written whole or not at all, and read without running any code that a file may hold.

Knows nothing of training; whoever holds the state says what is in it.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from training.atomic import write_atomically
from training.errors import InvalidCheckpoint, InvalidRecipe, InvalidRun
from training.recipe import Recipe, make_recipe

FORMAT = 1


class Checkpoint(NamedTuple):
    """The state after `epoch` epochs. `shape` is (height, width, channels) of the images."""

    recipe: dict[str, Any]
    shape: tuple[int, int, int]
    epoch: int
    best_epoch: int
    best_rmse: float
    model: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor] | None
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    # Of early stopping; checkpoints from before there was any lack both.
    lowest_loss: float = math.inf
    epochs_waited: int = 0
    # Of the best epoch's codes, where a rate is trained.
    best_bits: float = 0.0

    @property
    def kept_weights(self) -> dict[str, torch.Tensor]:
        """The weights that a model is made of: averaged ones where the recipe averages."""
        if self.average is None:
            return self.model
        prefix = "module."  # of torch's AveragedModel, beside its own counter
        return {name.removeprefix(prefix): values for name, values in self.average.items() if name.startswith(prefix)}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one before.

    Raises:
        CannotWrite: the disk is full, or the folder read-only; the checkpoint before is intact.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **checkpoint._asdict()}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, recipe: Recipe) -> Checkpoint:
    """Read a checkpoint of a run of this recipe.

    Raises:
        InvalidRun: there is no such file.
        InvalidCheckpoint: it is cut short, damaged, or was made by another recipe.
    """
    checkpoint, made_by = read_checkpoint(path)
    for field in Recipe.model_fields:
        was, wanted = getattr(made_by, field), getattr(recipe, field)
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
        file = io.BytesIO(path.read_bytes())
        # torch writes a checksum with each tensor, but does not look at it when it reads.
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        file.seek(0)
        content = None if damaged else torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InvalidRun(f"{path.parent} has no {path.name}: no training has reached that far in it") from error
    except Exception as error:  # torch raises many kinds for damaged files; all mean the same here
        raise InvalidCheckpoint(f"the checkpoint {path} is cut short, damaged, or not a checkpoint") from error
    if damaged:
        raise InvalidCheckpoint(f"the checkpoint {path} is damaged: a checksum in it does not match")
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT or not _is_state(content):
        raise InvalidCheckpoint(f"the file {path} is not a checkpoint that this version reads")
    checkpoint = Checkpoint(**content)
    try:
        made_by = make_recipe(checkpoint.recipe)  # fields that are newer than the checkpoint get their defaults
    except InvalidRecipe as error:
        raise InvalidCheckpoint(f"the checkpoint {path} is of another version: {error}") from error
    return checkpoint, made_by


def _is_state(content: dict[str, Any]) -> bool:
    fields = set(Checkpoint._fields)
    return fields - set(Checkpoint._field_defaults) <= set(content) <= fields


# What comes after training, or only says where it happens, may be changed in a run's recipe.
_WITHOUT_EFFECT_ON_WEIGHTS = {"name", "description", "device", "max_rmse_increase", "weights"}
