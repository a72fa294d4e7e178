"""Another run's best weights -> the initial weights of a new run.

The network of the new run may add a rate, a correction or a spatial part to that of the source. Added parts keep their
own initial weights; gains and prior of a rate are fitted to the training images.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from training.architectures import Autoencoder
from training.architectures.spatial_latent import spatial_values
from training.data.datasets import Dataset
from training.errors import InvalidCheckpoint, InvalidRecipe
from training.loop.checkpoints import read_checkpoint
from training.recipe import Architecture, Conv, Recipe
from training.runs import RunFolder

_ENCODER, _DECODER = "encoder.", "decoder."

Weights = dict[str, torch.Tensor]


class InitialWeights(NamedTuple):
    """Weights to start from, the record of them for `environment.json`, and which parts their network already has."""

    weights: Weights
    record: dict[str, Any]
    has_rate: bool
    has_correction: bool
    has_spatial_part: bool


def load_initial_weights(source: Path, recipe: Recipe, dataset: Dataset) -> InitialWeights:
    """Read the weights that a run of this recipe starts from.

    Args:
        source: a run's folder, whose best checkpoint is taken, or a checkpoint file.
        recipe: the recipe of the new run.
        dataset: the data set of the new run.

    Raises:
        InvalidRun: the checkpoint does not exist.
        InvalidCheckpoint: it is damaged, or was made for images of another shape.
        InvalidRecipe: its network is not one that the recipe's network extends.
    """
    path = RunFolder(source).best if source.is_dir() else source
    checkpoint, made_by = read_checkpoint(path)
    _check_architecture(path, made_by, recipe, dataset)
    if made_by.rate_lambda > 0 and recipe.rate_lambda == 0:
        raise InvalidRecipe(f"{path} was trained for a rate, so a run that starts from it needs a rate_lambda too")
    if tuple(checkpoint.shape) != dataset.shape.as_tuple():
        raise InvalidCheckpoint(f"the checkpoint {path} is not for images of {dataset.shape}, as {dataset.name} has")
    correction, spatial_channels = _parts(made_by.architecture)
    record = {
        "run": path.resolve().parent.name,
        "recipe": made_by.name,
        "epoch": checkpoint.epoch,
        "rate_lambda": made_by.rate_lambda,
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return InitialWeights(
        checkpoint.ema_weights, record, made_by.rate_lambda > 0, correction, has_spatial_part=spatial_channels > 0
    )


def load_weights(initial: InitialWeights, recipe: Recipe, model: Autoencoder) -> None:
    """Copy the weights into a recipe's new network; parts that the source's network lacks stay as they are.

    Raises:
        InvalidCheckpoint: the checkpoint does not hold the weights of its own recipe's network.
    """
    weights = initial.weights
    added_parts: tuple[str, ...] = ()
    correction, spatial_channels = _parts(recipe.architecture)
    if correction and not initial.has_correction:
        weights = _rename_for_correction(weights)
        added_parts += (".corrector.",)
    if spatial_channels and not initial.has_spatial_part:
        weights = _rename_for_spatial_part(weights, correction)
        added_parts += (".spatial.", ".mix.")
    if recipe.rate_lambda > 0 and not initial.has_rate:
        weights = _rename_for_rate(weights)
        added_parts += (".gain.", "prior.")
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InvalidCheckpoint("the checkpoint to start from does not fit the network of its recipe") from error
    if unexpected or any(not any(part in name for part in added_parts) for name in missing):
        raise InvalidCheckpoint("the checkpoint to start from does not fit the network of its recipe")


def _parts(architecture: Architecture) -> tuple[bool, int]:
    """Return whether a network corrects its code, and the channels of its code's spatial part."""
    if not isinstance(architecture, Conv):
        return False, 0
    return architecture.correction, architecture.spatial_channels


def _check_architecture(path: Path, made_by: Recipe, recipe: Recipe, dataset: Dataset) -> None:
    """See that the recipe's network is the source's, perhaps with parts added."""
    source, wanted = made_by.architecture, recipe.architecture
    if isinstance(source, Conv) and isinstance(wanted, Conv):
        if source.correction != wanted.correction and (source.correction or made_by.rate_lambda > 0):
            raise InvalidRecipe(
                f"{path} was trained {'with' if source.correction else 'for a rate without'} a correction; "
                "a run that starts from it must do the same"
            )
        same: dict[str, object] = {"correction": source.correction}
        if wanted.spatial_channels and not source.spatial_channels:
            if made_by.rate_lambda > 0:
                raise InvalidRecipe(f"{path} was trained for a rate, so a spatial part can no longer be added to it")
            # The spatial part makes the code longer; the dense part must be the source's code.
            same |= {"spatial_channels": 0, "code_size": wanted.code_size - spatial_values(wanted, dataset.shape)}
        wanted = wanted.model_copy(update=same)
    if source.kind != wanted.kind:
        raise _other_network(path, "architecture", source.kind, wanted.kind)
    for field, value in wanted:
        if value != (was := getattr(source, field)):
            raise _other_network(path, field, was, value)


def _other_network(path: Path, field: str, was: object, wanted: object) -> InvalidRecipe:
    return InvalidRecipe(
        f"a run cannot start from {path}, which is another network: its {field} is {was!r}, "
        f"that of the recipe {wanted!r}"
    )


def _rename_for_correction(weights: Weights) -> Weights:
    """Rename a plain network's weights to those of a `CorrectingEncoder`, which holds the decoder too."""
    named: Weights = {}
    for name, values in weights.items():
        if name.startswith(_ENCODER):
            named[f"{_ENCODER}first.{name.removeprefix(_ENCODER)}"] = values
        else:
            named |= {name: values, f"{_ENCODER}{name}": values}
    return named


def _rename_for_spatial_part(weights: Weights, correction: bool) -> Weights:
    """Rename the weights of a network without a spatial part to those of its dense part."""
    encoders = (f"{_ENCODER}first.", f"{_ENCODER}corrector.") if correction else (_ENCODER,)
    decoders = (_DECODER, f"{_ENCODER}{_DECODER}") if correction else (_DECODER,)
    part_of = {**dict.fromkeys(encoders, "dense."), **dict.fromkeys(decoders, "body.")}
    return {
        f"{half}{part}{name.removeprefix(half)}": values
        for name, values in weights.items()
        for half, part in part_of.items()
        if name.startswith(half)
    }


def _rename_for_rate(weights: Weights) -> Weights:
    """Rename the weights of both halves to those of the bodies that a `RateAutoencoder` wraps."""
    return {
        f"{half}body.{name.removeprefix(half)}": values
        for name, values in weights.items()
        for half in (_ENCODER, _DECODER)
        if name.startswith(half)
    }
