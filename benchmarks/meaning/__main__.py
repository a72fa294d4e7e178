"""`python -m benchmarks.meaning`: measure whether images mean the same as delivered; print a table."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.meaning.judges import Judge, edge_directions, grey_levels
from benchmarks.meaning.measure import Rung, measure
from benchmarks.rate_distortion.__main__ import fill
from latentwire.errors import CodecError
from latentwire.model.card import load_card
from latentwire.model.guard_limits import MeaningRates
from training.atomic import write_atomically
from training.data.datasets import Dataset, load_dataset
from training.errors import TrainingError
from training.release.pipeline import replace_guard

MARK = "meaning"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 for a failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.meaning", description=__doc__, allow_abbrev=False)
    parser.add_argument("models", nargs="*", type=Path, help="model folders of one ladder (default: those for digits)")
    parser.add_argument("--images", type=int, metavar="N", help="number of test images (default: all)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the data folder (default: $LATENTWIRE_DATA, or data)")
    parser.add_argument("--write", action="store_true", help="write the figures into cards and READMEs of the models")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help=f"write the table after `<!-- {MARK} -->` of this page; may be repeated",
    )
    given = parser.parse_args(arguments)
    folders = given.models or [path.parent for path in Path("models").resolve().glob("mnist-*/card.json")]
    try:
        rungs = Rung.open_all([folder.resolve() for folder in folders])
        dataset = load_dataset(str(rungs[0].card.provenance.get("recipe", {}).get("dataset", "mnist")), given.data)
        images = (
            dataset.test if given.images is None else dataset.test.take(np.arange(min(given.images, len(dataset.test))))
        )
        rates = measure(rungs, make_judges(dataset), images, f"{dataset.name} test")
        by_name = {rung.card.name: one for rung, one in zip(rungs, rates, strict=True)}
        text = table(by_name)
        print(text)
        for page in given.text:
            write_atomically(page, fill(page.read_text(encoding="utf-8"), MARK, f"\n{text}").encode())
        if given.write:
            for folder in folders:
                card = load_card(folder.resolve())
                if card.guard is not None:
                    guard = card.guard.model_copy(update={"meaning": by_name[card.name]})
                    replace_guard(folder.resolve(), card, guard)
    except (TrainingError, CodecError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def make_judges(dataset: Dataset) -> list[Judge]:
    """Return both judges, which know the training images of a data set."""
    return [Judge(features, dataset.train.pixels, dataset.train.labels) for features in (grey_levels, edge_directions)]


def table(rates: dict[str, MeaningRates]) -> str:
    """Return figures as a Markdown table, by the names of the models."""
    lines = [
        "| begins with | sure changes | changes | by a better model | losslessly | bytes of codes | as served |"
        " lost marks found | invented | blends resolved | within bounds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, one in rates.items():
        found = one.flagged_marks / one.vanished_marks if one.vanished_marks else 1.0
        lines.append(
            f"| `{name}` | {round(one.sure_changes * one.images)} | {one.changes:.2%} | {one.climbed:.2%} |"
            f" {one.fallen:.2%} | {one.coded_bytes:.2f} | {one.served_bytes:.2f} | {found:.1%} of"
            f" {one.vanished_marks:,} | {one.invented_marks} | {one.resolved_blends:.2%} |"
            f" {'yes' if one.holds else 'no'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
