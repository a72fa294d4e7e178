from typing import Any

import pytest
import torch
from torch import nn

from latentwire.model.card import ImageShape
from training.architectures import VariationalAutoencoder, build_autoencoder
from training.architectures.dense import TiedLinear
from training.architectures.layers import InFloat32
from training.errors import InvalidRecipe
from training.recipe import Recipe, load_recipe, make_recipe
from training.recipe.architecture import KINDS

DIGIT = ImageShape(height=28, width=28, channels=1)
SHAPES = [(28, 28, 1), (32, 32, 3), (8, 8, 1), (9, 30, 4), (11, 13, 1), (64, 24, 3), (1, 5, 4)]


def _recipe(shape: ImageShape = DIGIT, **fields: Any) -> Recipe:
    small: dict[str, dict[str, object]] = {
        "dense": {"layers": (shape.height * shape.width * shape.channels, 16, 8, 3)},
        "conv": {"code_size": 3, "encoder_width": 4, "decoder_width": 4, "hidden": 16},
        "conv-plain": {"code_size": 3, "conv_widths": (4, 6)},
        "codebook": {"code_size": 3, "entries": 16},
    }
    return make_recipe({"name": "a"}, {**small[fields.get("architecture", "dense")], **fields})


VARIANTS: list[dict[str, object]] = [
    {"architecture": "dense", "tied": True},
    {"architecture": "dense", "variational": True, "tied": True},
    {"architecture": "conv", "variational": True},
    {"architecture": "conv-plain", "pooling": "average", "upsampling": "nearest", "dense_layers": (7,)},
    {"architecture": "conv-plain", "pooling": "stride", "kernel_size": 5, "decoder_widths": (5, 3)},
    {"architecture": "conv-plain", "conv_widths": (4,), "kernel_size": 1, "variational": True},
]


@pytest.mark.parametrize(
    ("fields", "height", "width", "channels"),
    [({"architecture": name}, *shape) for name in KINDS for shape in SHAPES]
    + [(fields, *shape) for fields in VARIANTS for shape in [(28, 28, 1), (9, 12, 3)]],
)
def test_any_image_shape_goes_through_and_comes_back(
    fields: dict[str, object], height: int, width: int, channels: int
) -> None:
    shape = ImageShape.model_validate({"height": height, "width": width, "channels": channels})
    model = build_autoencoder(_recipe(shape, **fields), shape)
    x = torch.rand(2, channels, height, width)
    y = model.encoder(x)
    x_hat = model.decoder(y)
    assert y.shape == (2, 3)
    assert x_hat.shape == x.shape
    assert 0 <= x_hat.min() <= x_hat.max() <= 1
    trained, penalty = model.reconstruct(x, torch.Generator())
    assert trained.shape == x.shape
    (trained.sum() + (0 if penalty is None else penalty)).backward()  # type: ignore[no-untyped-call]
    assert all(weights.grad is not None for weights in model.parameters())


def test_dense_layers_have_the_sizes_of_the_recipe_and_the_decoder_mirrors_them() -> None:
    model = build_autoencoder(_recipe(layers=(784, 16, 8, 3)), DIGIT)
    assert _linear_sizes(model.encoder) == [(784, 16), (16, 8), (8, 3)]
    assert _linear_sizes(model.decoder) == [(3, 8), (8, 16), (16, 784)]
    lopsided = build_autoencoder(_recipe(layers=(784, 3), decoder_layers=(3, 5, 784)), DIGIT)
    assert _linear_sizes(lopsided.encoder) == [(784, 3)]
    assert _linear_sizes(lopsided.decoder) == [(3, 5), (5, 784)]


def test_a_tied_decoder_has_the_encoders_weights_transposed_and_biases_of_its_own() -> None:
    for variational in (False, True):
        model = build_autoencoder(_recipe(tied=True, normalisation="none", variational=variational), DIGIT)
        down = [layer for name, layer in model.encoder.named_modules() if "log_variance" not in name]
        weights = [layer.weight for layer in down if isinstance(layer, nn.Linear)]
        tied = [layer for layer in model.decoder if isinstance(layer, TiedLinear)]  # type: ignore[attr-defined]
        assert [layer.weight for layer in tied] == weights[::-1]
        assert [len(layer.bias) for layer in tied] == [8, 16, 784]
        biases = sum(layer.bias.numel() for layer in down if isinstance(layer, nn.Linear)) + 8 + 16 + 784
        spread = 8 * 3 + 3 if variational else 0
        assert sum(map(torch.numel, model.parameters())) == sum(map(torch.numel, weights)) + biases + spread


@pytest.mark.parametrize(("pooling", "kind"), [("max", nn.MaxPool2d), ("average", nn.AvgPool2d), ("stride", None)])
@pytest.mark.parametrize(("upsampling", "up"), [("transposed", nn.ConvTranspose2d), ("nearest", nn.Upsample)])
def test_plain_convolutions_pool_and_upsample_as_the_recipe_says(
    pooling: str, kind: type | None, upsampling: str, up: type
) -> None:
    fields: dict[str, Any] = {
        "architecture": "conv-plain",
        "pooling": pooling,
        "upsampling": upsampling,
        "conv_widths": (4, 6, 5),
    }
    model = build_autoencoder(_recipe(**fields), DIGIT)
    kinds = [type(layer) for layer in model.encoder.modules()]
    assert [kinds.count(pool) for pool in (nn.MaxPool2d, nn.AvgPool2d)] == [
        3 if kind is pool else 0 for pool in (nn.MaxPool2d, nn.AvgPool2d)
    ]
    assert sum(isinstance(layer, up) for layer in model.decoder.modules()) == 3


def test_article_003s_code_is_the_map_of_its_last_block() -> None:
    model = build_autoencoder(load_recipe("003-conv"), DIGIT)
    x = torch.rand(2, 1, 28, 28)
    maps = nn.Sequential(*list(model.encoder)[:6])(x)  # type: ignore[call-overload]
    assert maps.shape == (2, 32, 7, 7)
    assert torch.equal(model.encoder(x), maps.flatten(1))
    assert model.decoder(maps.flatten(1)).shape == x.shape


def test_a_variational_encoder_gives_the_mean_and_trains_on_draws_around_it() -> None:
    model = build_autoencoder(_recipe(variational=True, kl_weight=2.0), DIGIT)
    assert isinstance(model, VariationalAutoencoder)
    model.eval()
    x = torch.rand(50, 1, 28, 28)
    mean, log_variance = model.encoder.posterior(x)
    assert torch.equal(model.encoder(x), mean)
    assert torch.equal(model(x), model.decoder(mean))
    first, penalty = model.reconstruct(x, torch.Generator().manual_seed(1))
    again, _ = model.reconstruct(x, torch.Generator().manual_seed(1))
    other, _ = model.reconstruct(x, torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(penalty, 2 * divergence / x.numel())


def test_glorots_weights_are_wider_than_torchs_and_biases_are_0() -> None:
    recipe = _recipe(layers=(784, 100, 50, 3), normalisation="none")
    glorot = build_autoencoder(recipe.model_copy(update={"initialisation": "glorot"}), DIGIT)
    for layer in glorot.modules():
        if isinstance(layer, nn.Linear):
            bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"layers": (800, 3)},
            "layers start with 800, and must start with the 784 values of an image of 28 × 28 pixels",
        ),
        ({"architecture": "conv-plain", "conv_widths": (2,) * 6}, "6 blocks, and 28 × 28 pixels, 1 channel cannot be"),
        ({"architecture": "conv-plain", "conv_code": "map"}, "is a code of 294 numbers, and code_size is 3"),
    ],
)
def test_layers_that_do_not_fit_the_image_are_told(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRecipe, match=words):
        build_autoencoder(_recipe(**fields), DIGIT)


def test_normalisation_and_activations_are_those_of_the_recipe() -> None:
    for architecture in set(KINDS) - {"codebook"}:  # which has no layers
        fields: dict[str, Any] = {"architecture": architecture, "normalisation": "none", "activation": "relu"}
        model = build_autoencoder(_recipe(**fields, code_activation="tanh", output_activation="none"), DIGIT)
        kinds = {type(module) for module in model.modules()}
        assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d, nn.SiLU, nn.Sigmoid}
        assert {nn.ReLU, nn.Tanh} <= kinds


def test_more_blocks_and_width_make_a_larger_network() -> None:
    def size(**fields: Any) -> int:
        model = build_autoencoder(_recipe(architecture="conv", **fields), DIGIT)
        return sum(weights.numel() for weights in model.parameters())

    plain = size()
    assert size(encoder_width=5) > plain
    assert size(decoder_width=5) > plain
    assert size(encoder_blocks=(1, 1, 1)) > plain
    assert size(decoder_blocks=(1, 1, 1)) > plain


def test_the_output_is_computed_in_float32_under_autocast() -> None:
    model = build_autoencoder(_recipe(), DIGIT)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.rand(2, 1, 28, 28)).dtype == torch.float32
    assert InFloat32(nn.Sigmoid())(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32


def _linear_sizes(half: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in half.modules() if isinstance(layer, nn.Linear)]
