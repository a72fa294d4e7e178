"""`outliers`: measures models as detectors, or trains networks with a hidden outlier."""

import argparse

from latentwire.model.card import load_card
from training.analysis.hidden_outlier import Found, hide_and_rank
from training.analysis.outliers import FALSE_ALARMS, Detection, detect
from training.cli.parser import recipe_options
from training.cli.sources import load_dataset_of_recipe, load_dataset_of_source
from training.data.datasets import TargetShape, load_images, target_shape
from training.errors import InvalidRecipe
from training.recipe import load_recipe, make_recipe
from training.release.artifacts import model_source
from training.runs import RUNS_DIR


def outliers(arguments: argparse.Namespace) -> int:
    """Measure published models, or run the experiment of the hidden outlier."""
    options = recipe_options(arguments)
    return _hide(options, arguments) if arguments.model is None else _detect(options, arguments)


def _detect(options: dict[str, str], arguments: argparse.Namespace) -> int:
    if unused := sorted(set(options) - {"dataset", "fit"}):
        raise InvalidRecipe(f"--{unused[0].replace('_', '-')} has no effect with --model, which trains nothing")
    fit = make_recipe({"name": "fit"}, {"fit": options["fit"]} if "fit" in options else {}).fit
    for path in arguments.model:
        source = model_source(path)
        dataset = load_dataset_of_source(source, arguments, options.get("dataset"), fit if "fit" in options else None)
        shape = load_card(source.path).image
        target = TargetShape(shape.height, shape.width, shape.channels, fit)
        images = load_images(arguments.against, arguments.data, target)
        detections = detect(source.path, dataset, images, arguments.against)
        print(
            f"{source.name}: {len(dataset.test):,} test images of {dataset.name} against {len(images):,} images of "
            f"{arguments.against}"
        )
        for found in detections:
            _print_detection(found, len(dataset.train))
    return 0


def _print_detection(found: Detection, trained: int) -> None:
    print(
        f"  by {found.error}: AUROC {found.auroc:.5f}; {found.found:.1%} found with {FALSE_ALARMS:.0%} false alarms; "
        f"{found.beyond_training:,} beyond all {trained:,} training images; medians {found.ordinary_median:.4f} and "
        f"{found.outlier_median:.4f}"
    )


def _hide(options: dict[str, str], arguments: argparse.Namespace) -> int:
    recipe = load_recipe(arguments.recipe, options)
    images = load_images(arguments.against, arguments.data, target_shape(recipe))
    dataset = load_dataset_of_recipe(recipe, arguments)
    folder = arguments.run or RUNS_DIR / f"outliers-{recipe.name}"

    def begin() -> None:
        print(
            f"training {recipe.name} for {recipe.epochs} epochs, once for each of {arguments.count} images of "
            f"{arguments.against} among the training images of {dataset.name}; results go into {folder}",
            flush=True,
        )

    results = hide_and_rank(recipe, dataset, images, arguments.count, folder, _print_found, begin)
    for error, ranks in (
        ("RMSE", sorted(found.rank for found in results)),
        ("mean absolute error", sorted(found.rank_by_mae for found in results)),
        ("coarse error", sorted(found.rank_by_coarse for found in results)),
    ):
        median = ranks[(len(ranks) - 1) // 2]
        print(f"by {error}: rank 1 for {ranks.count(1)} of {len(ranks)}; median rank {median:,}, worst {ranks[-1]:,}")
    return 0


def _print_found(number: int, found: Found) -> None:
    print(
        f"{number:3}. image {found.outlier}: rank {found.rank:,} of {found.images:,} by RMSE, "
        f"{found.rank_by_mae:,} by mean absolute error and {found.rank_by_coarse:,} by coarse error; "
        f"RMSE {found.rmse:.4f}, worst other {found.worst_other_rmse:.4f}, median {found.median_rmse:.4f}; "
        f"{found.seconds:.0f} s",
        flush=True,
    )
