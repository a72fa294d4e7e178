"""Recipe and image shape -> untrained autoencoder. Each architecture is a file; this one knows their names.

Knows nothing of data, losses or training.
"""

from collections.abc import Callable

from codec.model_card import ImageShape
from training.architectures.autoencoder import Autoencoder
from training.architectures.conv import build_conv
from training.architectures.dense import build_dense
from training.recipe import ArchitectureName, Recipe

_BUILDERS: dict[ArchitectureName, Callable[[Recipe, ImageShape], Autoencoder]] = {
    "dense": build_dense,
    "conv": build_conv,
}


def build_autoencoder(recipe: Recipe, shape: ImageShape) -> Autoencoder:
    """Build the autoencoder that the recipe names, with weights drawn from torch's global generator."""
    return _BUILDERS[recipe.architecture](recipe, shape)


__all__ = ["Autoencoder", "build_autoencoder"]
