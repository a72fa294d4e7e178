"""Another run's best weights -> where a new run starts.

Enters: the folder of a run, or a checkpoint's file. Leaves: weights for the network of a recipe, and a record of where
they are from. What a rate adds to a network, and the source lacks, is fitted to the training images.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from training.architectures import Autoencoder
from training.architectures.spatial_latent import map_values
from training.data.datasets import Dataset
from training.errors import InvalidCheckpoint, InvalidRecipe
from training.loop.checkpoints import read_checkpoint
from training.recipe import Recipe
from training.runs import RunFolder

# What makes a network; all else may differ between a run and the one that it starts from.
_OF_THE_NETWORK = (
    "architecture",
    "code_size",
    "activation",
    "code_activation",
    "output_activation",
    "normalisation",
    "variational",
    "layers",
    "decoder_layers",
    "tied",
    "conv_widths",
    "decoder_widths",
    "kernel_size",
    "pooling",
    "upsampling",
    "conv_code",
    "dense_layers",
    "encoder_width",
    "decoder_width",
    "hidden",
    "encoder_blocks",
    "decoder_blocks",
    "map_channels",
    "entries",
)

_ENCODER, _DECODER = "encoder.", "decoder."


Weights = dict[str, torch.Tensor]


class Start(NamedTuple):
    """Weights to start from, what `environment.json` says of them, and which parts their network had already."""

    weights: Weights
    record: dict[str, Any]
    with_rate: bool
    with_correction: bool
    with_details: bool


def load_start(source: Path, recipe: Recipe, dataset: Dataset) -> Start:
    """Read the weights that a run of this recipe shall start from.

    Args:
        source: the folder of a run, whose best checkpoint is taken, or the file of a checkpoint.
        recipe: of the new run.
        dataset: of the new run.

    Raises:
        InvalidRun: there is no such checkpoint.
        InvalidCheckpoint: it is damaged, or of images of another shape.
        InvalidRecipe: it is of another network than the recipe's.
    """
    path = RunFolder(source).best if source.is_dir() else source
    checkpoint, made_by = read_checkpoint(path)
    # A network of the recipe may have a map of details that the source's has not, and a longer code by that.
    adds_details = recipe.map_channels > 0 and made_by.map_channels == 0
    values = map_values(recipe, dataset.shape) if adds_details else 0
    wanted_of = {**recipe.model_dump(), "code_size": recipe.code_size - values}
    for field in _OF_THE_NETWORK:
        if adds_details and field == "map_channels":
            continue
        was, wanted = getattr(made_by, field), wanted_of[field]
        if was != wanted:
            raise InvalidRecipe(
                f"a run cannot start from {path}, which is another network: its {field} is {was!r}, "
                f"that of the recipe {wanted!r}"
            )
    if made_by.rate_lambda > 0 and recipe.rate_lambda == 0:
        raise InvalidRecipe(f"{path} was trained for a rate, so a run that starts from it needs a rate_lambda too")
    if made_by.correction != recipe.correction and (made_by.correction or made_by.rate_lambda > 0):
        raise InvalidRecipe(
            f"{path} was trained {'with' if made_by.correction else 'for a rate without'} a correction; "
            "a run that starts from it has to do as it does"
        )
    if adds_details and made_by.rate_lambda > 0:
        raise InvalidRecipe(f"{path} was trained for a rate, so its network cannot get a map of details any more")
    if tuple(checkpoint.shape) != dataset.shape.as_tuple():
        raise InvalidCheckpoint(f"the checkpoint {path} is not for images of {dataset.shape}, as {dataset.name} has")
    return Start(
        checkpoint.kept_weights,
        {
            "run": path.resolve().parent.name,
            "recipe": made_by.name,
            "epoch": checkpoint.epoch,
            "rate_lambda": made_by.rate_lambda,
            "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        made_by.rate_lambda > 0,
        made_by.correction,
        made_by.map_channels > 0,
    )


def load_weights(start: Start, recipe: Recipe, model: Autoencoder) -> None:
    """Put the weights into a recipe's new network; what it adds to the source's network stays as it is.

    Raises:
        InvalidCheckpoint: the checkpoint does not hold the weights of its own recipe's network.
    """
    weights = start.weights
    parts_added: tuple[str, ...] = ()
    if recipe.correction and not start.with_correction:
        weights = _as_first_of_a_correction(weights)
        parts_added += (".corrector.",)
    if recipe.map_channels and not start.with_details:
        weights = _beside_details(weights, recipe)
        parts_added += (".details.", ".mix.")
    if recipe.rate_lambda > 0 and not start.with_rate:
        weights = _within_a_rate(weights)
        parts_added += (".gain.", "prior.")
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InvalidCheckpoint("the checkpoint to start from does not fit the network of its recipe") from error
    if unexpected or any(not any(part in name for part in parts_added) for name in missing):
        raise InvalidCheckpoint("the checkpoint to start from does not fit the network of its recipe")


def _as_first_of_a_correction(weights: Weights) -> Weights:
    """Rename the weights of a plain network as those of a `CorrectingEncoder` and its decoder, which it holds too."""
    named: Weights = {}
    for name, values in weights.items():
        if name.startswith(_ENCODER):
            named[f"{_ENCODER}first.{name.removeprefix(_ENCODER)}"] = values
        else:
            named |= {name: values, f"{_ENCODER}{name}": values}
    return named


def _beside_details(weights: Weights, recipe: Recipe) -> Weights:
    """Rename the weights of a network without a map of details as those of its dense part."""
    encoders = (f"{_ENCODER}first.", f"{_ENCODER}corrector.") if recipe.correction else (_ENCODER,)
    decoders = (_DECODER, f"{_ENCODER}{_DECODER}") if recipe.correction else (_DECODER,)
    part_of = {**dict.fromkeys(encoders, "dense."), **dict.fromkeys(decoders, "body.")}
    return {
        f"{half}{part}{name.removeprefix(half)}": values
        for name, values in weights.items()
        for half, part in part_of.items()
        if name.startswith(half)
    }


def _within_a_rate(weights: Weights) -> Weights:
    """Rename the weights of both halves as those of the bodies that a `RateAutoencoder` wraps."""
    return {
        f"{half}body.{name.removeprefix(half)}": values
        for name, values in weights.items()
        for half in (_ENCODER, _DECODER)
        if name.startswith(half)
    }
