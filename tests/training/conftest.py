"""A run of the tiny recipe, trained and published once for all tests that only read it; and small images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.made_once import made_once
from tests.training.torch_exporter import share_operators
from training.data.datasets import Dataset, Images, load_dataset
from training.loop.trainer import train
from training.recipe import Recipe, load_recipe
from training.release import export
from training.release.calibrate import calibrate_run
from training.release.export import export_run
from training.release.pipeline import publish_run
from training.runs import RunFolder, create_run


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small gain nothing from more threads, and lose much where other work wants the processor."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _quick_exports() -> None:
    share_operators()


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return load_dataset("synthetic")


@pytest.fixture(scope="session")
def small_dataset(dataset: Dataset) -> Dataset:
    """The first 400 drawn digits for training and 60 for testing, every other pixel of each: 14 × 14."""

    def halved(images: Images, count: int) -> Images:
        return Images(np.ascontiguousarray(images.pixels[:count, ::2, ::2]), images.labels[:count])

    return dataset._replace(train=halved(dataset.train, 400), test=halved(dataset.test, 60))


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """The recipe of most tests: 512 images of the synthetic data set, for which an epoch takes milliseconds."""
    overrides = {"training_images": 512, "batch_size": 16, "layers": (784, 32, 10), "epochs": 4, "ema_decay": 0.8}
    return load_recipe("synthetic-tiny", overrides)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe, dataset: Dataset) -> RunFolder:
    """A trained, exported and calibrated run. Not to be written to: copy it."""

    def finish(folder: Path) -> None:
        run = create_run(tiny, folder / "run")
        train(tiny, dataset, run)
        export_run(run, dataset)
        calibrate_run(run, dataset)

    return RunFolder(made_once(tmp_path_factory, "finished", finish) / "run")


@pytest.fixture
def no_exporter(monkeypatch: pytest.MonkeyPatch, finished_run: RunFolder) -> None:
    """Let the export of a copy of the finished run take its graphs, as torch's exporter takes seconds."""
    graphs = {path.name: path.read_bytes() for path in (finished_run.encoder, finished_run.decoder)}
    monkeypatch.setattr(export, "_to_onnx", lambda half: graphs[half.path.name.removeprefix(".draft-")])


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, finished_run: RunFolder, dataset: Dataset) -> Path:
    """The folder of the model that the finished run was published as. Not to be written to: copy it."""
    models = made_once(tmp_path_factory, "published", lambda folder: publish_run(finished_run, dataset, folder))
    return models / finished_run.recipe().name
