"""Recipe and image shape -> untrained autoencoder. Each architecture is a file; this one knows their names.

Knows nothing of data, losses or training.
"""

from collections.abc import Callable

from torch import nn

from latentwire.model.card import ImageShape
from training.architectures.autoencoder import Autoencoder, Reconstruction, VariationalAutoencoder
from training.architectures.autoencoder import GaussianEncoder as _GaussianEncoder
from training.architectures.codebook import build_codebook
from training.architectures.conv import build_conv
from training.architectures.conv_plain import build_conv_plain
from training.architectures.dense import build_dense
from training.architectures.layers import initialise
from training.architectures.rate import RateAutoencoder
from training.recipe import ArchitectureName, Recipe

_BUILDERS: dict[ArchitectureName, Callable[[Recipe, ImageShape], tuple[nn.Module, nn.Module]]] = {
    "dense": build_dense,
    "conv": build_conv,
    "conv-plain": build_conv_plain,
}


def build_autoencoder(recipe: Recipe, shape: ImageShape) -> Autoencoder:
    """Build the autoencoder that the recipe names, with weights drawn from torch's global generator.

    Raises:
        InvalidRecipe: its layers do not fit images of this shape.
    """
    if recipe.architecture == "codebook":
        return build_codebook(recipe, shape)
    encoder, decoder = _BUILDERS[recipe.architecture](recipe, shape)
    if isinstance(encoder, _GaussianEncoder):
        model: Autoencoder = VariationalAutoencoder(encoder, decoder, recipe.kl_weight)
    elif recipe.rate_lambda > 0:
        model = RateAutoencoder(encoder, decoder, recipe.code_size, recipe.rate_lambda)
    else:
        model = Autoencoder(encoder, decoder)
    initialise(model, recipe.initialisation)
    return model


__all__ = ["Autoencoder", "RateAutoencoder", "Reconstruction", "VariationalAutoencoder", "build_autoencoder"]
