"""Fully connected autoencoders.

They see an image as a list of values, without knowing which are neighbours. `layers` of 784, 128, 10 makes

x (N, C, H, W) ─ flatten (784) ─ linear ─ norm ─ activation (128) ─ linear ─ code activation ─ y (N, 10)

y (N, 10) ─ linear ─ norm ─ activation (128) ─ linear (784) ─ unflatten ─ output activation ─ x_hat
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from latentwire.model.card import ImageShape
from training.architectures.layers import InFloat32, activation, code_head, linear_block
from training.errors import InvalidRecipe
from training.recipe import Dense


class TiedLinear(nn.Module):
    """A linear layer whose weights are those of another one, transposed; the bias is its own."""

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        self.weight = source.weight
        self.bias = nn.Parameter(source.weight.new_zeros(source.in_features))

    def forward(self, values: Tensor) -> Tensor:
        """Map (N, the other's outputs) to (N, the other's inputs)."""
        return F.linear(values, self.weight.t(), self.bias)


def build_dense(architecture: Dense, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder; the decoder mirrors the encoder unless `decoder_layers` is given.

    Raises:
        InvalidRecipe: `layers` does not start with the image's number of values.
    """
    height, width, channels = shape.as_tuple()
    values = height * width * channels
    if architecture.layers[0] != values:
        raise InvalidRecipe(
            f"layers start with {architecture.layers[0]}, and must start with the {values} values of "
            f"an image of {shape}"
        )
    decoder_sizes = architecture.decoder_layers or tuple(reversed(architecture.layers))
    encoder = code_head(
        nn.Sequential(nn.Flatten(), *_hidden(architecture.layers, architecture)), architecture.layers[-2], architecture
    )
    decoder = [*_hidden(decoder_sizes, architecture), nn.Linear(decoder_sizes[-2], values)]
    if architecture.tied:
        decoder = _tied(decoder, encoder)
    return encoder, nn.Sequential(
        *decoder,
        nn.Unflatten(1, (channels, height, width)),
        InFloat32(activation(architecture.output_activation)),
    )


def _hidden(sizes: tuple[int, ...], architecture: Dense) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes[:-1]):
        layers += linear_block(inputs, outputs, architecture.activation, architecture.normalisation)
    return layers


def _tied(decoder: list[nn.Module], encoder: nn.Module) -> list[nn.Module]:
    """Put a tied layer in place of each linear one of the decoder, which mirrors the encoder."""
    named = encoder.named_modules()
    sources = [layer for name, layer in named if isinstance(layer, nn.Linear) and name != "log_variance"]
    return [TiedLinear(sources.pop()) if isinstance(layer, nn.Linear) else layer for layer in decoder]
