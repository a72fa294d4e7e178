"""`export`, `calibrate`, `evaluate`, `publish` and `guard`: the steps from a run to a published model."""

import argparse
import sys

from latentwire.model.card import load_card
from training.cli.parser import OOD_IMAGES
from training.cli.sources import load_dataset_of_recipe, load_dataset_of_source
from training.data.datasets import Dataset
from training.errors import InvalidRecipe, InvalidRun
from training.release import calibrate as calibration
from training.release import pipeline
from training.release.artifacts import find_source, model_source
from training.release.baselines import baselines_of, baselines_table, warnings_of
from training.release.evaluate import evaluate_model, quality_table
from training.release.fit_doubt import MAX_RISE_BYTES
from training.release.fit_guard import OodImages, guard_in_words, load_ood_images
from training.runs import RunFolder

# Largest difference between a card's RMSE and a new measurement, pixels in [0, 1].
RMSE_TOLERANCE = 1e-4


def export(arguments: argparse.Namespace) -> int:
    """Write both graphs of a run."""
    run = RunFolder(arguments.run)
    report = pipeline.export(run, load_dataset_of_recipe(run.recipe(), arguments))
    for half, path in (("encoder", run.encoder), ("decoder", run.decoder)):
        difference = report[half]["max_difference"]
        print(f"{path}: {report[half]['bytes']:,} bytes, differs from torch by at most {difference:.1e}")
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Fit the quantizer and the tables of an exported run."""
    run = RunFolder(arguments.run)
    dataset = load_dataset_of_recipe(run.recipe(), arguments)
    content = calibration.calibrate_run(run, dataset, arguments.max_rmse_increase)
    print(
        f"{content['validation_ideal_bits']:.2f} bits an image; validation RMSE {content['validation_rmse']:.5f}, "
        f"and {content['validation_float_rmse']:.5f} with float codes"
    )
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure a run, or a model and compare it with its card."""
    if (arguments.run is None) == (arguments.model is None):
        raise InvalidRecipe("evaluate takes either the folder of a run or --model with that of a published model")
    if arguments.run is not None:
        run = RunFolder(arguments.run)
        dataset = load_dataset_of_source(find_source(run.path), arguments, arguments.dataset, arguments.fit)
        print(quality_table(pipeline.evaluate_run(run, dataset)))
        return 0
    folder = arguments.model.resolve()
    card = load_card(folder)
    dataset = load_dataset_of_source(model_source(folder), arguments, arguments.dataset, arguments.fit)
    measured = evaluate_model(folder, dataset)
    claimed = card.quality if card.quality is not None and card.quality.dataset == measured.dataset else None
    print(quality_table(measured, claimed))
    if claimed is not None and abs(claimed.rmse - measured.rmse) > RMSE_TOLERANCE:
        print(f"python -m training: the card of '{card.name}' has another RMSE than this measurement", file=sys.stderr)
        return 1
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Run the missing steps and write the model folder."""
    run = RunFolder(arguments.run)
    dataset = load_dataset_of_recipe(run.recipe(), arguments)
    ood_images = _ood_images(dataset, arguments)
    card = pipeline.publish_run(run, dataset, arguments.models_dir, arguments.name, ood_images, replace=arguments.force)
    baselines = baselines_of(card)
    if card.quality and baselines:
        print(f"{quality_table(card.quality)}\n{baselines_table(baselines)}")
    print(guard_in_words(card.guard))
    print(f"published {arguments.models_dir / card.name}, model id {card.model_id}", flush=True)
    for warning in warnings_of(card):
        print(f"python -m training: WARNING: {warning}", file=sys.stderr)
    return 0


def guard(arguments: argparse.Namespace) -> int:
    """Fit the guard of published models again."""
    for path in arguments.models:
        source = model_source(path.resolve())
        dataset = load_dataset_of_source(source, arguments, arguments.dataset, arguments.fit)
        if source.recipe is None:
            raise InvalidRun(f"the card of '{path.name}' does not say how its training images were split")
        card = pipeline.guard_model(source.path, dataset, source.recipe, _ood_images(dataset, arguments))
        print(f"{card.name}\n{guard_in_words(card.guard)}", flush=True)
    return 0


def doubt(arguments: argparse.Namespace) -> int:
    """Fit the limits of doubt of published models, the best first, as the others lean on it."""
    sources = [model_source(path.resolve()) for path in arguments.models]
    cards = {source.path: load_card(source.path) for source in sources}
    max_rise = MAX_RISE_BYTES if arguments.max_rise is None else arguments.max_rise
    for source in sorted(
        sources, key=lambda source: -(quality.psnr_db if (quality := cards[source.path].quality) else 0)
    ):
        dataset = load_dataset_of_source(source, arguments, arguments.dataset, arguments.fit)
        if source.recipe is None:
            raise InvalidRun(f"the card of '{source.name}' does not say how its training images were split")
        card = pipeline.doubt_model(source.path, dataset, source.recipe, max_rise)
        if card.guard and (limits := card.guard.doubt):
            odds = "no classifier" if limits.max_class_odds is None else f"class odds {limits.max_class_odds:.4g}"
            print(f"{card.name}: local error {limits.max_local_error:.4g}, {odds}", flush=True)
    return 0


def _ood_images(dataset: Dataset, arguments: argparse.Namespace) -> list[OodImages]:
    if arguments.ood_images is not None:
        return load_ood_images(arguments.ood_images, dataset, arguments.data)
    return load_ood_images(OOD_IMAGES, dataset, arguments.data, skip_missing=True)
