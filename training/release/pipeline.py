"""A trained run -> a published model: export, calibrate, evaluate, card, README, and into the models' folder.

A step is skipped if the run already holds its result for the current weights.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import ImageMismatch
from latentwire.model.card import DECODER_FILE, ENCODER_FILE, ModelCard, Quality, load_card
from latentwire.model.guard_limits import GuardLimits
from latentwire.selection.guard import Guard
from latentwire.selection.ladder import Ladder
from training.data.datasets import Dataset, public_name, split_training
from training.errors import InvalidRun
from training.recipe import Recipe, make_recipe
from training.release.baselines import measure_baselines
from training.release.calibrate import calibrate_run, load_calibration
from training.release.evaluate import evaluate_model
from training.release.fit_doubt import MAX_RISE_BYTES, fit_doubt
from training.release.fit_guard import OodImages, make_guard
from training.release.model_dir import check_target, find_vector_models, graph_file, make_card, write_model
from training.release.model_readme import write_readme
from training.runs import RunFolder


def publish_run(
    run: RunFolder,
    dataset: Dataset,
    models_dir: Path,
    name: str | None = None,
    ood_images: Sequence[OodImages] = (),
    *,
    replace: bool = False,
) -> ModelCard:
    """Publish a run as `models_dir/<name>`, by default under its recipe's name, and return its card.

    Args:
        run: the trained run.
        dataset: the data set of its recipe.
        models_dir: folder in which the model's folder is made.
        name: name of the model.
        ood_images: images that the model is not for, with which its guard is measured.
        replace: whether to replace a model of the same name.

    Raises:
        TrainingError: a step fails; see `training.errors`.
        CodecError: a graph cannot be used.
    """
    recipe = run.recipe()
    # Both fail before any work.
    name = make_recipe(recipe.model_dump(), {} if name is None else {"name": name}).name
    check_target(models_dir, name, replace=replace)
    prepare(run, dataset)
    quality = evaluate_run(run, dataset)
    with staged_model(run, dataset) as folder:
        baselines = measure_baselines(folder, dataset)
        guard = make_guard(folder, dataset, split_training(dataset, recipe), ood_images)
    card = card_of(run, dataset, name, quality, guard)
    card.provenance["baselines"] = baselines.model_dump(mode="json")
    write_model(models_dir, card, run.encoder, run.decoder, write_readme(card), replace=replace)
    return card


def guard_model(folder: Path, dataset: Dataset, recipe: Recipe, ood_images: Sequence[OodImages] = ()) -> ModelCard:
    """Fit the guard of a published model again, and write it into its card; nothing else of the model changes.

    Args:
        folder: the model's folder.
        dataset: the data set that it was trained on.
        recipe: the recipe that splits the training images.
        ood_images: images that the model is not for.

    Raises:
        CodecError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
    """
    card = load_card(folder)
    if card.image != dataset.shape:
        raise ImageMismatch(f"model '{card.name}' takes {card.image}; {dataset.name} has {dataset.shape}")
    guard = make_guard(folder, dataset, split_training(dataset, recipe), ood_images)
    if guard is not None and card.guard is not None:
        guard = guard.model_copy(update={"doubt": card.guard.doubt, "meaning": card.guard.meaning})
    return replace_guard(folder, card, guard)


def doubt_model(folder: Path, dataset: Dataset, recipe: Recipe, max_rise: float = MAX_RISE_BYTES) -> ModelCard:
    """Fit the limits of doubt of a published model, and write them into its card; nothing else of the model changes.

    Args:
        folder: the model's folder, beside which its better models are, with their own limits.
        dataset: the data set that it was trained on.
        recipe: the recipe that splits the training images.
        max_rise: as `fit_doubt` takes it.

    Raises:
        CodecError: the files of the model, or of one beside it, cannot be used.
        InvalidRun: the card has no guard.
    """
    card = load_card(folder)
    if card.guard is None:
        raise InvalidRun(f"the card of '{card.name}' has no guard; make it with `python -m training guard {folder}`")
    beside = [card for path, card in find_vector_models(folder.parent).items() if path != folder]
    guards = [_open_guard(folder.parent / other.name) for other in beside if other.image == card.image]
    better = Ladder([guard for guard in guards if guard.card.guard and guard.card.guard.doubt]).above(
        _open_guard(folder)
    )
    doubt = fit_doubt(folder, split_training(dataset, recipe), better, max_rise)
    return replace_guard(folder, card, card.guard.model_copy(update={"doubt": doubt, "meaning": None}))


def replace_guard(folder: Path, card: ModelCard, guard: GuardLimits | None) -> ModelCard:
    """Write another guard into the card, and README, of the model in `folder`; return the card."""
    guarded = card.model_copy(update={"guard": guard})
    readme = write_readme(guarded)
    write_model(folder.parent, guarded, folder / ENCODER_FILE, folder / DECODER_FILE, readme, replace=True)
    return guarded


def _open_guard(folder: Path) -> Guard:
    return Guard(Encoder.open(folder), Decoder.open(folder))


def is_prepared(run: RunFolder) -> bool:
    """Return whether a run has graphs and quantizer of its best checkpoint."""
    return _is_exported(run) and _is_calibrated(run)


def prepare(run: RunFolder, dataset: Dataset) -> None:
    """Export and calibrate a run, unless both results are up to date."""
    ensure_exported(run, dataset)
    if not _is_calibrated(run):
        calibrate_run(run, dataset)


def ensure_exported(run: RunFolder, dataset: Dataset) -> None:
    """Export both graphs, unless those of the best checkpoint exist."""
    if not _is_exported(run):
        export(run, dataset)


def export(run: RunFolder, dataset: Dataset) -> dict[str, Any]:
    """Write both graphs of a run; see `training.release.export.export_run`.

    torch is imported here only, because it takes seconds to load, and commands on published models do not need it.
    """
    from training.release.export import export_run

    return export_run(run, dataset)


def evaluate_run(run: RunFolder, dataset: Dataset) -> Quality:
    """Measure a calibrated run on all test images, and write its `quality.json`.

    Raises:
        InvalidRun: it was not exported and calibrated yet.
    """
    with staged_model(run, dataset) as folder:
        quality = evaluate_model(folder, dataset)
    run.write_json(run.quality_file, quality.model_dump(mode="json"))
    return quality


@contextmanager
def staged_model(run: RunFolder, dataset: Dataset) -> Iterator[Path]:
    """Yield a run's model as a folder like that of a published model, which lasts as long as the context."""
    if not _is_calibrated(run):
        raise InvalidRun(f"{run} has no quantizer for its graphs; run `python -m training calibrate {run}`")
    with tempfile.TemporaryDirectory() as scratch:
        yield write_model(Path(scratch), card_of(run, dataset), run.encoder, run.decoder)


def card_of(
    run: RunFolder,
    dataset: Dataset,
    name: str | None = None,
    quality: Quality | None = None,
    guard: GuardLimits | None = None,
) -> ModelCard:
    """Make the card of a calibrated run.

    Raises:
        InvalidRun: the run lacks a step.
    """
    recipe = run.recipe()
    return make_card(
        name or recipe.name,
        run.encoder,
        run.decoder,
        dataset.shape,
        *load_calibration(run),
        description=recipe.description or _describe(recipe, dataset),
        quality=quality,
        guard=guard,
        provenance=_provenance(run),
    )


def _describe(recipe: Recipe, dataset: Dataset) -> str:
    """Return the sentence of a card whose recipe has none."""
    shape, size = dataset.shape, recipe.code_size
    colours = {1: "grey", 3: "colour", 4: "transparent colour"}[shape.channels]
    return (
        f"An autoencoder of {shape.width} × {shape.height} {colours} images ({public_name(recipe.dataset)}), "
        f"with a code of {size:,} number{'s' * (size > 1)}."
    )


def _provenance(run: RunFolder) -> dict[str, Any]:
    exported = run.read_json(run.export_file, "export")
    calibrated = run.read_json(run.quantizer_file, "calibrate")
    metrics = run.metrics()
    recipe = run.recipe().model_dump(mode="json")
    recipe["dataset"] = public_name(recipe["dataset"])
    # The bound may have been chosen on the command line of `calibrate`.
    recipe["max_rmse_increase"] = calibrated.get("max_rmse_increase", recipe["max_rmse_increase"])
    return {
        "recipe": recipe,
        "environment": run.read_json(run.environment_file, "train"),
        "epochs_run": metrics[-1]["epoch"] if metrics else 0,
        "train_seconds": round(sum(epoch["seconds"] for epoch in metrics), 1),
        "checkpoint_sha256": exported["checkpoint_sha256"],
        "best_epoch": exported["best_epoch"],
        "validation_rmse": exported["validation_rmse"],
        "validation_rmse_quantized": calibrated["validation_rmse"],
        "max_difference_from_torch": {half: exported[half]["max_difference"] for half in ("encoder", "decoder")},
    }


def _is_exported(run: RunFolder) -> bool:
    if not (run.export_file.is_file() and run.encoder.is_file() and run.decoder.is_file()):
        return False
    if not run.best.is_file():
        return True  # the checkpoint was deleted, and its graphs are kept
    return run.read_json(run.export_file, "export").get("checkpoint_sha256") == run.best_sha256()


def _is_calibrated(run: RunFolder) -> bool:
    if not (run.quantizer_file.is_file() and run.encoder.is_file() and run.decoder.is_file()):
        return False
    content = run.read_json(run.quantizer_file, "calibrate")
    graphs = (content.get("encoder_sha256"), content.get("decoder_sha256"))
    return graphs == (graph_file(run.encoder).sha256, graph_file(run.decoder).sha256)
