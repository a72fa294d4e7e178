"""python -m training.photo: train, go on, cool down."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from training.photo.pictures import photo_folder
from training.photo.trainer import Settings, cool_down, resume, start


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m training.photo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="begin a flat run")
    train.add_argument("folder", type=Path)
    train.add_argument("--data", type=Path, help="folder of photographs")
    _add_settings(train, ())
    going = commands.add_parser("resume", help="go on from a run's last checkpoint")
    going.add_argument("folder", type=Path)
    going.add_argument("--threads", type=int)
    cooling = commands.add_parser("cooldown", help="end a copy of a run at falling rates")
    cooling.add_argument("checkpoint", type=Path, help="of a flat run, or its folder")
    cooling.add_argument("folder", type=Path)
    _add_settings(cooling, ("seed", "optimizer"))
    given = parser.parse_args(arguments)
    fields = {field.name for field in dataclasses.fields(Settings)} - {"data"}
    changes = {name: value for name, value in vars(given).items() if name in fields and value is not None}
    if given.command == "train":
        start(Settings(data=str(photo_folder(given.data)), **changes), given.folder)
    elif given.command == "resume":
        resume(given.folder, given.threads)
    else:
        cool_down(given.checkpoint, given.folder, changes)


def _add_settings(parser: argparse.ArgumentParser, without: Sequence[str]) -> None:
    for field in dataclasses.fields(Settings):
        name = "--" + field.name.replace("_", "-")
        if field.name in ("data", "phase", "widths", *without):
            continue
        if field.type is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=None)
        else:
            assert isinstance(field.type, type)  # noqa: S101
            parser.add_argument(name, type=field.type, default=None)


if __name__ == "__main__":
    main()
