"""python -m training.photo: train, go on, cool down, evaluate."""

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from training.photo.bd_rate import bd_rate, measured_curves
from training.photo.evaluate import Rates, count_symbols, evaluate, read_folder, training_batches
from training.photo.integers import to_integers
from training.photo.model import thousand_macs
from training.photo.pictures import Pixels, load_split, photo_folder
from training.photo.trainer import COOLDOWN, Settings, branch, load_codec, resume, start


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m training.photo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="begin a flat run")
    train.add_argument("folder", type=Path)
    train.add_argument("--data", type=Path, help="folder of photographs")
    _add_settings(train)
    going = commands.add_parser("resume", help="go on from a run's last checkpoint")
    going.add_argument("folder", type=Path)
    going.add_argument("--threads", type=int)
    cooling = commands.add_parser("cooldown", help="end a copy of a run at falling rates")
    cooling.add_argument("checkpoint", type=Path, help="of a flat run, or its folder")
    cooling.add_argument("folder", type=Path)
    _add_settings(cooling)
    branching = commands.add_parser("branch", help="begin another flat run from a checkpoint's weights")
    branching.add_argument("checkpoint", type=Path, help="of a run, or its folder")
    branching.add_argument("folder", type=Path)
    _add_settings(branching)
    evaluating = commands.add_parser("evaluate", help="measure a checkpoint on whole pictures")
    evaluating.add_argument("checkpoint", type=Path, help="a file, or a run for its last one")
    evaluating.add_argument("--images", type=Path, help="folder of pictures; without one, the validation photographs")
    evaluating.add_argument("--data", type=Path, help="folder of photographs, to fit tables and integers to")
    evaluating.add_argument("--anchors", type=Path, help="JSON file of other codecs' curves on the same pictures")
    evaluating.add_argument("--scale", type=float, default=1.0, help="of the pictures, at most 1")
    evaluating.add_argument("--integers", action="store_true", help="with the integer hyper decoder and context")
    evaluating.add_argument("--fit", type=int, default=40, help="batches that tables are fitted to; 0: normal ones")
    evaluating.add_argument("--out", type=Path, help="JSON file that is written")
    evaluating.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.command == "evaluate":
        _evaluate(given)
        return
    fields = {field.name for field in dataclasses.fields(Settings)} - {"data"}
    changes = {name: value for name, value in vars(given).items() if name in fields and value is not None}
    if given.command == "train":
        start(Settings(data=str(photo_folder(given.data)), **changes), given.folder)
    elif given.command == "resume":
        resume(given.folder, given.threads)
    elif given.command == "cooldown":
        branch(given.checkpoint, given.folder, {**COOLDOWN, **changes})
    else:
        branch(given.checkpoint, given.folder, changes)


def _evaluate(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    codec = load_codec(given.checkpoint)
    split = load_split(photo_folder(given.data), every=1 if given.images is None else 4)
    if given.integers and codec.hyper_in_integers is None:
        first = next(iter(training_batches(split.training, 1, seed=1)))
        to_integers(codec, first.pixels, first.quality)
    counts = count_symbols(codec, training_batches(split.training, given.fit)) if given.fit else None
    if given.images is None:
        pictures: Iterable[Pixels] = (picture.levels[0] for picture in split.validation)
    else:
        pictures = read_folder(given.images, given.scale)
    rows = evaluate(codec, pictures, Rates(codec, counts))
    result: dict[str, Any] = {"thousand_macs": thousand_macs(codec), "rows": [row._asdict() for row in rows]}
    for row in rows:
        print(f"{row.quality:g}  {row.bpp:.4f} bpp (z {row.hyper_bpp:.4f})  {row.psnr:.3f} dB")
    if given.anchors is not None:
        curves = measured_curves(json.loads(given.anchors.read_text()))
        ours = [(row.bpp, row.psnr) for row in rows]
        result["bd_rate"] = {name: bd_rate(curve, ours) for name, curve in curves.items()}
        for name, value in result["bd_rate"].items():
            print(f"{name:24s} {'none' if value is None else f'{value:+.2f} %'}")
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1))


def _add_settings(parser: argparse.ArgumentParser) -> None:
    for field in dataclasses.fields(Settings):
        name = "--" + field.name.replace("_", "-")
        if field.name in ("data", "phase", "widths"):
            continue
        if field.type is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=None)
        else:
            assert isinstance(field.type, type)  # noqa: S101
            parser.add_argument(name, type=field.type, default=None)


if __name__ == "__main__":
    main()
