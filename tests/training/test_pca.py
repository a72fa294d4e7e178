from pathlib import Path

import numpy as np
import pytest

from training.data.datasets import Dataset, Images, split_training
from training.loop.trainer import train
from training.pca import fit_pca
from training.recipe import load_recipe
from training.runs import create_run


@pytest.fixture(scope="module")
def small(dataset: Dataset) -> Dataset:
    """Every other pixel of the drawn digits, which makes 196 values of each."""

    def halved(images: Images) -> Images:
        return Images(np.ascontiguousarray(images.pixels[:, ::2, ::2]), images.labels)

    return dataset._replace(train=halved(dataset.train), test=halved(dataset.test))


def test_components_are_those_of_a_singular_value_decomposition_of_the_images(small: Dataset) -> None:
    pixels = small.train.pixels[:900]
    pca = fit_pca(pixels)
    values = pixels.reshape(len(pixels), -1) / 255
    centred = values - values.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs((directions[:20] * pca.components[:20]).sum(axis=1)), 1, rtol=1e-6)
    rebuilt = centred @ directions[:7].T @ directions[:7]
    assert pca.rmse(pixels, 7) == pytest.approx(np.sqrt(np.square(centred - rebuilt).mean()))
    assert pca.rmse(pixels, 7) == pytest.approx(np.sqrt(np.square(spread[7:]).sum() / values.size))
    assert pca.rmse(pixels, 196) == pytest.approx(0, abs=1e-6)
    clipped = (rebuilt + values.mean(axis=0)).clip(0, 1)
    assert pca.clipped_rmse(pixels, 7) == pytest.approx(np.sqrt(np.square(values - clipped).mean()))
    assert 0 < pca.clipped_rmse(pixels, 7) < pca.rmse(pixels, 7)


def test_components_of_large_images_are_those_of_a_sample(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = small.train.pixels[:150]
    exact = fit_pca(pixels)
    monkeypatch.setattr("training.pca.MAX_VALUES", 195)
    found = fit_pca(pixels)
    np.testing.assert_allclose(np.abs((exact.components[:20] * found.components[:20]).sum(axis=1)), 1, rtol=1e-6)
    assert found.clipped_rmse(pixels, 9) == pytest.approx(exact.clipped_rmse(pixels, 9))
    assert found.rmse(pixels, 1000) == pytest.approx(0, abs=1e-5)
    monkeypatch.setattr("training.pca.MAX_IMAGES", 12)
    assert len(fit_pca(pixels).components) == 11
    assert len(fit_pca(np.zeros_like(pixels)).components) == 0


@pytest.mark.parametrize(("code_size", "tied"), [(3, False), (10, False), (10, True)])
def test_article_002s_linear_network_spans_the_subspace_of_pca(
    tmp_path: Path, small: Dataset, code_size: int, tied: bool
) -> None:
    shorter = {"epochs": 25, "batch_size": 50, "learning_rate": 0.01, "validation_images": 300, "threads": 1}
    recipe = load_recipe("002-linear", {**shorter, "layers": (196, code_size), "tied": tied})
    run = create_run(recipe, tmp_path / "run")
    train(recipe, small, run)
    best = min(epoch["validation_rmse"] for epoch in run.metrics())
    split = split_training(small, recipe)
    pca = fit_pca(split.train.pixels).rmse(split.validation.pixels, code_size)
    # Squared errors within 2 % of each other.
    assert best**2 == pytest.approx(pca**2, rel=0.02)
