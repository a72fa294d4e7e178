"""Every recipe at toy size: a few steps on drawn digits, and all the way to an answer of the service."""

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
from training.recipe import load_recipe, recipe_names
from training.release.pipeline import publish_run
from training.runs import create_run

TOY = {
    "dataset": "synthetic",
    "epochs": 1,
    "training_images": 96,
    "validation_images": 32,
    "batch_size": 32,
    "threads": 1,
    "max_rmse_increase": 0.02,
    "entries": 24,
}


@pytest.fixture(scope="module")
def few(dataset: Dataset) -> Dataset:
    """The drawn digits, with no more test images than a look at each recipe needs."""
    return dataset._replace(test=dataset.test.take(np.arange(40)))


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains_exports_publishes_comes_back_and_is_served(name: str, tmp_path: Path, few: Dataset) -> None:
    recipe = load_recipe(name, TOY)
    check(recipe, few)
    run = create_run(recipe, tmp_path / "run")
    train(recipe, few, run)
    card = publish_run(run, few, tmp_path / "models")
    assert card.code_size == recipe.code_size
    assert card.quality is not None
    assert card.quality.images == 40

    folder = tmp_path / "models" / name
    assert load_card(folder) == card
    pixels = few.test.pixels[:3]
    encoded = Encoder.open(folder).encode(pixels)
    assert encoded[0].y.shape == (recipe.code_size,)
    pictures = Decoder.open(folder).decode([one.bitstream for one in encoded])
    assert pictures.shape == pixels.shape

    with serve(Settings(models_dir=tmp_path / "models")) as client:
        assert client.get("/readyz").status_code == 200
        bitstream = client.encode(image.write_png(pixels[0]), accept="application/octet-stream")
        assert bitstream.content == encoded[0].bitstream
        answer = client.decode(bitstream.content)
        np.testing.assert_array_equal(image.read_image(answer.content, few.shape), pictures[0])
