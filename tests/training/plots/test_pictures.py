"""Each kind of picture by itself, of a tiny published model: that it is drawn, and that it shows what it should."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from latentwire.errors import ImageMismatch
from training.data.datasets import Dataset, Images
from training.data.images import choose_examples
from training.errors import CannotWrite, InvalidRun
from training.plots.code_space import kernel_pca, plot_codes, plot_histograms
from training.plots.denoising import plot_denoising
from training.plots.generation import draw_fitted, plot_interpolations, plot_random_codes
from training.plots.learning import plot_learning
from training.plots.reconstructions import plot_comparison, plot_side_by_side, plot_two_rows, plot_worst
from training.plots.subject import Subject, rmse_of_each
from training.plots.sweep import choose_dimensions, plot_sweep
from training.release.artifacts import model_source
from training.release.onnx_pair import open_pair
from training.runs import RunFolder

Draw = Callable[[Path, Dataset, Path], None]

DRAWN: dict[str, Draw] = {
    "two rows": plot_two_rows,
    "side by side": plot_side_by_side,
    "one alone": lambda folder, dataset, out: plot_side_by_side(folder, dataset, out, 1),
    "compare": lambda folder, dataset, out: plot_comparison([folder, folder], dataset, out, 4),
    "denoise": plot_denoising,
    "dropout": lambda folder, dataset, out: plot_denoising(folder, dataset, out, 3, "dropout", 0.3),
    "codes": lambda folder, dataset, out: plot_codes(folder, dataset, out, 100),
    "histograms": plot_histograms,
    "random": plot_random_codes,
    "interpolate": plot_interpolations,
    "worst": plot_worst,
    "sweep": lambda folder, dataset, out: plot_sweep([folder], dataset, out),
}


def _picture(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture:
        assert picture.width == 1000
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="session")
def few(dataset: Dataset) -> Dataset:
    """A part of the drawn digits, for what looks at all of them."""
    first = np.arange(150)
    return dataset._replace(train=dataset.train.take(first), test=dataset.test.take(first))


@pytest.mark.parametrize("kind", DRAWN)
def test_each_kind_is_drawn_a_thousand_pixels_wide(published: Path, few: Dataset, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "new" / "a.png"
    DRAWN[kind](published, few, out)
    picture = _picture(out)
    assert 100 < len(picture) < 1200
    assert 0.005 < (picture < 128).all(axis=-1).mean() < 0.9


@pytest.mark.parametrize("kind", DRAWN)
def test_images_of_another_shape_are_refused(published: Path, tmp_path: Path, kind: str) -> None:
    wide = Images(np.zeros((2, 28, 30, 1), np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(ImageMismatch, match="30 × 28"):
        DRAWN[kind](published, Dataset("wide", wide, wide), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_is_told(published: Path, few: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for out in (tmp_path / "file" / "a.png", tmp_path):
        with pytest.raises(CannotWrite, match="cannot be written"):
            plot_two_rows(published, few, out, 1)


class _Stub:
    """Stands for a model with a code of a given size, whose codes are a few of the image's values."""

    def __init__(self, size: int) -> None:
        self.card: Any = type("Card", (), {"code_size": size, "name": "stub"})()
        self.code_in_words = f"{size} numbers"

    def codes(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        flat = pixels.reshape(len(pixels), -1)[:, 300 : 300 + self.card.code_size]
        return flat.astype(np.float32)


@pytest.fixture(params=[1, 2, 3, 5])
def sized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.plots.code_space.Subject", lambda _folder, _dataset: _Stub(request.param))


@pytest.mark.usefixtures("sized")
def test_codes_of_any_size_are_drawn_in_the_colours_of_their_classes(few: Dataset, tmp_path: Path) -> None:
    plot_codes(Path("any"), few, tmp_path / "a.png")
    colours = _picture(tmp_path / "a.png")
    # The legend's points, or the points themselves, have the colours of the classes 0, 1 and 3.
    for colour in ((31, 119, 180), (255, 127, 14), (214, 39, 40)):
        assert (np.abs(colours.astype(int) - colour).max(axis=-1) < 12).sum() > 20


def test_images_without_classes_are_drawn_without_a_legend(published: Path, few: Dataset, tmp_path: Path) -> None:
    unlabelled = few._replace(test=Images(few.test.pixels, np.zeros(len(few.test), np.uint8)))
    plot_codes(published, unlabelled, tmp_path / "a.png", 50)
    assert (_picture(tmp_path / "a.png")[:, 930:] == 255).all()


def test_kernel_pca_parts_clusters_and_bears_numbers_that_never_change() -> None:
    random = np.random.default_rng(0)
    y = random.normal(0, 0.1, (60, 6)) + np.repeat([[-3.0], [3.0]], 30, axis=0)
    y[:, 5] = 7
    points = kernel_pca(y)
    assert points.shape == (60, 3)
    assert np.isfinite(points).all()
    assert points[:30, 0].max() < points[30:, 0].min() or points[:30, 0].min() > points[30:, 0].max()
    assert kernel_pca(y[:2]).shape == (2, 3)


def test_fitted_codes_have_the_mean_and_the_covariance_of_the_training_codes() -> None:
    random = np.random.default_rng(0)
    covariance = np.array([[4, 1.9, 0], [1.9, 1, 0], [0, 0, 0]])
    y = random.multivariate_normal([5, -2, 3], covariance, 5000)
    drawn = draw_fitted(y, 20000, random)
    np.testing.assert_allclose(drawn.mean(axis=0), [5, -2, 3], atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.15)
    assert np.ptp(drawn[:, 2]) < 1e-6


def test_a_network_is_given_dropped_images_as_bright_as_in_training(
    published: Path, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    opened = open_pair(model_source(published))

    def recording(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        given.append(x)
        return opened.encoder.run(x)

    listening = SimpleNamespace(encoder=SimpleNamespace(run=recording))
    monkeypatch.setattr("training.plots.denoising.open_pair", lambda _source: listening)
    plot_denoising(published, few, tmp_path / "a.png", 5, "dropout", 0.4)
    x = given[0]
    clean = few.test.take(choose_examples(few.test, 5)).pixels.transpose(0, 3, 1, 2) / 255
    kept = x > 0
    np.testing.assert_allclose(x[kept], clean[kept] / 0.6, rtol=1e-6)
    assert 0.5 < kept.sum() / (clean > 0).sum() < 0.7
    plot_denoising(published, few, tmp_path / "b.png", 5, "dropout", 0.4)
    np.testing.assert_array_equal(given[1], x)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_worst_images_stand_first(published: Path, few: Dataset, tmp_path: Path) -> None:
    pixels = few.test.pixels.copy()
    pixels[77] = 255  # a white image among digits
    plot_worst(published, few._replace(test=Images(pixels, few.test.labels)), tmp_path / "a.png", 3)
    picture = _picture(tmp_path / "a.png")
    assert (picture[70:170, 160:270] > 250).all()


def test_errors_are_means_over_each_image() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 256, (2, 1203, 3, 4, 3), dtype=np.uint8)
    difference = (first.astype(float) - second) / 255
    np.testing.assert_allclose(rmse_of_each(first, second), np.sqrt((difference**2).mean(axis=(1, 2, 3))), rtol=1e-6)


def test_a_subject_gives_what_a_receiver_gets(published: Path, few: Dataset) -> None:
    subject = Subject(published, few)
    x_hat = subject.reconstruct(few.test.pixels)
    assert x_hat.shape == few.test.pixels.shape
    assert rmse_of_each(few.test.pixels, x_hat).mean() < 0.35
    levels = subject.levels(subject.codes(few.test.pixels))
    assert levels.min() >= 0
    assert levels.max() <= 1
    # Of images like those in training, half of the levels are lower than the middle one there.
    assert abs(np.median(levels) - 0.5) < 0.1
    far = np.full((1, subject.card.code_size), 1e38, np.float32)
    assert subject.decode(far).shape == (1, 28, 28, 1)


def test_a_learning_curve_shows_each_epoch(finished_run: RunFolder, tmp_path: Path) -> None:
    plot_learning(finished_run.metrics(), tmp_path / "a.png")
    assert len(_picture(tmp_path / "a.png")) > 200
    with_bytes = [{**epoch, "validation_bits": 80 - epoch["epoch"]} for epoch in finished_run.metrics()]
    plot_learning(with_bytes, tmp_path / "c.png")
    two, three = (_picture(tmp_path / name)[150:250].min(axis=(0, 2)) for name in ("a.png", "c.png"))
    # A panel has two dark edges, left and right.
    assert (np.diff((two < 60).astype(int)) == 1).sum() < (np.diff((three < 60).astype(int)) == 1).sum()
    with pytest.raises(InvalidRun, match="no epoch yet"):
        plot_learning([], tmp_path / "b.png")


def test_pca_is_drawn_for_all_sizes_of_codes_and_between_them_up_to_the_number_of_values() -> None:
    assert choose_dimensions([10, 3], 784) == [1, 2, 3, 4, 5, 6, 8, 10]
    assert choose_dimensions([1], 784) == [1]
    assert choose_dimensions([1568], 784)[-1] == 784
    assert choose_dimensions([600, 1568], 784) == [300, 378, 476, 600, 756, 784]
