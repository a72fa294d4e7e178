import itertools

import numpy as np
import pytest
import torch

from latentwire.model.card import ImageShape
from training.architectures import build_autoencoder
from training.architectures.codebook import CodebookAutoencoder, Path, shortest_path
from training.data.datasets import Dataset
from training.errors import InvalidRecipe
from training.loop.trainer import check
from training.recipe import Recipe, make_recipe

SHAPE = ImageShape(height=8, width=8, channels=1)


def recipe(**fields: object) -> Recipe:
    return make_recipe({"name": "paths"}, {"architecture": "codebook", "code_size": 2, "entries": 16, **fields})


def started(images: torch.Tensor, **fields: object) -> CodebookAutoencoder:
    torch.manual_seed(0)
    model = build_autoencoder(recipe(**fields), SHAPE)
    assert isinstance(model, CodebookAutoencoder)
    model.start_from(images)
    return model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_nearest_place_is_nearer_than_any_other_on_the_path() -> None:
    torch.manual_seed(3)
    path, values = Path(12, 64), torch.rand(30, 64)
    found = (path.at(path.nearest(values)) - values).square().sum(1)
    everywhere = torch.stack([path.at(torch.full((30,), place)) for place in np.linspace(0, 1, 2201)])
    best = (everywhere - values).square().sum(2).amin(0)
    torch.testing.assert_close(found, best, rtol=1e-3, atol=1e-4)
    assert (found <= best + 1e-4).all()


def test_the_ends_of_a_path_are_its_first_and_last_picture_and_so_is_all_beyond() -> None:
    path = Path(5, 64)
    ends = path.at(torch.tensor([0.0, 1.0, -3.0, 7.0]))
    torch.testing.assert_close(ends, path.pictures[[0, 4, 0, 4]])


def test_the_images_set_the_pictures_and_each_number_leaves_less(images: torch.Tensor) -> None:
    mean_error = (images - images.mean(0)).square().mean()
    one, two = ((started(images, code_size=size)(images) - images).square().mean().item() for size in (1, 2))
    assert two < one < mean_error


def test_a_step_moves_pictures_and_not_the_search(images: torch.Tensor) -> None:
    model = started(images)
    loss = (model(images) - images).square().mean()
    loss.backward()
    assert all(path.pictures.grad is not None and path.pictures.grad.abs().sum() > 0 for path in model.encoder.paths)


def test_the_order_of_a_line_is_found_from_its_shuffled_points() -> None:
    along = np.random.default_rng(0).permutation(40)
    points = np.stack([along, along * 0.5], axis=1)
    found = along[shortest_path(points)]
    # The path starts anywhere, so it may turn once; beside that it goes along the line.
    length = sum(abs(int(a) - int(b)) for a, b in itertools.pairwise(found))
    assert sorted(found) == list(range(40))
    assert length <= 2 * 39


def test_more_pictures_than_training_images_are_refused(dataset: Dataset) -> None:
    with pytest.raises(InvalidRecipe, match="entries"):
        check(recipe(entries=60_000, validation_images=20), dataset)


def test_a_variational_codebook_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="the architecture codebook has no field 'variational'"):
        recipe(variational=True)
