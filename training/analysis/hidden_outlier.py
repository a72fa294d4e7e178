"""Article 004's experiment: one outlier hidden among the training images, and found again by its error.

A network is trained on all images, the hidden one among them; then all are ranked by reconstruction error. A new
network is trained for each of several outliers. The results are in a folder with

    recipe.toml      as run; the seed of each training is its seed plus the number of the experiment
    results.jsonl    one line for each hidden image, from which an interrupted experiment goes on

`training.analysis.outliers.detect` is a cheaper measurement: it counts the outliers with a larger error than every
training image, by one network that was trained without them.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from latentwire.errors import ImageMismatch
from latentwire.imaging import image
from training.analysis.outliers import ERRORS, Errors, errors_of_each, rank_of
from training.architectures import build_autoencoder
from training.atomic import write_atomically
from training.batches import parts
from training.data.datasets import SPLIT_SEED, Dataset, Images, split_sizes
from training.errors import Interrupted, InvalidRecipe, InvalidRun
from training.loop.checkpoints import load_checkpoint
from training.loop.trainer import check, train
from training.recipe import Recipe
from training.runs import RunFolder, create_run

RESULTS_FILE = "results.jsonl"


class Found(NamedTuple):
    """The ranks of one hidden image. Rank 1 is the largest error of all `images`, by each of `outliers.ERRORS`.

    `rmse`, `worst_other_rmse` and `median_rmse` are in [0, 1].
    """

    outlier: int
    rank: int
    rank_by_mae: int
    rank_by_coarse: int
    images: int
    rmse: float
    worst_other_rmse: float
    median_rmse: float
    best_epoch: int
    seconds: float


def hide_and_rank(
    recipe: Recipe,
    dataset: Dataset,
    outliers: Images,
    count: int,
    folder: Path,
    report: Callable[[int, Found], None],
    begin: Callable[[], None] = lambda: None,
) -> list[Found]:
    """Run the experiment for `count` of the outliers, and report each result.

    Args:
        recipe: recipe of each training.
        dataset: data set of the recipe.
        outliers: images of the same shape; the choice among them depends on their number alone.
        count: number of experiments.
        folder: a new folder, or that of the same experiment, which goes on.
        report: called with the number of each experiment, from 1, and its result.
        begin: called once after all checks, before the first training.

    Raises:
        InvalidRecipe: `count` is not a number from 1 to that of the outliers.
        ImageMismatch: the outliers have another shape.
        InvalidRun: the folder holds something else.
        TrainingError: see `train`.
    """
    if not 1 <= count <= len(outliers):
        raise InvalidRecipe(f"{count:,} images cannot be hidden; count is a number from 1 to {len(outliers):,}")
    if outliers.pixels.shape[1:] != dataset.train.pixels.shape[1:]:
        raise ImageMismatch(
            f"the images to hide are arrays of {outliers.pixels.shape[1:]}, those of {dataset.name} of "
            f"{dataset.train.pixels.shape[1:]} (height, width, channels)"
        )
    chosen = np.random.RandomState(SPLIT_SEED).permutation(len(outliers))[:count]
    # Before the first training, so that an invalid recipe fails at once.
    check(recipe, hide(dataset, outliers.pixels[chosen[0]], recipe, 0)[0])
    results = _open(recipe, folder)
    begin()
    for number, outlier in enumerate(chosen.tolist()):
        if number < len(results):
            if results[number].outlier != outlier:
                raise InvalidRun(
                    f"{folder} is an experiment with other hidden images; choose another folder with --run"
                )
        else:
            try:
                found = _run_one(recipe, dataset, outliers.pixels[outlier], number)
            except Interrupted as error:
                raise Interrupted(
                    f"stopped after {len(results)} of {count} hidden images; the same command goes on with the next"
                ) from error
            results.append(found._replace(outlier=outlier))
            lines = "".join(json.dumps(result._asdict()) + "\n" for result in results)
            write_atomically(folder / RESULTS_FILE, lines.encode())
        report(number + 1, results[number])
    return results[:count]


def hide(dataset: Dataset, pixels: image.Pixels, recipe: Recipe, number: int) -> tuple[Dataset, int]:
    """Return the data set with one more training image, (H, W, C), and that image's index.

    The split into training and validation images is a fixed permutation; the index is one of those that are trained on,
    and different for each number.
    """
    count = len(dataset.train) + 1
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    trained, validated = split_sizes(dataset.name, count, recipe)
    index = int(order[validated + number % trained])
    train_images = Images(
        np.insert(dataset.train.pixels, index, pixels, axis=0), np.insert(dataset.train.labels, index, 0)
    )
    return dataset._replace(train=train_images), index


def errors_of(run: RunFolder, recipe: Recipe, dataset: Dataset) -> dict[str, Errors]:
    """Return each kind of error of each training image by the best weights of a run, with float codes."""
    model = build_autoencoder(recipe, dataset.shape)
    model.load_state_dict(load_checkpoint(run.best, recipe).ema_weights)
    model.eval()
    found = []
    with torch.no_grad():
        for part in parts(len(dataset.train), dataset.shape.as_tuple()):
            x = image.to_x(dataset.train.pixels[part])
            x_hat = model(torch.from_numpy(x)).numpy()
            found.append(errors_of_each(x.transpose(0, 2, 3, 1), x_hat.transpose(0, 2, 3, 1)))
    return {error: np.concatenate([errors[error] for errors in found]) for error in ERRORS}


def _run_one(recipe: Recipe, dataset: Dataset, pixels: image.Pixels, number: int) -> Found:
    seeded = recipe.model_copy(update={"seed": recipe.seed + number})
    mixed, index = hide(dataset, pixels, seeded, number)
    with tempfile.TemporaryDirectory() as scratch:
        run = create_run(seeded, Path(scratch) / "run")
        train(seeded, mixed, run)
        errors = errors_of(run, seeded, mixed)
        metrics = run.metrics()
        best_epoch = load_checkpoint(run.best, seeded).best_epoch
    by_rmse = errors["RMSE"]
    return Found(
        outlier=-1,
        rank=rank_of(by_rmse, index),
        rank_by_mae=rank_of(errors["mean absolute error"], index),
        rank_by_coarse=rank_of(errors["coarse error"], index),
        images=len(by_rmse),
        rmse=float(by_rmse[index]),
        worst_other_rmse=float(np.delete(by_rmse, index).max()),
        median_rmse=float(np.median(by_rmse)),
        best_epoch=best_epoch,
        seconds=round(sum(float(epoch["seconds"]) for epoch in metrics), 1),
    )


def _open(recipe: Recipe, folder: Path) -> list[Found]:
    results = folder / RESULTS_FILE
    if not results.is_file():
        write_atomically(create_run(recipe, folder).path / RESULTS_FILE, b"")
        return []
    if RunFolder(folder).recipe() != recipe:
        raise InvalidRun(f"{folder} is an experiment with another recipe; choose another folder with --run")
    try:
        return [Found(**json.loads(line)) for line in results.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise InvalidRun(f"{results} is damaged, or of another version; choose another folder with --run") from error
