"""Fully connected autoencoders.

They see an image as a list of values, and know nothing of which are neighbours.

x (N, C, H, W) ─ flatten ─ [linear ─ norm ─ activation] × layers ─ linear ─ code activation ─ y (N, code size)

y (N, code size) ─ [linear ─ norm ─ activation] × decoder layers ─ linear ─ unflatten ─ output activation ─ x_hat
"""

import itertools

from torch import nn

from codec.model_card import ImageShape
from training.architectures.autoencoder import Autoencoder
from training.architectures.layers import InFloat32, activation, linear_block
from training.recipe import Recipe


def build_dense(recipe: Recipe, shape: ImageShape) -> Autoencoder:
    """Build the network of `recipe.layers`; the decoder mirrors the encoder unless `recipe.decoder_layers` is given."""
    height, width, channels = shape.as_tuple()
    values = height * width * channels
    decoder_layers = recipe.decoder_layers or tuple(reversed(recipe.layers))
    encoder = nn.Sequential(
        nn.Flatten(),
        *_hidden((values, *recipe.layers), recipe),
        nn.Linear((values, *recipe.layers)[-1], recipe.code_size),
        InFloat32(activation(recipe.code_activation)),
    )
    decoder = nn.Sequential(
        *_hidden((recipe.code_size, *decoder_layers), recipe),
        nn.Linear((recipe.code_size, *decoder_layers)[-1], values),
        nn.Unflatten(1, (channels, height, width)),
        InFloat32(activation(recipe.output_activation)),
    )
    return Autoencoder(encoder, decoder)


def _hidden(sizes: tuple[int, ...], recipe: Recipe) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += linear_block(inputs, outputs, recipe.activation, recipe.normalisation)
    return layers
