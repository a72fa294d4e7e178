import pytest
import torch

from latentwire.model.card import ImageShape
from training.architectures import build_autoencoder
from training.architectures.iterative_refinement import CorrectingEncoder
from training.errors import InvalidRecipe
from training.recipe import Recipe, make_recipe

SHAPE = ImageShape(height=12, width=12, channels=3)


def recipe(**fields: object) -> Recipe:
    small = {"encoder_width": 4, "decoder_width": 4, "hidden": 16, "code_size": 3}
    return make_recipe({"name": "looks"}, {"architecture": "conv", "correction": True, **small, **fields})


def test_a_new_corrector_changes_nothing_and_a_trained_one_does() -> None:
    torch.manual_seed(0)
    model, x = build_autoencoder(recipe(), SHAPE).eval(), torch.rand(5, 3, 12, 12)
    encoder = model.encoder
    assert isinstance(encoder, CorrectingEncoder)
    torch.testing.assert_close(encoder(x), encoder.first(x))

    optimizer = torch.optim.SGD(encoder.corrector.parameters(), 0.1)
    (model(x) - x).square().sum().backward()
    optimizer.step()
    assert not torch.allclose(encoder(x), encoder.first(x))


def test_the_decoder_is_one_and_learns_in_reduced_precision_too() -> None:
    torch.manual_seed(0)
    model, x = build_autoencoder(recipe(), SHAPE), torch.rand(5, 3, 12, 12)
    assert isinstance(model.encoder, CorrectingEncoder)
    assert model.encoder.decoder is model.decoder
    with torch.autocast("cpu", torch.bfloat16):
        loss = (model(x) - x).square().mean()
    loss.backward()
    assert all(weights.grad is not None for weights in model.decoder.parameters())
    assert all(weights.grad is not None for weights in model.encoder.first.parameters())


@pytest.mark.parametrize("fields", [{"variational": True}, {"code_activation": "tanh"}, {"architecture": "conv-plain"}])
def test_what_cannot_be_corrected_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe, match=r"correction"):
        recipe(**fields)
