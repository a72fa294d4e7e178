"""Every recipe at toy size: a few steps on drawn digits. One recipe of each kind of network goes all the way."""

from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.model.card import load_card
from service.settings import Settings
from tests.service.conftest import serve
from training.data.datasets import Dataset
from training.loop.trainer import check, train
from training.recipe import Architecture, Codebook, Conv, ConvPlain, Recipe, load_recipe, make_recipe, recipe_names
from training.release.pipeline import publish_run
from training.runs import RunFolder, create_run

TOY = {
    "dataset": "synthetic",
    "epochs": 1,
    "training_images": 64,
    "validation_images": 32,
    "batch_size": 32,
    "threads": 1,
    "max_rmse_increase": 0.02,
}


def _small(architecture: Architecture) -> dict[str, object]:
    """Return the options of a small network of that kind."""
    if isinstance(architecture, Codebook):
        return {"entries": 24}
    if isinstance(architecture, Conv):
        return {"encoder_width": 4, "decoder_width": 4, "hidden": 16}
    if isinstance(architecture, ConvPlain):
        widths = (4,) * len(architecture.conv_widths)
        return {"conv_widths": widths, **({"code_size": 4 * 7 * 7} if architecture.conv_code == "map" else {})}
    return {}


def _kind_of_network(recipe: Recipe) -> tuple[object, ...]:
    """Return what decides the operations of a recipe's graphs, whatever the sizes of its layers."""
    names = ("variational", "tied", "correction", "conv_code", "pooling", "upsampling")
    options = recipe.options()
    values = (options.get(name) for name in names)
    return (options["architecture"], bool(options.get("spatial_channels")), *values)


# One recipe of each kind; a rate only multiplies codes by gains.
PUBLISHED = list({_kind_of_network(load_recipe(name)): name for name in recipe_names()}.values())


@pytest.fixture(scope="module")
def few(dataset: Dataset) -> Dataset:
    """The drawn digits, with few enough images to look at each recipe."""
    images = dataset.train.take(np.arange(200)), dataset.test.take(np.arange(40))
    return dataset._replace(train=images[0], test=images[1])


def _train(name: str, dataset: Dataset, path: Path) -> RunFolder:
    recipe = load_recipe(name, TOY)
    if not isinstance(recipe.architecture, Codebook):  # which has more entries than the toy data set has images
        check(recipe, dataset)
    recipe = make_recipe(recipe.model_dump(), _small(recipe.architecture))
    run = create_run(recipe, path)
    train(recipe, dataset, run)
    return run


@pytest.mark.parametrize("name", sorted(set(recipe_names()) - set(PUBLISHED)))
def test_a_recipe_trains(name: str, tmp_path: Path, few: Dataset) -> None:
    run = _train(name, few, tmp_path / "run")
    assert 0 < run.metrics()[0]["validation_rmse"] < 1
    assert run.best.is_file()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_trains_exports_publishes_and_comes_back(name: str, tmp_path: Path, few: Dataset) -> None:
    run = _train(name, few, tmp_path / "run")
    code_size = run.recipe().code_size
    card = publish_run(run, few, tmp_path / "models")
    assert card.code_size == code_size
    assert card.quality is not None
    assert card.quality.images == 40

    folder = tmp_path / "models" / card.name
    assert load_card(folder) == card
    pixels = few.test.pixels[:3]
    encoded = Encoder.open(folder).encode(pixels)
    assert encoded[0].y.shape == (code_size,)
    pictures = Decoder.open(folder).decode([one.bitstream for one in encoded])
    assert pictures.shape == pixels.shape


def test_a_published_model_is_served(published: Path, dataset: Dataset) -> None:
    pixels = dataset.test.pixels[:1]
    encoded = Encoder.open(published).encode(pixels)[0]
    with serve(Settings(models_dir=published.parent)) as client:
        assert client.get("/readyz").status_code == 200
        bitstream = client.encode(image.write_png(pixels[0]), accept="application/octet-stream")
        assert bitstream.content == encoded.bitstream
        response = client.decode(bitstream.content)
        expected = Decoder.open(published).decode([encoded.bitstream])[0]
        np.testing.assert_array_equal(image.read_image(response.content, dataset.shape), expected)
