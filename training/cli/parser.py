"""The options of all commands. Each command names the module and the function that runs it, without importing them."""

import argparse
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from latentwire import __version__
from latentwire.cli.arguments import Parser
from latentwire.options import FITS
from training.plots import PICTURES
from training.recipe import Recipe
from training.recipe.architecture import KINDS

MODELS_DIR = Path("models")
RESULTS_PAGE = Path("docs/RESULTS.md")

# Data sets of images that models are not for, as far as they are in the data folder.
OUTLIERS = "fashion-mnist-sample"
OOD_IMAGES = (OUTLIERS, "cifar10-sample")

# Prefix of the destinations of options that override a recipe's fields.
RECIPE_PREFIX = "recipe_"

_METAVARS = {str(int): "N", str(float): "X", str(bool): "true|false"}


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser, and those of its commands by their names."""
    parser = Parser(
        prog="python -m training",
        description="Trains autoencoders and publishes them as models for the service.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"latentwire {__version__}")
    adder = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands: dict[str, Parser] = {}

    def add(name: str, module: str, summary: str) -> Parser:
        command = adder.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.set_defaults(module=f"training.cli.{module}", function=name)
        commands[name] = command
        return command

    _add_training(add("train", "train", "Train by a recipe, into a new run folder."))
    _add_resuming(add("resume", "train", "Continue a run from its last checkpoint."))
    _add_run(add("export", "publish", "Write encoder.onnx and decoder.onnx of a run, compared with torch."))
    calibrate = add(
        "calibrate", "publish", "Fit quantizer and frequency tables of an exported run to its training images."
    )
    _add_run(calibrate)
    _add_bound(calibrate)
    _add_evaluation(add("evaluate", "publish", "Measure a calibrated run, or a published model, on all test images."))
    _add_publication(
        add(
            "publish",
            "publish",
            "Run the missing export, calibration and evaluation steps, then write the model folder.",
        )
    )
    _add_guard(
        add("guard", "publish", "Fit and measure the guard of published models again, by their training images.")
    )
    _add_signing(add("sign", "sign", "Sign published models with an Ed25519 private key."))
    _add_doubt(add("doubt", "publish", "Fit the limits of doubt of published models by their validation images."))
    _add_plot(add("plot", "plot", "Draw a picture of a model or a run."))
    _add_report(add("report", "plot", "Write one HTML file with a model's figures and all its pictures."))
    _add_results(add("results", "results", "Write a page with the errors of many runs, the articles' and PCA's."))
    _add_latency(add("latency", "results", "Time one image on one core through the graphs of runs or models."))
    _add_outliers(add("outliers", "outliers", "Find images that are unlike the training images by their error."))
    _add_sample(add("sample", "data", "Write one test image as a PNG file, to send to a service."))
    _add_download(add("data", "data", "Download the files of MNIST that the data folder lacks."))
    add("recipes", "data", "List the recipes.")
    return parser, commands


def recipe_options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the options that override a recipe's fields, as typed."""
    options = vars(arguments).items()
    return {name.removeprefix(RECIPE_PREFIX): value for name, value in options if name.startswith(RECIPE_PREFIX)}


def _add_training(command: Parser) -> None:
    command.add_argument("--recipe", metavar="NAME", help="name in training/recipes, or path of a .toml; optional")
    command.add_argument("--run", type=Path, metavar="DIR", help="run folder (default: runs/<name>-<time>)")
    command.add_argument("--start-from", type=Path, metavar="RUN", help="run, or .pt file, whose weights to start from")
    _add_log_dir(command)
    _add_data(command)
    _add_recipe_fields(command)


def _add_resuming(command: Parser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="run folder")
    _add_log_dir(command)
    _add_data(command)


def _add_run(command: Parser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="run folder")
    _add_data(command)


def _add_bound(command: Parser) -> None:
    usage = "RMSE that quantization may add, pixels in [0, 1] (default: the recipe's)"
    command.add_argument("--max-rmse-increase", type=float, metavar="X", help=usage)


def _add_evaluation(command: Parser) -> None:
    command.add_argument("run", nargs="?", type=Path, metavar="RUN", help="run folder")
    command.add_argument("--model", type=Path, metavar="DIR", help="model folder, instead of a run")
    _add_dataset(command)
    _add_data(command)


def _add_publication(command: Parser) -> None:
    _add_run(command)
    command.add_argument("--models-dir", type=Path, default=MODELS_DIR, metavar="DIR", help="default: %(default)s")
    command.add_argument("--name", help="name of the model (default: the recipe's)")
    command.add_argument("--force", action="store_true", help="replace a model of the same name")
    _add_ood_images(command)


def _add_guard(command: Parser) -> None:
    command.add_argument("models", nargs="+", type=Path, metavar="DIR", help="model folder")
    _add_ood_images(command)
    _add_dataset(command)
    _add_data(command)


def _add_signing(command: Parser) -> None:
    command.add_argument("models", nargs="+", type=Path, metavar="DIR", help="model folder")
    command.add_argument("--key", type=Path, required=True, metavar="FILE", help="PEM file of the private key")


def _add_doubt(command: Parser) -> None:
    command.add_argument("models", nargs="+", type=Path, metavar="DIR", help="model folder")
    usage = (
        "largest rise of the mean payload by images in doubt, in bytes, but for a standard deviation (default: 0.28)"
    )
    command.add_argument("--max-rise", type=_level, metavar="X", help=usage)
    _add_dataset(command)
    _add_data(command)


def _add_plot(command: Parser) -> None:
    command.add_argument("picture", choices=PICTURES, metavar="KIND", help=", ".join(PICTURES))
    command.add_argument("sources", nargs="*", type=Path, metavar="RUN", help="run or model folder")
    command.add_argument("--model", nargs="+", type=Path, metavar="DIR", default=[], help="model folder")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture: .png, for animate .gif")
    command.add_argument("--count", type=_whole, metavar="N", help="number of images, 1 to 40; for codes, of points")
    command.add_argument("--noise", choices=["gaussian", "dropout"], default="gaussian", help="denoise: kind of noise")
    command.add_argument(
        "--noise-level", type=_level, default=0.4, metavar="X", help="denoise: level of noise (default: %(default)s)"
    )
    command.add_argument("--seed", type=_whole, default=0, metavar="N", help="random: seed of the codes")
    _add_dataset(command)
    _add_data(command)


def _add_report(command: Parser) -> None:
    command.add_argument("source", nargs="?", type=Path, metavar="RUN", help="run or model folder")
    command.add_argument("--model", type=Path, metavar="DIR", help="model folder, instead of a run")
    command.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: %(default)s")
    _add_dataset(command)
    _add_data(command)


def _add_results(command: Parser) -> None:
    command.add_argument("sources", nargs="+", type=Path, metavar="RUN", help="run, model, or folder of such folders")
    command.add_argument("--outliers", nargs="+", type=Path, default=[], metavar="DIR", help="folders of `outliers`")
    command.add_argument("--out", type=Path, default=RESULTS_PAGE, metavar="FILE", help="default: %(default)s")
    _add_data(command)


def _add_latency(command: Parser) -> None:
    command.add_argument("sources", nargs="+", type=Path, metavar="RUN", help="run or model folder")
    command.add_argument("--rounds", type=_rounds, default=20, metavar="N", help="default: %(default)s")
    _add_data(command)


def _add_outliers(command: Parser) -> None:
    command.add_argument("--model", nargs="+", type=Path, metavar="DIR", help="measure models as detectors (AUROC)")
    command.add_argument("--against", metavar="NAME|PATH", default=OUTLIERS, help="outliers (default: %(default)s)")
    command.add_argument(
        "--recipe",
        default="004-dense-8",
        metavar="NAME",
        help="recipe to train, without --model (default: %(default)s)",
    )
    command.add_argument(
        "--count", type=_whole, default=20, metavar="N", help="number of trainings (default: %(default)s)"
    )
    command.add_argument("--run", type=Path, metavar="DIR", help="results folder (default: runs/outliers-<recipe>)")
    _add_data(command)
    _add_recipe_fields(command)


def _add_sample(command: Parser) -> None:
    command.add_argument("--index", type=_whole, default=0, metavar="N", help="index of the image (default: 0)")
    command.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="file to write")
    _add_dataset(command, "mnist")
    _add_data(command)


def _add_download(command: Parser) -> None:
    command.add_argument("--to", type=Path, metavar="DIR", help="data folder (default: LATENTWIRE_DATA, or data)")
    command.add_argument("--mirror", nargs="+", metavar="URL", help="tried in turn, instead of the public mirrors")


def _add_data(command: Parser) -> None:
    command.add_argument("--data", type=Path, metavar="DIR", help="data folder (default: LATENTWIRE_DATA, or data)")
    command.add_argument("--strict", action="store_true", help="fail if a file of the data set is unreadable")


def _add_dataset(command: Parser, default: str | None = None) -> None:
    usage = f"data set (default: {default or 'the one that the model was trained on'})"
    command.add_argument("--dataset", default=default, metavar="NAME|PATH", help=usage)
    if default is None:
        usage = "what to do with images of another size than the model's (default: the recipe's)"
        command.add_argument("--fit", choices=FITS, help=usage)


def _add_ood_images(command: Parser) -> None:
    usage = f"images that the model is not for, to measure its guard (default: {', '.join(OOD_IMAGES)}, if present)"
    command.add_argument("--ood-images", nargs="*", metavar="NAME|PATH", help=usage)


def _add_log_dir(command: Parser) -> None:
    usage = "folder for TensorBoard: curves, and four reconstructions of each epoch (default: none)"
    command.add_argument("--log-dir", type=Path, metavar="DIR", help=usage)


def _add_recipe_fields(command: Parser) -> None:
    group = command.add_argument_group("options that override the recipe")
    for name, field in Recipe.model_fields.items():
        metavar = "|".join(KINDS) if name == "architecture" else _metavar(field)
        _add_field(group, name, metavar, field.description)
    group = command.add_argument_group("options that override the recipe's architecture")
    kinds_of: dict[str, list[str]] = {}
    fields: dict[str, FieldInfo] = {}
    for kind, model in KINDS.items():
        for name, field in model.model_fields.items():
            if name != "kind":
                fields[name] = field
                kinds_of.setdefault(name, []).append(kind)
    for name, field in fields.items():
        _add_field(group, name, _metavar(field), f"{', '.join(kinds_of[name])}: {field.description}")


def _add_field(group: argparse._ArgumentGroup, name: str, metavar: str, description: str | None) -> None:
    group.add_argument(
        f"--{name.replace('_', '-')}",
        dest=f"{RECIPE_PREFIX}{name}",
        default=argparse.SUPPRESS,
        metavar=metavar,
        help=(description or "").replace("%", "%%"),
    )


def _metavar(field: FieldInfo) -> str:
    origin = get_origin(field.annotation)
    if origin is Literal:
        return "|".join(map(str, get_args(field.annotation)))
    return "N,N,…" if origin is tuple else _METAVARS.get(str(field.annotation), "TEXT")


def _rounds(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 9999")
    return int(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 to 999999999")
    return int(text)


def _level(text: str) -> float:
    if not re.fullmatch(r"\d?(\.\d{1,9})?", text) or not text or text == "." or float(text) > 4:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 4")
    return float(text)
