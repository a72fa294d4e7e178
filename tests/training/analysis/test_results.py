import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentwire.imaging.image import to_x
from training.analysis.results import find_networks, load_figures, load_hidden_outliers, measure_all
from training.analysis.results_page import write_page
from training.cli.main import main
from training.data.datasets import Dataset
from training.errors import InvalidRecipe, InvalidRun
from training.pca import fit_pca
from training.recipe import Recipe, load_recipe, recipe_names
from training.runs import RunFolder, create_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, finished_run: RunFolder) -> Path:
    """A folder with a run of changed settings, others whose recipes say something else, and some that cannot count."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished_run.path, folder / "changed")
    linear = {"activation": "none", "output_activation": "none", "normalisation": "none"}
    for name, overrides in (("synthetic-tiny", {}), ("noisy", {"noise": 0.3, "noise_std": 0.1}), ("linear", linear)):
        shutil.copytree(finished_run.path, folder / name)
        (folder / name / "recipe.toml").write_text(load_recipe("synthetic-tiny", overrides).to_toml())
    unfinished = Path(shutil.copytree(finished_run.path, folder / "unfinished"))
    lines = (unfinished / "metrics.jsonl").read_text().splitlines(keepends=True)
    (unfinished / "metrics.jsonl").write_text("".join(lines[:2]))
    broken = Path(shutil.copytree(finished_run.path, folder / "broken"))
    (broken / "recipe.toml").write_text("epochs = ")
    headless = Path(shutil.copytree(finished_run.path, folder / "headless"))
    for name in ("best.pt", "encoder.onnx"):
        (headless / name).unlink()
    (folder / "notes").mkdir()
    (folder / "notes.txt").write_text("of no concern")
    return folder


def test_runs_and_models_become_a_page_and_what_cannot_count_is_named(
    runs: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "RESULTS.md"
    no_experiment = str(tmp_path / "none")
    assert main(["results", str(runs), str(published), "--outliers", no_experiment, "--out", str(out)]) == 0
    told, complaints = capsys.readouterr()
    assert told.splitlines()[-1] == str(out)
    assert len(told.splitlines()) == 6
    assert f"left out: {runs / 'unfinished'}: the run is not finished: it has 2 of 4 epochs" in complaints
    assert f"left out: {runs / 'broken'}" in complaints
    assert f"left out: {runs / 'headless'}" in complaints
    assert f"left out: {no_experiment}" in complaints
    assert complaints.count("\n") == 4
    page = out.read_text(encoding="utf-8")
    assert "## synthetic: 500 test images of 28 × 28" in page
    as_written = re.search(r"^\| `synthetic-tiny` \| 10 \| – \| (0\.\d{4}) \|", page, re.MULTILINE)
    assert as_written
    assert re.search(
        r"^\| `changed` \| `synthetic-tiny` \| .*batch_size 16 instead of 64.* \| 10 \|", page, re.MULTILINE
    )
    assert re.search(
        r"^\| `noisy` \| 30% of the pixels black and Gaussian, standard deviation 0.1 \|", page, re.MULTILINE
    )
    assert "- `unfinished`: the run is not finished" in page
    assert str(runs) not in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_figures_are_those_of_the_float_code_on_clean_test_images(runs: Path, dataset: Dataset) -> None:
    told: list[object] = []
    measured, skipped = measure_all([runs], lambda _recipe: dataset, told.append)
    assert len(told) == len(measured) + len(skipped)
    found = {one.name: one for one in measured}
    assert set(found) == {"changed", "synthetic-tiny", "noisy", "linear"}
    assert {one.path.name for one in skipped} == {"unfinished", "broken", "headless"}
    for one in measured:
        x = to_x(dataset.test.pixels)
        assert one.rmse == pytest.approx(math.sqrt(np.square(one.pair.reconstruct(x).clip(0, 1) - x).mean()), rel=1e-4)
        assert one.validation_rmse == min(epoch["validation_rmse"] for epoch in RunFolder(runs / one.name).metrics())
    assert found["synthetic-tiny"].changes == ""
    assert found["synthetic-tiny"].noisy_rmse is None
    assert "noise 0.3 instead of 0.0" in found["noisy"].changes
    noisy = found["noisy"]
    assert noisy.noise_rmse is not None
    assert noisy.noisy_rmse is not None
    assert noisy.noise_rmse > 0.1
    assert noisy.noisy_rmse > noisy.rmse


def test_the_best_is_chosen_by_validation_images_and_the_best_possible_line_is_pca(
    runs: Path, dataset: Dataset
) -> None:
    measured, _ = measure_all([runs], lambda _recipe: dataset, lambda _found: None)
    # One whose test images come out worst, and whose validation images come out best.
    first, second = (
        one._replace(rmse=rmse, validation_rmse=validation_rmse)
        for one, rmse, validation_rmse in zip(measured, (0.3, 0.1), (0.1, 0.3), strict=False)
    )
    page = write_page([first, second], [], [], lambda _recipe: dataset)
    pca = fit_pca(dataset.train.pixels).clipped_rmse(dataset.test.pixels, 10)
    assert f"| 10 | – | 0.3000 (`{first.name}`) | {pca:.4f} |" in page


def test_published_figures_are_of_recipes_that_there_are() -> None:
    figures = load_figures()
    assert figures.dataset == "mnist"
    for name, published in figures.by_recipe.items():
        assert name in recipe_names()
        assert published.rmse >= figures.by_size[load_recipe(name).code_size].rmse
    assert figures.by_size[10].rmse == 0.12714


def test_published_figures_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    for text in ("system = 3", "[[system]]\nrecipe = 'a'", "\x00"):
        (tmp_path / "a.toml").write_text(text)
        with pytest.raises(InvalidRecipe, match="cannot be read"):
            load_figures(tmp_path / "a.toml")


def test_a_published_figure_stands_beside_ours(runs: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = load_figures()
    ours = figures._replace(dataset="synthetic", by_recipe={"synthetic-tiny": figures.by_size[1]})
    monkeypatch.setattr("training.analysis.results_page.load_figures", lambda: ours)
    measured, _ = measure_all([runs / "synthetic-tiny"], lambda _recipe: dataset, lambda _found: None)
    page = write_page(measured, [], [], lambda _recipe: dataset)
    assert f"| `synthetic-tiny` | 10 | 0.2131 (article 001's table) | **{measured[0].rmse:.4f}** |" in page
    assert "| 10 | 0.1271 (article 001's table) |" in page


def test_hidden_outliers_are_counted(tmp_path: Path, tiny: Recipe, runs: Path, dataset: Dataset) -> None:
    folder = create_run(tiny, tmp_path / "outliers").path
    results = folder / "results.jsonl"
    with pytest.raises(InvalidRun, match="does not hold the results"):
        load_hidden_outliers(folder)
    results.write_text("")
    with pytest.raises(InvalidRun, match="has no result yet"):
        load_hidden_outliers(folder)
    lines = [{"rank": rank, "rank_by_mae": 1, "rank_by_coarse": 1} for rank in (1, 7, 1)]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = load_hidden_outliers(folder)
    assert found.ranks == {"RMSE": [1, 7, 1], "mean absolute error": [1, 1, 1], "coarse error": [1, 1, 1]}
    measured, _ = measure_all([runs / "synthetic-tiny"], lambda _recipe: dataset, lambda _found: None)
    page = write_page(measured, [], [found], lambda _recipe: dataset)
    assert "| `synthetic-tiny` | 4 | RMSE | 2 of 3 | 7 |" in page
    assert "| `synthetic-tiny` | 4 | coarse error | 3 of 3 | 1 |" in page


def test_folders_of_runs_are_looked_into(runs: Path, published: Path, tmp_path: Path) -> None:
    names = [path.name for path in find_networks([published, runs, tmp_path])]
    assert names[0] == published.name
    assert names[1:-1] == ["broken", "changed", "headless", "linear", "noisy", "synthetic-tiny", "unfinished"]
    assert names[-1] == tmp_path.name


def test_nothing_to_measure_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.md"
    assert main(["results", str(tmp_path), str(tmp_path / "none"), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("python -m training: no finished run and no model in ")
    assert not out.exists()


def test_latency_is_told_from_the_command_line(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latency", str(published), "--rounds", "1"]) == 0
    assert re.search(r"synthetic-tiny +\d+\.\d+ ms +[\d,]+ B", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["latency", str(published), "--rounds", "0"])
    assert "from 1 to 9999" in capsys.readouterr().err
