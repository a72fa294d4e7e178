"""Recipe and image shape -> untrained autoencoder. Each architecture has a file of its own."""

from latentwire.model.card import ImageShape
from training.architectures.autoencoder import Autoencoder, GaussianEncoder, VariationalAutoencoder
from training.architectures.codebook import build_codebook
from training.architectures.conv import build_conv
from training.architectures.conv_plain import build_conv_plain
from training.architectures.dense import build_dense
from training.architectures.layers import initialise
from training.architectures.rate import RateAutoencoder
from training.recipe import Codebook, Conv, Dense, Recipe


def build_autoencoder(recipe: Recipe, shape: ImageShape) -> Autoencoder:
    """Build the autoencoder that the recipe names, with weights drawn from torch's global generator.

    Raises:
        InvalidRecipe: its layers do not fit images of this shape.
    """
    architecture = recipe.architecture
    if isinstance(architecture, Codebook):
        return build_codebook(architecture, shape, recipe.seed)
    if isinstance(architecture, Dense):
        encoder, decoder = build_dense(architecture, shape)
    elif isinstance(architecture, Conv):
        encoder, decoder = build_conv(architecture, shape)
    else:
        encoder, decoder = build_conv_plain(architecture, shape)
    if isinstance(encoder, GaussianEncoder):
        model: Autoencoder = VariationalAutoencoder(encoder, decoder, recipe.kl_weight)
    elif recipe.rate_lambda > 0:
        model = RateAutoencoder(encoder, decoder, recipe.code_size, recipe.rate_lambda)
    else:
        model = Autoencoder(encoder, decoder)
    initialise(model, recipe.initialisation)
    return model


__all__ = ["Autoencoder", "RateAutoencoder", "VariationalAutoencoder", "build_autoencoder"]
