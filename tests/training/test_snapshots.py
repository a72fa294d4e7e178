from pathlib import Path

import numpy as np
import pytest

from training.data.datasets import Dataset
from training.errors import CannotWrite, Interrupted, InvalidRun
from training.loop.listeners import take_snapshots
from training.loop.trainer import EpochEnd, resume, train
from training.recipe import Recipe
from training.runs import RunFolder, create_run
from training.snapshots import load_snapshots


@pytest.fixture
def short(tiny: Recipe) -> Recipe:
    return tiny.model_copy(update={"epochs": 3, "training_images": 64})


def test_a_snapshot_of_each_epoch_is_kept(tmp_path: Path, short: Recipe, dataset: Dataset) -> None:
    run = create_run(short, tmp_path / "run")
    train(short, dataset, run, [take_snapshots(run, dataset, 4)])
    found = load_snapshots(run)
    assert sorted(found.reconstructions) == [1, 2, 3]
    assert found.originals.shape == found.reconstructions[1].shape == (4, 28, 28, 1)
    assert (found.reconstructions[1] != found.reconstructions[3]).any()


def test_snapshots_do_not_change_what_is_trained(tmp_path: Path, short: Recipe, dataset: Dataset) -> None:
    runs = [create_run(short, tmp_path / name) for name in ("with", "without")]
    train(short, dataset, runs[0], [take_snapshots(runs[0], dataset)])
    train(short, dataset, runs[1])
    first, second = ([epoch["validation_rmse"] for epoch in run.metrics()] for run in runs)
    assert first == second


def test_a_run_that_goes_on_has_the_snapshots_of_all_its_epochs(
    tmp_path: Path, short: Recipe, dataset: Dataset
) -> None:
    run = create_run(short, tmp_path / "run")

    def stop(end: EpochEnd) -> None:
        if end.report.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        train(short, dataset, run, [take_snapshots(run, dataset), stop])
    assert resume(run, dataset, [take_snapshots(run, dataset)])
    assert sorted(load_snapshots(run).reconstructions) == [1, 2, 3]


def test_missing_and_damaged_snapshots_are_told(tmp_path: Path, short: Recipe, dataset: Dataset) -> None:
    run = create_run(short, tmp_path / "run")
    with pytest.raises(InvalidRun, match="has no snapshots"):
        load_snapshots(run)
    train(short, dataset, run, [take_snapshots(run, dataset)])
    path = run.path / "snapshots" / "0002.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(InvalidRun, match=r"0002\.npy is damaged"):
        load_snapshots(run)
    np.save(path, np.zeros((1, 2, 2, 1), np.uint8))
    with pytest.raises(InvalidRun, match="not all of the same images"):
        load_snapshots(run)


def test_snapshots_that_cannot_be_written_are_told(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "snapshots").write_bytes(b"")
    with pytest.raises(CannotWrite, match="cannot be made"):
        take_snapshots(RunFolder(tmp_path), dataset)
