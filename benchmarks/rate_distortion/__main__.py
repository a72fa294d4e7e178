"""`python -m benchmarks.rate_distortion`: measure codecs and models, print tables, write numbers and pictures."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.rate_distortion.classical import CODECS, Setting, missing, settings_alone, settings_together
from benchmarks.rate_distortion.measure import (
    measure_alone,
    measure_lossless,
    measure_model,
    measure_together,
    name_images,
)
from benchmarks.rate_distortion.plots import plot_points
from benchmarks.rate_distortion.points import ALONE, LOSSLESS, TOGETHER, Arrangement, Point
from benchmarks.rate_distortion.tables import full_text, summary_text
from latentwire.errors import CodecError
from latentwire.imaging.image import Pixels
from latentwire.model.card import ImageShape
from training.atomic import write_atomically
from training.data.datasets import load_dataset
from training.data.images import shape_of
from training.errors import CannotWrite, TrainingError
from training.release.model_dir import find_vector_models

# Default number of images for classical codecs, each image alone: the slowest take minutes for these.
CLASSICAL_COUNT = 1000
CLASSICAL_SEED = 1

NUMBERS_FILE = "rate-distortion.json"
PICTURE_FILES: dict[Arrangement, str] = {ALONE: "rate-distortion-alone.png", TOGETHER: "rate-distortion-together.png"}

# The command writes the text between `<!-- rate-distortion -->` and `<!-- /rate-distortion -->` of a document.
FULL_MARK, SUMMARY_MARK = "rate-distortion", "rate-distortion-summary"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 for a wrong option, 130 for Ctrl-C, 1 for other failures."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        known = _known_points(chosen.reuse)
        for document in chosen.text:
            _check_document(document)
    except (OSError, ValueError, TypeError, KeyError) as error:
        parser.error(str(error))
    try:
        pixels, dataset = _images(chosen)
        folders = _model_folders(chosen.models_dir, shape_of(pixels.shape, dataset))
        points = _measure(chosen, pixels, dataset, folders, known)
        _report(chosen, points, dataset)
    except (TrainingError, CodecError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        numbers = chosen.out / NUMBERS_FILE
        hint = f"; continue with --reuse {numbers}" if numbers.is_file() else ""
        print(f"{parser.prog}: stopped{hint}", file=sys.stderr)
        return 130
    return 0


def fill(document: str, mark: str, text: str) -> str:
    """Return a document with `text` between `<!-- mark -->` and `<!-- /mark -->`, if it has these marks."""
    between = re.compile(f"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    return between.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", document)


def choose_images(pixels: Pixels, count: int) -> Pixels:
    """Return `count` of the images, drawn with a fixed seed, in their order; at most all."""
    if count >= len(pixels):
        return pixels
    # numpy promises the stream of RandomState for good, but not that of its newer generators.
    drawn = np.random.RandomState(CLASSICAL_SEED).permutation(len(pixels))[:count]
    chosen: Pixels = pixels[np.sort(drawn)]
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rate_distortion",
        description="Draws bytes against PSNR for the shipped models and the classical codecs, on the same images.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--count", type=_positive, metavar="N", help="measure the first N test images (default: all)")
    add(
        "--classical-count",
        type=_positive,
        default=CLASSICAL_COUNT,
        metavar="N",
        help=f"images for classical codecs, each image alone, drawn with seed {CLASSICAL_SEED} (default: %(default)s)",
    )
    add("--codec", action="append", choices=CODECS, help="measure this classical codec only; may be repeated")
    add(
        "--models-dir",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="folder of models to measure (default: models)",
    )
    add("--dataset", default="mnist", metavar="NAME", help="data set of grey test images (default: mnist)")
    add("--data", type=Path, metavar="DIR", help="data folder (default: LATENTWIRE_DATA, or data)")
    add(
        "--out",
        type=Path,
        default=Path("docs"),
        metavar="DIR",
        help="folder for numbers and pictures (default: docs)",
    )
    add(
        "--text",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"document with <!-- {FULL_MARK} --> or <!-- {SUMMARY_MARK} -->, whose text to write; may be repeated",
    )
    add(
        "--reuse",
        type=Path,
        metavar="JSON",
        help="numbers of an earlier run, reused for classical codecs if images, setting and library are the same",
    )
    return parser


def _positive(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of images")
    return int(text)


def _known_points(path: Path | None) -> dict[tuple[str, ...], Point]:
    if path is None:
        return {}
    try:
        points = [Point.from_json(fields) for fields in json.loads(path.read_bytes())["points"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} does not hold the numbers of this command") from error
    return {point.key: point for point in points}


def _check_document(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if all(fill(text, mark, "") == text for mark in (FULL_MARK, SUMMARY_MARK)):
        raise ValueError(f"{path} lacks both <!-- {FULL_MARK} --> and <!-- {SUMMARY_MARK} --> with their ends")


def _images(chosen: argparse.Namespace) -> tuple[Pixels, str]:
    dataset = load_dataset(chosen.dataset, chosen.data)
    if dataset.shape.channels != 1:
        raise TrainingError(f"{dataset.name} has images of {dataset.shape}; this comparison takes grey images only")
    return dataset.test.pixels[: chosen.count], f"{dataset.name.replace('mnist', 'MNIST')} test"


def _model_folders(models_dir: Path, shape: ImageShape) -> list[Path]:
    fitting = [folder for folder, card in find_vector_models(models_dir).items() if card.image == shape]
    if not fitting:
        raise TrainingError(f"{models_dir} has no model of {shape}")
    return fitting


def _measure(
    chosen: argparse.Namespace,
    pixels: Pixels,
    dataset: str,
    folders: Sequence[Path],
    known: dict[tuple[str, ...], Point],
) -> list[Point]:
    def asked(settings: list[Setting]) -> list[Setting]:
        return [setting for setting in settings if not chosen.codec or setting.codec in chosen.codec]

    for codec, sentence in missing().items():
        if not chosen.codec or codec in chosen.codec:
            print(sentence, file=sys.stderr)
    few = choose_images(pixels, chosen.classical_count)
    work: list[tuple[Setting, Arrangement, Pixels]] = [
        *((setting, ALONE, few) for setting in asked(settings_alone())),
        *((setting, TOGETHER, pixels) for setting in asked(settings_together())),
    ]
    names = {ALONE: name_images(few), TOGETHER: name_images(pixels)}
    keys = [(setting.codec, setting.name, setting.library, where, names[where]) for setting, where, _ in work]
    found = {at: known[key] for at, key in enumerate(keys) if key in known}
    # Slow settings come last.
    left = sorted((at for at in range(len(work)) if at not in found), key=lambda at: work[at][0].slow)
    ours: list[Point] = []
    units = [len(images) if where == ALONE else 1 for _, where, images in work]
    with tqdm(
        total=2 * len(pixels) * len(folders) + len(few) + sum(units), unit="image", smoothing=0.02, disable=None
    ) as bar:
        for folder in folders:
            bar.set_description(folder.name)
            ours += measure_model(folder, pixels, bar.update)
        bar.set_description(LOSSLESS)
        ours += measure_lossless(folders[0], few, bar.update)
        bar.update(sum(units[at] for at in found))
        for at in left:
            setting, where, images = work[at]
            bar.set_description(f"{setting.codec}, {where}")
            found[at] = (measure_alone if where == ALONE else measure_together)(setting, images, bar.update)
            # All points so far are written after each measurement, so that a stopped run can continue.
            _write_numbers(chosen.out, dataset, [*ours, *found.values()])
    return [*ours, *(found[at] for at in range(len(work)))]


def _write_numbers(folder: Path, dataset: str, points: Sequence[Point]) -> None:
    numbers = {"dataset": dataset, "classical_seed": CLASSICAL_SEED, "points": [point.to_json() for point in points]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be made: {error.strerror}") from error
    write_atomically(folder / NUMBERS_FILE, (json.dumps(numbers, indent=1) + "\n").encode())


def _report(chosen: argparse.Namespace, points: Sequence[Point], dataset: str) -> None:
    text = full_text(points, dataset)
    print(text)
    _write_numbers(chosen.out, dataset, points)
    for arrangement, name in PICTURE_FILES.items():
        plot_points(points, arrangement, dataset, chosen.out / name)
    for path in chosen.text:
        document = path.read_text(encoding="utf-8")
        document = fill(fill(document, FULL_MARK, text), SUMMARY_MARK, summary_text(points, dataset))
        write_atomically(path, document.encode())
    written = [str(chosen.out / name) for name in (NUMBERS_FILE, *PICTURE_FILES.values())]
    print(f"\nwritten: {', '.join([*written, *map(str, chosen.text)])}")


if __name__ == "__main__":
    sys.exit(main())
