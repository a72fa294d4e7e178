import pytest
import torch

from latentwire.model.card import ImageShape
from training.architectures import RateAutoencoder, build_autoencoder
from training.architectures.iterative_refinement import CorrectingEncoder
from training.architectures.spatial_latent import DenseAndSpatialEncoder, spatial_values
from training.errors import InvalidRecipe
from training.recipe import Conv, Recipe, make_recipe

SHAPE = ImageShape(height=13, width=12, channels=3)
SPATIAL = 2 * 4 * 3


def recipe(**fields: object) -> Recipe:
    small = {"encoder_width": 4, "decoder_width": 4, "hidden": 16, "code_size": 3 + SPATIAL, "spatial_channels": 2}
    return make_recipe({"name": "detailed"}, {"architecture": "conv", **small, **fields})


def test_a_code_holds_its_dense_part_and_then_its_spatial_part() -> None:
    architecture = recipe().architecture
    assert isinstance(architecture, Conv)
    assert spatial_values(architecture, SHAPE) == SPATIAL
    model, x = build_autoencoder(recipe(), SHAPE).eval(), torch.rand(5, 3, 13, 12)
    assert isinstance(model.encoder, DenseAndSpatialEncoder)
    y = model.encoder(x)
    assert y.shape == (5, 3 + SPATIAL)
    torch.testing.assert_close(y[:, :3], model.encoder.dense(x))
    assert model.decoder(y).shape == x.shape


def test_a_detail_changes_the_picture_at_its_place_alone() -> None:
    torch.manual_seed(0)
    side = 80
    shape = ImageShape(height=side, width=side, channels=1)
    model = build_autoencoder(recipe(code_size=3 + 2 * (side // 4) ** 2), shape).eval()
    y = torch.randn(1, 3 + 2 * (side // 4) ** 2)
    corner = y.clone()
    corner[:, 3] += 1.0
    changed = (model.decoder(corner) - model.decoder(y)).abs()[0, 0]
    assert changed[: side // 2, : side // 2].max() > 0
    assert changed[side // 2 :].max() == 0
    assert changed[:, side // 2 :].max() == 0


def test_with_a_correction_the_spatial_part_encodes_the_residual() -> None:
    torch.manual_seed(0)
    model, x = build_autoencoder(recipe(correction=True), SHAPE), torch.rand(5, 3, 13, 12)
    encoder = model.encoder
    assert isinstance(encoder, CorrectingEncoder)
    assert not encoder.first(x)[:, 3:].any()
    assert encoder.eval()(x)[:, 3:].all()
    torch.testing.assert_close(encoder(x)[:, :3], encoder.first(x)[:, :3])
    (model(x) - x).square().mean().backward()
    assert all(weights.grad is not None for weights in model.decoder.parameters())


def test_a_prior_starts_from_codes_as_training_sees_them() -> None:
    torch.manual_seed(0)
    model, x = build_autoencoder(recipe(rate_lambda=100), SHAPE), torch.rand(400, 3, 13, 12)
    assert isinstance(model, RateAutoencoder)
    model.start_from(x)
    with torch.no_grad():
        y = model.train().encoder(x)
    assert y.std(dim=0).max() < 3 * y.std(dim=0).min()
    assert model.prior(y).mean() < 8


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"architecture": "conv-plain"}, "the architecture conv-plain has no field"),
        ({"variational": True}, "not variational"),
        ({"code_activation": "tanh"}, "without code_activation"),
    ],
)
def test_a_code_without_a_spatial_part_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        recipe(**fields)


def test_a_code_without_a_dense_part_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match=r"has 24 numbers .* as the code also has a dense part"):
        build_autoencoder(recipe(code_size=SPATIAL), SHAPE)
