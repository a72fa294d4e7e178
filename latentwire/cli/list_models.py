"""`latentwire models`: the models in the folder, and which of them is the default."""

import argparse
import json
import os
from typing import Any

from latentwire.cli.console import Console
from latentwire.cli.models import Models
from latentwire.errors import InvalidCard


def list_models(arguments: argparse.Namespace, console: Console) -> None:
    """Show each model: its name, the images that it takes, and its mean size and PSNR as measured for its card.

    Raises:
        WrongUsage: the folder cannot be read, or has no model.
    """
    models = Models(arguments.models_dir)
    default = os.environ.get("LATENTWIRE_DEFAULT_MODEL") or models.default()
    found = models.all()
    cards = [card for card in found if not isinstance(card, InvalidCard)]
    reports = [{**card.summary(), "default": card.name == default} for card in cards]
    if arguments.json:
        for report in reports:
            console.result(json.dumps(report))
    else:
        for line in _table([_row(report) for report in reports]):
            console.result(line)
    for error in found:
        if isinstance(error, InvalidCard):
            console.fail(str(arguments.models_dir), error)


def _row(report: dict[str, Any]) -> list[str]:
    images = "any size"
    if report["shape"] is not None:
        height, width, channels = report["shape"]
        images = f"{width} × {height} {({1: 'grey', 3: 'RGB', 4: 'RGBA'})[channels]}"
    measured = ["", ""]
    if report["payload_bytes"] is not None:
        measured = [f"{report['payload_bytes']:.1f} bytes", f"{report['psnr_db']:.1f} dB"]
    name = report["name"] + (" (default)" if report["default"] else "")
    return [name, images, *measured, report["description"]]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # The last column is not padded.
    return ["  ".join(map(str.ljust, row, [*widths[:-1], 0])).rstrip() for row in rows]
