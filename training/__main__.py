"""The command line of training: `python -m training COMMAND`. Words in, a step's result in words out.

Whatever goes wrong on purpose ends in one sentence: exit code 2 for what was typed, 130 for Ctrl-C, 1 for the rest.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from latentwire.cli.arguments import Parser
from latentwire.errors import CodecError
from training.errors import Interrupted, InvalidRecipe, InvalidRun, TrainingError
from training.recipe import Recipe, choices, is_list, load_recipe, make_recipe, recipe_names
from training.runs import RunFolder, create_run

# Each command imports what it needs when it runs: torch and matplotlib take seconds, which `--help` should not.

MODELS_DIR = Path("models")
RESULTS_PAGE = Path("docs/RESULTS.md")

# What `train --layers …` starts from where no recipe is named.
PLAIN_RECIPE = "plain"

# A published figure that a new measurement misses by more than this is wrong.
RMSE_TOLERANCE = 1e-4

# The names of `training.plots.catalogue`, which takes a second to load.
PICTURES = (
    "reconstructions",
    "two-rows",
    "side-by-side",
    "compare",
    "denoise",
    "codes",
    "histograms",
    "random",
    "interpolate",
    "outliers",
    "sweep",
    "learning",
    "animate",
)

_OUTLIERS = "fashion-mnist-sample"
_OOD_IMAGES = (_OUTLIERS, "cifar10-sample")

_METAVARS = {str(int): "N", str(float): "X", str(bool): "true|false"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parser, commands = _parsers()
    known, unknown = parser.parse_known_args(arguments)
    if known.command is None:
        parser.print_help()
        return 0
    if unknown:
        commands[known.command].reject_unknown(unknown)
    try:
        code: int = known.run_command(known)
    except InvalidRecipe as error:
        return _complain(error, 2)
    except Interrupted as error:
        return _complain(error, 130)
    except (TrainingError, CodecError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("stopped", 130)
    except BrokenPipeError:
        return 1
    return code


def _complain(message: object, code: int) -> int:
    print(f"python -m training: {message}", file=sys.stderr)
    return code


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    parser = Parser(
        prog="python -m training",
        description="Trains autoencoders and publishes them as models for the service.",
        allow_abbrev=False,
    )
    adder = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands: dict[str, Parser] = {}

    def add(name: str, run_command: Callable[[argparse.Namespace], int], summary: str) -> Parser:
        command = adder.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.set_defaults(run_command=run_command)
        commands[name] = command
        return command

    def add_data(command: Parser) -> None:
        command.add_argument("--data", type=Path, metavar="DIR", help="data folder; else that of LATENTWIRE_DATA")
        command.add_argument("--strict", action="store_true", help="fail if a file of the data set cannot be read")

    def add_dataset(command: Parser, default: str | None = None) -> None:
        usual = f"default: {default}" if default else "else the one it was trained on"
        command.add_argument("--dataset", default=default, metavar="NAME|PATH", help=usual)

    def add_ood(command: Parser) -> None:
        usual = f"images that the model is not for, to measure its guard; default: {', '.join(_OOD_IMAGES)}, if there"
        command.add_argument("--ood_images", nargs="*", metavar="NAME|PATH", help=usual)

    def add_log_dir(command: Parser) -> None:
        usual = "where TensorBoard finds curves and four reconstructions of each epoch; else none are written"
        command.add_argument("--log-dir", type=Path, metavar="DIR", help=usual)

    command = add("train", _train, "Train by a recipe, into a new run folder.")
    command.add_argument("--recipe", metavar="NAME", help="of training/recipes, or a path of a .toml; may be left out")
    command.add_argument("--run", type=Path, metavar="DIR", help="the run's folder; else runs/<name>-<time>")
    command.add_argument("--start-from", type=Path, metavar="RUN", help="take its best weights, or a .pt file's")
    add_log_dir(command)
    add_data(command)
    _add_recipe_fields(command)

    command = add("resume", _resume, "Go on with a run from its last checkpoint.")
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    add_log_dir(command)
    add_data(command)

    command = add("export", _export, "Make encoder.onnx and decoder.onnx of a run, compared with torch.")
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    add_data(command)

    command = add(
        "calibrate", _calibrate, "Fit the quantizer and the tables of an exported run to its training images."
    )
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    command.add_argument("--max-rmse-increase", type=float, metavar="X", help="by quantization; else the recipe's")
    add_data(command)

    command = add("evaluate", _evaluate, "Measure a calibrated run, or a published model, on all test images.")
    command.add_argument("run", nargs="?", type=Path, metavar="RUN", help="the run's folder")
    command.add_argument("--model", type=Path, metavar="DIR", help="a published model's folder, instead of a run")
    add_dataset(command)
    add_data(command)

    command = add("publish", _publish, "Export, calibrate and evaluate what is not yet, and write a model's folder.")
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    command.add_argument("--models-dir", type=Path, default=MODELS_DIR, metavar="DIR", help="default: %(default)s")
    command.add_argument("--name", help="of the model; else the recipe's")
    add_ood(command)
    add_data(command)

    command = add("guard", _guard, "Fit and measure the guard of published models anew, by their training images.")
    command.add_argument("models", nargs="+", type=Path, metavar="DIR", help="a published model's folder")
    add_ood(command)
    add_data(command)

    command = add("plot", _plot, "Draw a picture of what a model does.")
    command.add_argument("picture", choices=PICTURES, metavar="KIND", help=", ".join(PICTURES))
    command.add_argument("sources", nargs="*", type=Path, metavar="RUN", help="a run's folder, or a model's")
    command.add_argument("--model", nargs="+", type=Path, metavar="DIR", default=[], help="a published model's folder")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture: .png, animate: .gif")
    command.add_argument("--count", type=_index, metavar="N", help="of images, 1 to 40; codes: of points")
    command.add_argument("--noise", choices=["gaussian", "dropout"], default="gaussian", help="denoise: which noise")
    command.add_argument("--noise-level", type=_level, default=0.4, metavar="X", help="denoise: default: %(default)s")
    command.add_argument("--seed", type=_index, default=0, metavar="N", help="random: another one, other codes")
    add_dataset(command)
    add_data(command)

    command = add("report", _report, "Write one HTML file with a model's figures and all its pictures.")
    command.add_argument("source", nargs="?", type=Path, metavar="RUN", help="a run's folder, or a model's")
    command.add_argument("--model", type=Path, metavar="DIR", help="a published model's folder, instead of a run")
    command.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: %(default)s")
    add_dataset(command)
    add_data(command)

    command = add("results", _results, "Write a page with the errors of many runs beside the articles' and PCA's.")
    command.add_argument("sources", nargs="+", type=Path, metavar="RUN", help="a run, a model, or a folder of such")
    command.add_argument("--outliers", nargs="+", type=Path, default=[], metavar="DIR", help="results of `outliers`")
    command.add_argument("--out", type=Path, default=RESULTS_PAGE, metavar="FILE", help="default: %(default)s")
    add_data(command)

    command = add("latency", _latency, "Time one image on one core through graphs of runs or models.")
    command.add_argument("sources", nargs="+", type=Path, metavar="RUN", help="a run's folder, or a model's")
    command.add_argument("--rounds", type=_rounds, default=20, metavar="N", help="default: %(default)s")
    add_data(command)

    command = add("outliers", _outliers, "Find images that are unlike the training images by their error.")
    command.add_argument("--model", nargs="+", type=Path, metavar="DIR", help="measure models as detectors (AUROC)")
    command.add_argument("--against", metavar="NAME|PATH", default=_OUTLIERS, help="outliers; default: %(default)s")
    command.add_argument("--recipe", default="004-dense-8", metavar="NAME", help="without --model: train with one")
    command.add_argument("--count", type=_index, default=20, metavar="N", help="of trainings; default: %(default)s")
    command.add_argument("--run", type=Path, metavar="DIR", help="results' folder; else runs/outliers-<recipe>")
    add_data(command)
    _add_recipe_fields(command)

    command = add("sample", _sample, "Write one test image as a PNG file, to send to a service.")
    command.add_argument("--index", type=_index, default=0, metavar="N", help="of the image; default: %(default)s")
    command.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the image's file")
    add_dataset(command, "mnist")
    add_data(command)

    command = add("data", _data, "Download MNIST, or what of it is not there yet.")
    command.add_argument("--to", type=Path, metavar="DIR", help="data folder; else that of LATENTWIRE_DATA")
    command.add_argument("--mirror", nargs="+", metavar="URL", help="tried in turn, in place of the public ones")

    add("recipes", _recipes, "List the recipes.")
    return parser, commands


def _add_recipe_fields(command: Parser) -> None:
    group = command.add_argument_group("fields of the recipe that may be overridden")
    for name, field in Recipe.model_fields.items():
        allowed = choices(name)
        if allowed:
            metavar = "|".join(allowed)
        elif is_list(name):
            metavar = "N,N,…"
        else:
            metavar = _METAVARS.get(str(field.annotation), "TEXT")
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=f"field_{name}",
            default=argparse.SUPPRESS,
            metavar=metavar,
            help=(field.description or "").replace("%", "%%"),
        )


def _train(arguments: argparse.Namespace) -> int:
    overrides = _overrides(arguments)
    if arguments.recipe is None and "layers" not in overrides:
        raise InvalidRecipe("train needs a --recipe, or --layers as in 784,512,128,10")
    recipe = load_recipe(arguments.recipe or PLAIN_RECIPE, overrides)
    dataset = _dataset(recipe, arguments)
    from training.loop.snapshots import take_snapshots
    from training.loop.tensorboard import watching
    from training.loop.trainer import check, train
    from training.loop.warm_start import load_start

    check(recipe, dataset)
    start = None if arguments.start_from is None else load_start(arguments.start_from, recipe, dataset)
    with watching(arguments.log_dir, recipe, dataset) as watchers:
        run = create_run(recipe, arguments.run)
        print(f"{recipe.name} on {dataset.name}, into {run}", flush=True)
        train(recipe, dataset, run, [_print_epoch, take_snapshots(run, dataset), *watchers], start)
    return _finished(run)


def _overrides(arguments: argparse.Namespace) -> dict[str, str]:
    prefix = "field_"
    return {name.removeprefix(prefix): value for name, value in vars(arguments).items() if name.startswith(prefix)}


def _resume(arguments: argparse.Namespace) -> int:
    run = RunFolder(arguments.run)
    dataset = _dataset(run.recipe(), arguments)
    from training.loop.snapshots import take_snapshots
    from training.loop.tensorboard import watching
    from training.loop.trainer import resume

    with watching(arguments.log_dir, run.recipe(), dataset) as watchers:
        went_on = resume(run, dataset, [_print_epoch, take_snapshots(run, dataset), *watchers])
    if not went_on:
        print(f"{run} is complete: its last epoch is run")
        return 0
    return _finished(run)


def _finished(run: RunFolder) -> int:
    metrics, recipe = run.metrics(), run.recipe()
    if len(metrics) < recipe.epochs:
        fell = f"fell by no more than {recipe.min_change:g}"
        print(f"stopped early: the {recipe.stop_on} loss {fell} in {recipe.patience} epochs")
    best = metrics[int(metrics[-1]["best_epoch"]) - 1]
    bytes_ = f" at {best['validation_bits'] / 8:.2f} bytes" if "validation_bits" in best else ""
    print(f"best: epoch {best['epoch']}, validation RMSE {best['validation_rmse']:.5f}{bytes_}")
    print(f"next: python -m training publish {run}")
    return 0


def _print_epoch(end: Any) -> None:
    print(end.report, flush=True)


def _export(arguments: argparse.Namespace) -> int:
    run = RunFolder(arguments.run)
    dataset = _dataset(run.recipe(), arguments)
    from training.release.export import export_run

    report = export_run(run, dataset)
    for half, path in (("encoder", run.encoder), ("decoder", run.decoder)):
        difference = report[half]["max_difference"]
        print(f"{path}: {report[half]['bytes']:,} bytes, differs from torch by at most {difference:.1e}")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    run = RunFolder(arguments.run)
    dataset = _dataset(run.recipe(), arguments)
    from training.release.calibrate import calibrate_run

    content = calibrate_run(run, dataset, arguments.max_rmse_increase)
    print(
        f"{content['validation_ideal_bits']:.2f} bits an image; validation RMSE {content['validation_rmse']:.5f}, "
        f"and {content['validation_float_rmse']:.5f} with float codes"
    )
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from training.release.evaluate import evaluate_model, quality_table

    if (arguments.run is None) == (arguments.model is None):
        raise InvalidRecipe("evaluate takes either the folder of a run or --model with that of a published model")
    if arguments.run is not None:
        from training.release.pipeline import evaluate_run

        run = RunFolder(arguments.run)
        print(quality_table(evaluate_run(run, _dataset(run.recipe(), arguments, arguments.dataset))))
        return 0
    from latentwire.model.card import load_card
    from training.release.artifacts import model_source

    folder = arguments.model.resolve()
    card = load_card(folder)
    measured = evaluate_model(folder, _dataset_of(model_source(folder), arguments))
    comparable = card.quality is not None and card.quality.dataset == measured.dataset
    print(quality_table(measured, card if comparable else None))
    if comparable and card.quality and abs(card.quality.rmse - measured.rmse) > RMSE_TOLERANCE:
        return _complain(f"the card of '{card.name}' does not tell the quality that is measured here", 1)
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    from training.release.evaluate import quality_table
    from training.release.fit_guard import guard_in_words
    from training.release.pipeline import publish_run

    run = RunFolder(arguments.run)
    dataset = _dataset(run.recipe(), arguments)
    card = publish_run(run, dataset, arguments.models_dir, arguments.name, _load_ood_images(dataset, arguments))
    if card.quality:
        print(quality_table(card.quality))
    print(guard_in_words(card.guard))
    print(f"published {arguments.models_dir / card.name}, model id {card.model_id}")
    return 0


def _guard(arguments: argparse.Namespace) -> int:
    from training.release.artifacts import model_source
    from training.release.fit_guard import guard_in_words
    from training.release.pipeline import guard_model

    for path in arguments.models:
        source = model_source(path.resolve())
        dataset = _dataset_of(source, arguments)
        if source.recipe is None:
            raise InvalidRun(f"the card of '{path.name}' does not say how its training images were cut")
        card = guard_model(source.path, dataset, source.recipe, _load_ood_images(dataset, arguments))
        print(f"{card.name}\n{guard_in_words(card.guard)}", flush=True)
    return 0


def _load_ood_images(dataset: Any, arguments: argparse.Namespace) -> Any:
    from training.release.fit_guard import load_ood_images

    if arguments.ood_images is not None:
        return load_ood_images(arguments.ood_images, dataset, arguments.data)
    return load_ood_images(_OOD_IMAGES, dataset, arguments.data, if_there=True)


def _plot(arguments: argparse.Namespace) -> int:
    from training.plots.catalogue import KINDS, Options, check_request
    from training.release.artifacts import find_source, model_source, open_sources

    kind, out = KINDS[arguments.picture], arguments.out
    options = Options(arguments.count, arguments.noise, arguments.noise_level, arguments.seed)
    check_request(arguments.picture, len(arguments.sources) + len(arguments.model), out, options)
    sources = [*map(find_source, arguments.sources), *map(model_source, arguments.model)]
    if kind.draw is None:
        if kind.draw_run and sources[0].run is None:
            raise InvalidRun(f"plot {arguments.picture} draws the folder of a run, which {sources[0].path} is not")
        if kind.draw_run and sources[0].run:
            kind.draw_run(sources[0].run, out)
    else:
        dataset = _dataset_of(sources[0], arguments)
        with open_sources(sources, dataset) as folders:
            kind.draw(folders, dataset, out, options)
    print(out)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from training.analysis.report import write_report
    from training.release.artifacts import find_source, model_source

    if (arguments.source is None) == (arguments.model is None):
        raise InvalidRecipe("report takes either the folder of a run or --model with that of a published model")
    source = find_source(arguments.source) if arguments.source is not None else model_source(arguments.model)
    pictures = write_report(source, _dataset_of(source, arguments), arguments.out)
    print(f"{arguments.out}: {', '.join(pictures)}")
    return 0


def _results(arguments: argparse.Namespace) -> int:
    from training.analysis.results import Measured, Skipped, load_hidden_outliers, measure_all, write_page
    from training.plots.canvas import write_picture

    loaded: dict[Any, Any] = {}

    def load(recipe: Recipe) -> Any:
        key = (recipe.dataset, recipe.image_height, recipe.image_width, recipe.channels, recipe.fit)
        if key not in loaded:
            loaded[key] = _dataset(recipe, arguments)
        return loaded[key]

    def report(found: Measured | Skipped) -> None:
        if isinstance(found, Measured):
            print(f"{found.name}: {found.data}, code of {found.recipe.code_size:,}, RMSE {found.rmse:.4f}", flush=True)
        else:
            print(f"left out: {found.path}: {found.reason}", file=sys.stderr, flush=True)

    outliers = []
    for folder in arguments.outliers:
        try:
            outliers.append(load_hidden_outliers(folder))
        except TrainingError as error:
            report(Skipped(folder, str(error)))
    measured, skipped = measure_all(arguments.sources, load, report)
    write_picture(arguments.out, write_page(measured, skipped, outliers, load).encode())
    print(arguments.out)
    return 0


def _latency(arguments: argparse.Namespace) -> int:
    from training.analysis.latency import latency_lines, measure_latency
    from training.release.artifacts import find_source
    from training.release.onnx_pair import open_pair

    sources = [find_source(path) for path in arguments.sources]
    pairs = [open_pair(one, _dataset(one.recipe, arguments) if one.run and one.recipe else None) for one in sources]
    print("\n".join(latency_lines(measure_latency(pairs, arguments.rounds))))
    return 0


def _outliers(arguments: argparse.Namespace) -> int:
    from training.data.datasets import load_images, wanted_by

    overrides = _overrides(arguments)
    if arguments.model is not None:
        return _detect(overrides, arguments)
    recipe = load_recipe(arguments.recipe, overrides)
    strange = load_images(arguments.against, arguments.data, wanted_by(recipe))
    return _hide(recipe, _dataset(recipe, arguments), strange, arguments)


def _detect(overrides: dict[str, str], arguments: argparse.Namespace) -> int:
    from latentwire.model.card import load_card
    from training.analysis.outliers import FALSE_ALARMS, detect
    from training.data.datasets import Wanted, load_images
    from training.release.artifacts import model_source

    if idle := sorted(set(overrides) - {"dataset", "fit"}):
        raise InvalidRecipe(f"with --model nothing is trained, so --{idle[0].replace('_', '-')} has no effect")
    fit = make_recipe({"name": "fit", **({"fit": overrides["fit"]} if "fit" in overrides else {})}).fit
    for path in arguments.model:
        source = model_source(path)
        dataset = _dataset_of(source, arguments, overrides.get("dataset"))
        shape = load_card(source.path).image
        wanted = Wanted(shape.height, shape.width, shape.channels, fit)
        strange = load_images(arguments.against, arguments.data, wanted)
        detections = detect(source.path, dataset, strange, arguments.against)
        print(
            f"{source.name}: {len(dataset.test):,} test images of {dataset.name} against {len(strange):,} images of "
            f"{arguments.against}"
        )
        for found in detections:
            print(
                f"  by {found.error}: AUROC {found.auroc:.5f}; {found.found:.1%} found with {FALSE_ALARMS:.0%} false "
                f"alarms; {found.beyond_training:,} beyond all {len(dataset.train):,} training images; medians "
                f"{found.ordinary_median:.4f} and {found.outlier_median:.4f}"
            )
    return 0


def _hide(recipe: Recipe, dataset: Any, strange: Any, arguments: argparse.Namespace) -> int:
    from training.analysis.hidden_outlier import hide_and_rank
    from training.runs import RUNS_DIR

    folder = arguments.run or RUNS_DIR / f"outliers-{recipe.name}"

    def begin() -> None:
        print(
            f"{recipe.name}, {recipe.epochs} epochs, is trained anew for each of {arguments.count} images of "
            f"{arguments.against}, hidden among the training images of {dataset.name}; results go into {folder}",
            flush=True,
        )

    def report(number: int, found: Any) -> None:
        print(
            f"{number:3}. image {found.outlier}: of {found.images:,}, rank {found.rank:,} by RMSE, "
            f"{found.rank_by_mae:,} by mean absolute error and {found.rank_by_coarse:,} by coarse error; "
            f"RMSE {found.rmse:.4f}, the worst other "
            f"{found.worst_other_rmse:.4f}, median {found.median_rmse:.4f}; {found.seconds:.0f} s",
            flush=True,
        )

    results = hide_and_rank(recipe, dataset, strange, arguments.count, folder, report, begin)
    for error, ranks in (
        ("RMSE", sorted(found.rank for found in results)),
        ("mean absolute error", sorted(found.rank_by_mae for found in results)),
        ("coarse error", sorted(found.rank_by_coarse for found in results)),
    ):
        median = ranks[(len(ranks) - 1) // 2]
        print(f"by {error}: rank 1 for {ranks.count(1)} of {len(ranks)}; median rank {median:,}, worst {ranks[-1]:,}")
    return 0


def _sample(arguments: argparse.Namespace) -> int:
    from latentwire.imaging.image import write_png
    from training.atomic import write_atomically
    from training.data.datasets import load_dataset

    test = load_dataset(arguments.dataset, arguments.data, strict=arguments.strict).test
    if arguments.index >= len(test):
        raise InvalidRecipe(f"{arguments.dataset} has {len(test):,} test images; there is no image {arguments.index}")
    write_atomically(arguments.out, write_png(test.pixels[arguments.index]))
    print(f"{arguments.out}: image {arguments.index} of {arguments.dataset}, labelled {test.labels[arguments.index]}")
    return 0


def _data(arguments: argparse.Namespace) -> int:
    from training.data.datasets import default_data_dir
    from training.data.download import MIRRORS, download_mnist

    for line in download_mnist(arguments.to or default_data_dir(), arguments.mirror or MIRRORS):
        print(line, flush=True)
    return 0


def _recipes(_arguments: argparse.Namespace) -> int:
    names = recipe_names()
    for name in names:
        print(f"{name:{max(map(len, names)) + 2}}{load_recipe(name).description}")
    return 0


def _dataset(recipe: Recipe, arguments: argparse.Namespace, name: str | None = None) -> Any:
    """Load the data set that the recipe names, or another one, as images of the sizes that the recipe wants."""
    from training.data.datasets import load_dataset, skipped_in_words, wanted_by

    dataset = load_dataset(name or recipe.dataset, arguments.data, wanted_by(recipe), strict=arguments.strict)
    if dataset.skipped:
        print(skipped_in_words(dataset), file=sys.stderr)
    return dataset


def _dataset_of(source: Any, arguments: argparse.Namespace, name: str | None = None) -> Any:
    """Load the data set that a run's or model's recipe names, or that of `--dataset`, in the recipe's sizes."""
    recipe, name = source.recipe, name or getattr(arguments, "dataset", None)
    if recipe is None and name:
        recipe = make_recipe({"name": "unknown"})
    if recipe is None:
        raise InvalidRun("the card does not say which data set the model was trained on; name one with --dataset")
    return _dataset(recipe, arguments, name)


def _rounds(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of rounds from 1 to 9999")
    return int(text)


def _index(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not the index of an image")
    return int(text)


def _level(text: str) -> float:
    if not re.fullmatch(r"\d?(\.\d{1,9})?", text) or not text or text == "." or float(text) > 4:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 4")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
