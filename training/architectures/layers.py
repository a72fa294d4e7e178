"""The layers that architectures are built of: names in a recipe -> torch modules."""

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from training.architectures.autoencoder import GaussianEncoder
from training.recipe import Layered
from training.recipe.architecture import ActivationName as Activation
from training.recipe.architecture import NormalisationName as Normalisation
from training.recipe.recipe import InitialisationName as Initialisation

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}


class InFloat32(nn.Module):
    """Computes an activation in float32, also where autocast made its input bfloat16.

    A pixel in bfloat16 has at most 8 bits of precision, which makes squared errors too coarse to train on.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, values: Tensor) -> Tensor:
        """Apply the activation to any tensor of floats."""
        return cast(Tensor, self.activation(values.float()))


def activation(name: Activation) -> nn.Module:
    """Make the activation of that name."""
    return _ACTIVATIONS[name]()


def initialise(model: nn.Module, name: Initialisation) -> None:
    """Draw the weights of all layers again, in place, from torch's global generator.

    "torch" leaves them as torch made them. "glorot" is Glorot and Bengio 2010,
    https://proceedings.mlr.press/v9/glorot10a, with biases of 0, as Keras has it: deep networks of sigmoids, whose
    gradients torch's smaller weights let vanish, can then be trained.
    """
    if name == "torch":
        return
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def code_head(body: nn.Sequential, features: int, architecture: Layered) -> nn.Module:
    """Append the layer that makes the code of values (N, features); return the encoder."""
    if architecture.variational:
        return GaussianEncoder(body, features, architecture.code_size)
    code = nn.Linear(features, architecture.code_size)
    return nn.Sequential(*body, code, InFloat32(activation(architecture.code_activation)))


def halved(side: int) -> int:
    """Return what a halving makes of a side in pixels: an odd one is rounded up."""
    return (side + 1) // 2


def linear_block(
    inputs: int, outputs: int, activation_name: Activation, normalisation: Normalisation
) -> list[nn.Module]:
    """Make linear -> normalisation -> activation, for values (N, inputs)."""
    layer = nn.Linear(inputs, outputs, bias=normalisation == "none")
    return [layer, *_ending(nn.BatchNorm1d, outputs, activation_name, normalisation)]


def conv_block(
    inputs: int,
    outputs: int,
    activation_name: Activation,
    normalisation: Normalisation,
    *,
    kernel: int = 3,
    stride: int = 1,
    padding: int | tuple[int, int] = 1,
) -> list[nn.Module]:
    """Make convolution -> normalisation -> activation, for feature maps (N, inputs, H, W)."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=normalisation == "none")
    return [layer, *_ending(nn.BatchNorm2d, outputs, activation_name, normalisation)]


def upconv_block(
    inputs: int,
    outputs: int,
    activation_name: Activation,
    normalisation: Normalisation,
    *,
    kernel: int,
    output_padding: tuple[int, int] = (0, 0),
) -> list[nn.Module]:
    """Make transposed convolution of stride 2 -> normalisation -> activation, for feature maps (N, inputs, H, W).

    A kernel of 4 doubles height and width; an odd one gives 2 · size - 1 + output_padding.
    """
    padding, bias = (kernel - 1) // 2, normalisation == "none"
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, 2, padding, output_padding, bias=bias)
    return [layer, *_ending(nn.BatchNorm2d, outputs, activation_name, normalisation)]


def _ending(
    batch_norm: type[nn.BatchNorm1d | nn.BatchNorm2d],
    outputs: int,
    activation_name: Activation,
    normalisation: Normalisation,
) -> list[nn.Module]:
    # The layer before has a bias only without a normalisation, which has one of its own.
    normalise: list[nn.Module] = [batch_norm(outputs)] if normalisation == "batch" else []
    return normalise if activation_name == "none" else [*normalise, activation(activation_name)]


class Crop(nn.Module):
    """(N, C, at least height, at least width) -> (N, C, height, width), cut at the bottom and the right."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, values: Tensor) -> Tensor:
        """Cut feature maps to the image's size."""
        return values[:, :, : self.height, : self.width]


class Residual(nn.Module):
    """values -> activation(values + convolutions(values)), He et al. 2016, https://arxiv.org/abs/1512.03385.

    values ──┬── conv 3×3 ── norm ── activation ── conv 3×3 ── norm ──(+)── activation ──
             └────────────────────────────────────────────────────────┘
    """

    def __init__(self, width: int, activation_name: Activation, normalisation: Normalisation) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *conv_block(width, width, activation_name, normalisation),
            *conv_block(width, width, "none", normalisation),
        )
        self.activation = activation(activation_name)

    def forward(self, values: Tensor) -> Tensor:
        """Map feature maps (N, width, H, W) to the same shape."""
        return cast(Tensor, self.activation(values + self.convolutions(values)))
