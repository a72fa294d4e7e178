"""python -m training.photo: train, go on, cool down, evaluate, export."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.photo.bd_rate import bd_rate, measured_curves
from training.photo.evaluate import (
    Rates,
    classical_curves,
    count_symbols,
    evaluate,
    middle_of,
    read_folder,
    to_tensor,
    training_batches,
)
from training.photo.export import EXPORT_FILE, export, export_transforms, round_kernels, tables_as_json
from training.photo.integers import IntegerEntropy, to_integers
from training.photo.model import LEVELS, PhotoCodec, thousand_macs
from training.photo.neighbours import Symbols, saving
from training.photo.origin import describe_origin
from training.photo.pictures import Picture, load_split, photo_folder
from training.photo.refiner import refinement_of
from training.photo.shrink import SHRINKABLE
from training.photo.tables import fitted_tables
from training.photo.trainer import COOLDOWN, EIGHT_BITS, SHRINK, Settings, branch, load_codec, resume, start


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
    shrinking = commands.add_parser("shrink", help="train a smaller network that begins as a larger one")
    shrinking.add_argument("checkpoint", type=Path, help="of a run that has cooled down, or its folder")
    shrinking.add_argument("folder", type=Path)
    for name in SHRINKABLE:
        shrinking.add_argument(f"--{name.replace('_', '-')}", type=int, help="instead of the larger network's")
    shrinking.add_argument("--trained", choices=("all", "sender"), help="parts; receivers of sender's stay as they are")
    _add_settings(shrinking)
    rounding = commands.add_parser("eight-bits", help="go on training with encoder and decoder of 8-bit integers")
    rounding.add_argument("checkpoint", type=Path, help="of a run that has cooled down, or its folder")
    rounding.add_argument("folder", type=Path)
    _add_settings(rounding)
    evaluating = commands.add_parser("evaluate", help="measure a checkpoint on whole pictures")
    evaluating.add_argument("checkpoint", type=Path, help="a file, or a run for its last one")
    evaluating.add_argument("--images", type=Path, help="folder of pictures; without one, the validation photographs")
    evaluating.add_argument("--side", type=int, default=512, help="of the middle of validation photographs")
    evaluating.add_argument("--data", type=Path, help="folder of photographs, to fit tables and integers to")
    evaluating.add_argument("--anchors", type=Path, help="JSON file of other codecs' curves on the same pictures")
    evaluating.add_argument("--scale", type=float, default=1.0, help="of the pictures, at most 1")
    evaluating.add_argument("--overhead", type=int, default=0, help="bytes of a header, counted with each picture")
    evaluating.add_argument("--avif", action="store_true", help="beside JPEG and WebP, where there are no anchors")
    evaluating.add_argument("--integers", action="store_true", help="with the integer hyper decoder and context")
    evaluating.add_argument("--fit", type=int, default=40, help="batches that tables are fitted to; 0: normal ones")
    evaluating.add_argument("--out", type=Path, help="JSON file that is written")
    evaluating.add_argument("--threads", type=int, default=1)
    ruling = commands.add_parser("neighbours", help="what a rule without a network, and the context, save of symbols")
    ruling.add_argument("checkpoint", type=Path, help="a file, or a run for its last one")
    ruling.add_argument("--data", type=Path, help="folder of photographs")
    ruling.add_argument("--pictures", type=int, default=80, help="that the rule is fitted to")
    ruling.add_argument("--threads", type=int, default=1)
    exporting = commands.add_parser("export", help="write a checkpoint's four graphs and what a card says of them")
    exporting.add_argument("checkpoint", type=Path, help="a file, or a run for its last one")
    exporting.add_argument("folder", type=Path)
    exporting.add_argument("--data", type=Path, help="folder of photographs, to fit tables to")
    exporting.add_argument("--fit", type=int, default=40, help="batches that tables are fitted to")
    exporting.add_argument("--entropy", type=Path, help="earlier export, of which the entropy model is taken over")
    given = parser.parse_args(arguments)
    others = {"evaluate": _evaluate, "neighbours": _neighbours, "export": _export}
    if given.command in others:
        others[given.command](given)
        return
    fields = {field.name for field in dataclasses.fields(Settings)} - {"data"}
    changes = {name: value for name, value in vars(given).items() if name in fields and value is not None}
    if given.command == "train":
        start(Settings(data=str(photo_folder(given.data)), **changes), given.folder)
    elif given.command == "resume":
        resume(given.folder, given.threads)
    elif given.command == "cooldown":
        branch(given.checkpoint, given.folder, {**COOLDOWN, **changes})
    elif given.command == "eight-bits":
        branch(given.checkpoint, given.folder, {**EIGHT_BITS, **changes})
    elif given.command == "shrink":
        fewer = {name: value for name in SHRINKABLE if (value := getattr(given, name)) is not None}
        widths = load_codec(given.checkpoint).settings.widths._replace(**fewer)
        branch(given.checkpoint, given.folder, {**SHRINK, "widths": widths, **changes})
    else:
        branch(given.checkpoint, given.folder, changes)


def _evaluate(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    loaded = load_codec(given.checkpoint)
    codec, share = loaded.codec, loaded.settings.validation_share
    split = load_split(photo_folder(given.data), share, every=1 if given.images is None else 4)
    if given.integers:
        _integers(codec, split.training)
    counts = count_symbols(codec, training_batches(split.training, given.fit)) if given.fit else None
    if given.images is None:
        pictures = [middle_of(picture, given.side) for picture in split.validation]
    else:
        pictures = list(read_folder(given.images, given.scale))
    rows = evaluate(codec, pictures, Rates(codec, counts), overhead=given.overhead)
    result: dict[str, Any] = {"thousand_macs": thousand_macs(codec), "rows": [row._asdict() for row in rows]}
    for row in rows:
        print(f"{row.quality:g}  {row.bpp:.4f} bpp (z {row.hyper_bpp:.4f})  {row.psnr:.3f} dB")
    curves = {}
    if given.anchors is not None:
        curves = measured_curves(json.loads(given.anchors.read_text()))
    else:
        curves = classical_curves(pictures, given.avif)
    if curves:
        ours = [(row.bpp, row.psnr) for row in rows]
        result["bd_rate"] = {name: bd_rate(curve, ours) for name, curve in curves.items()}
        for name, value in result["bd_rate"].items():
            print(f"{name:24s} {'none' if value is None else f'{value:+.2f} %'}")
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1))


def _integers(codec: PhotoCodec, pictures: Sequence[Picture]) -> IntegerEntropy:
    """Make the hyper decoder and the context integer networks, by the activations that a batch has, and return them."""
    batch = next(iter(training_batches(pictures, 1, seed=1)))
    return to_integers(codec, batch.pixels, batch.quality)


def _neighbours(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    loaded = load_codec(given.checkpoint)
    codec = loaded.codec
    split = load_split(photo_folder(given.data), loaded.settings.validation_share)
    random = np.random.default_rng(0)
    chosen = [split.training[number] for number in random.permutation(len(split.training))[: given.pictures]]
    parts = [[middle_of(picture, 256) for picture in pictures] for pictures in (chosen, split.validation)]
    area = sum(part.shape[0] * part.shape[1] for part in parts[1])
    analysed = [[codec.analyse(to_tensor(part)) for part in pictures] for pictures in parts]
    print("level  bits a pixel of symbols: hyperprior, with the rule; with the context, and the rule on top")
    for level in range(0, LEVELS, 2):
        figures = []
        for context in (False, True):
            sets = []
            for pictures in analysed:
                sent = [codec.send(latents, torch.tensor([float(level)]), context) for latents in pictures]
                sets.append([Symbols(each.symbols[0].numpy(), each.tables[0].numpy()) for each in sent])
            figures += [bits / area for bits in saving(sets[0], sets[1])]
        shares = " ".join(f"{100 * (figure / figures[0] - 1):+.1f} %" for figure in figures[1:])
        print(f"{level}  {' '.join(f'{figure:.4f}' for figure in figures)}  {shares}")


def _export(given: argparse.Namespace) -> None:
    loaded = load_codec(given.checkpoint)
    codec = loaded.codec
    round_kernels(codec)
    given.folder.mkdir(parents=True, exist_ok=True)
    split = load_split(photo_folder(given.data), loaded.settings.validation_share, every=4)
    if given.entropy is not None:
        report = export_transforms(codec, given.entropy, given.folder)
    else:
        report = export(codec, _integers(codec, split.training), given.folder)
        report["tables"] = tables_as_json(
            fitted_tables(count_symbols(codec, training_batches(split.training, given.fit)))
        )
    report["refinement"] = refinement_of(codec, next(iter(training_batches(split.training, 1, seed=2))))
    report["origin"] = describe_origin(loaded.settings, loaded.step, loaded.pixels, photo_folder(given.data))
    (given.folder / EXPORT_FILE).write_text(json.dumps(report))
    print(f"largest sum {report['worst_sum']} of {report['exact_below']}; bytes {report['bytes']}")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    for field in dataclasses.fields(Settings):
        name = "--" + field.name.replace("_", "-")
        if field.name in ("data", "phase", "trained", "eight_bits", "widths"):
            continue
        if field.type is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=None)
        else:
            assert isinstance(field.type, type)  # noqa: S101
            parser.add_argument(name, type=field.type, default=None)


if __name__ == "__main__":
    main()
