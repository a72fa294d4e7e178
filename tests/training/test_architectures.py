import pytest
import torch
from torch import nn

from codec.model_card import ImageShape
from training.architectures import build_autoencoder
from training.architectures.layers import InFloat32
from training.recipe import Recipe, choices, make_recipe


def _recipe(**fields: object) -> Recipe:
    small = {"layers": (16, 8), "encoder_width": 4, "decoder_width": 4, "hidden": 16, "code_size": 3}
    return make_recipe({"name": "a", **small, **fields})


@pytest.mark.parametrize("architecture", choices("architecture"))
@pytest.mark.parametrize(
    ("height", "width", "channels"),
    [(28, 28, 1), (32, 32, 3), (8, 8, 1), (9, 30, 4), (11, 13, 1), (64, 24, 3)],
)
def test_any_image_shape_goes_through_and_comes_back(architecture: str, height: int, width: int, channels: int) -> None:
    shape = ImageShape.model_validate({"height": height, "width": width, "channels": channels})
    model = build_autoencoder(_recipe(architecture=architecture), shape)
    x = torch.rand(2, channels, height, width)
    y = model.encoder(x)
    x_hat = model.decoder(y)
    assert y.shape == (2, 3)
    assert x_hat.shape == x.shape
    assert 0 <= x_hat.min() <= x_hat.max() <= 1
    x_hat.sum().backward()
    assert all(weights.grad is not None for weights in model.parameters())


def test_dense_layers_have_the_sizes_of_the_recipe_and_the_decoder_mirrors_them() -> None:
    shape = ImageShape(height=28, width=28, channels=1)
    model = build_autoencoder(_recipe(layers=(16, 8)), shape)
    assert _linear_sizes(model.encoder) == [(784, 16), (16, 8), (8, 3)]
    assert _linear_sizes(model.decoder) == [(3, 8), (8, 16), (16, 784)]
    lopsided = build_autoencoder(_recipe(layers=(), decoder_layers=(5,)), shape)
    assert _linear_sizes(lopsided.encoder) == [(784, 3)]
    assert _linear_sizes(lopsided.decoder) == [(3, 5), (5, 784)]


def test_normalisation_and_activations_are_those_of_the_recipe() -> None:
    shape = ImageShape(height=28, width=28, channels=1)
    for architecture in choices("architecture"):
        fields = {"architecture": architecture, "normalisation": "none", "activation": "relu"}
        model = build_autoencoder(_recipe(**fields, code_activation="tanh", output_activation="none"), shape)
        kinds = {type(module) for module in model.modules()}
        assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d, nn.SiLU, nn.Sigmoid}
        assert {nn.ReLU, nn.Tanh} <= kinds


def test_more_blocks_and_width_make_a_larger_network() -> None:
    shape = ImageShape(height=28, width=28, channels=1)

    def size(**fields: object) -> int:
        model = build_autoencoder(_recipe(architecture="conv", **fields), shape)
        return sum(weights.numel() for weights in model.parameters())

    plain = size()
    assert size(encoder_width=5) > plain
    assert size(decoder_width=5) > plain
    assert size(encoder_blocks=(1, 1, 1)) > plain
    assert size(decoder_blocks=(1, 1, 1)) > plain


def test_the_output_is_computed_in_float32_under_autocast() -> None:
    model = build_autoencoder(_recipe(), ImageShape(height=28, width=28, channels=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.rand(2, 1, 28, 28)).dtype == torch.float32
    assert InFloat32(nn.Sigmoid())(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32


def _linear_sizes(half: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in half.modules() if isinstance(layer, nn.Linear)]
