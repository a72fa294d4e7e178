import itertools
from pathlib import Path

import numpy as np
import pytest

from latentwire.errors import ImageMismatch
from training.analysis.outliers import ERRORS, auroc, coarse_error, detect, errors_of_each, rank_of
from training.cli.main import main
from training.data.datasets import Dataset, Images


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_in_which_the_outlier_has_the_larger_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    ordinary, outliers = random.integers(0, 9, 40) / 8, random.integers(3, 12, 25) / 8  # many ties
    pairs = list(itertools.product(ordinary, outliers))
    wins = sum(1.0 if outlier > one else 0.5 if outlier == one else 0.0 for one, outlier in pairs)
    assert auroc(ordinary, outliers) == pytest.approx(wins / len(pairs), abs=1e-12)


def test_auroc_is_1_0_and_a_half_where_it_should_be() -> None:
    low, high = np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])
    assert auroc(low, high) == 1
    assert auroc(high, low) == 0
    assert auroc(high, high) == 0.5
    assert auroc(np.zeros(3), np.zeros(4)) == 0.5


def test_rank_1_is_the_largest_error_and_equal_errors_share_the_last_rank() -> None:
    errors = np.array([0.1, 0.5, 0.3, 0.3])
    assert [rank_of(errors, at) for at in range(4)] == [4, 1, 3, 3]


def test_a_model_of_digits_finds_what_is_no_digit(published: Path, dataset: Dataset) -> None:
    few = dataset._replace(train=dataset.train.take(np.arange(300)), test=dataset.test.take(np.arange(100)))
    rows = np.arange(28)[None, :, None, None]
    stripes = (255 * ((rows + np.arange(8)[:, None, None, None]) // 2 % 2) * np.ones((1, 1, 28, 1))).astype(np.uint8)
    detections = detect(published, few, Images(stripes, np.zeros(8, np.uint8)), "stripes")
    assert [found.error for found in detections] == list(ERRORS)
    for found in detections[:2]:
        assert found.auroc == 1
        assert found.found == 1
        assert found.beyond_training == found.outliers == 8
        assert found.outlier_median > found.ordinary_median
    same = detect(published, few, few.test, "digits")[0]
    assert same.auroc == pytest.approx(0.5)
    assert same.beyond_training < 5


def test_errors_are_those_of_each_image() -> None:
    random = np.random.default_rng(0)
    x, x_hat = random.random((2, 7, 9, 6, 3), dtype=np.float32)
    errors = errors_of_each(x, x_hat)
    for at in range(7):
        difference = (x_hat[at] - x[at]).astype(float)
        assert errors["RMSE"][at] == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-6)
        assert errors["mean absolute error"][at] == pytest.approx(np.abs(difference).mean(), rel=1e-6)
        around = np.pad(difference, ((2, 2), (2, 2), (0, 0)))
        means = [
            around[row : row + 5, column : column + 5].mean(axis=(0, 1)) for row in range(9) for column in range(6)
        ]
        coarse = np.abs(means).mean() / np.sqrt(x[at].mean() + 0.01)
        assert errors["coarse error"][at] == pytest.approx(coarse, rel=1e-5)


def test_a_stroke_beside_its_place_is_a_smaller_coarse_error_than_an_area_that_is_missing() -> None:
    x, moved, missing = np.zeros((3, 1, 28, 28, 1), np.float32)
    x[0, 4:24, 10:12] = moved[0, 4:24, 11:13] = 1
    as_wrong = [errors_of_each(x, x_hat)["mean absolute error"][0] for x_hat in (moved, missing)]
    assert as_wrong[0] == pytest.approx(as_wrong[1])
    assert coarse_error(x, moved)[0] < 0.6 * coarse_error(x, missing)[0]
    assert coarse_error(x, x)[0] == 0
    assert np.isfinite(coarse_error(missing, moved)).all()


def test_outliers_of_another_size_are_refused(published: Path, dataset: Dataset) -> None:
    with pytest.raises(ImageMismatch, match="wide has 30 × 28"):
        detect(published, dataset, Images(np.zeros((2, 28, 30, 1), np.uint8), np.zeros(2, np.uint8)), "wide")


def test_models_are_measured_as_detectors_on_the_command_line(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "noise.npz", images=np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8))
    assert main(["outliers", "--model", str(published), "--against", str(tmp_path / "noise.npz")]) == 0
    out = capsys.readouterr().out
    assert "500 test images of synthetic against 30 images" in out
    assert "by RMSE: AUROC 1.00000; 100.0% found with 1% false alarms; 30 beyond all 2,000 training images" in out
    assert "by mean absolute error: AUROC 1.0" in out
    assert main(["outliers", "--model", str(published), "--against", "not-there"]) == 2
    assert "there is no data set 'not-there'" in capsys.readouterr().err


def test_outliers_are_fitted_to_the_model_if_that_is_asked_for(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = tmp_path / "wide.npz"
    np.savez(wide, images=np.full((3, 20, 40, 3), 255, np.uint8))
    arguments = ["outliers", "--model", str(published), "--against", str(wide)]
    for more, code, words in (
        ([], 2, "--fit resize or --fit pad"),
        (["--fit", "squeeze"], 2, "'fit' is 'squeeze'"),
        (["--fit", "pad", "--epochs", "3"], 2, "--epochs has no effect"),
    ):
        assert main([*arguments, *more]) == code
        assert words in capsys.readouterr().err
    assert main([*arguments, "--fit", "resize"]) == 0
    assert "against 3 images" in capsys.readouterr().out
