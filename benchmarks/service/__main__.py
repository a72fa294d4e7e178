"""The command line of `python -m benchmarks.service`: measures part after part, and prints a table of each."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.service import suites, tables, targets
from benchmarks.service.in_process import Inside
from benchmarks.service.load_generator import has_wrk
from benchmarks.service.servers import Cores
from benchmarks.service.targets import Figure
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import ModelError
from latentwire.imaging.image import Pixels
from latentwire.selection.guard import Guard
from training.data.datasets import load_dataset
from training.data.synthetic import draw_digits
from training.errors import TrainingError

PARTS = ("routes", "stages", "batches", "starts", "memory", "workers")
IMAGES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 for what can go wrong, 2 for what was typed."""
    parser = _parser()
    given = parser.parse_args(arguments)
    wanted = given.only or PARTS
    by_wrk = has_wrk() and not given.without_wrk
    plan = suites.Plan(
        given.models_dir.resolve(), given.default_model, Cores.of_machine(), given.rounds, given.seconds, by_wrk
    )
    try:
        pixels, images = images_for(plan.models_dir / plan.default_model, given.data)
        inside = Inside(plan.models_dir / plan.default_model, pixels)
        print(
            f"Model {plan.default_model}, {images}; {'wrk' if by_wrk else 'clients in Python'}; {given.rounds} rounds "
            f"of {given.seconds:g} s each; {len(os.sched_getaffinity(0))} cores\n"
        )
        promises: list[Figure] = []
        if "routes" in wanted:
            with TemporaryDirectory() as scratch:
                rounds = suites.routes(plan, inside, Path(scratch), given.connections)
            _show(tables.routes_table(rounds), tables.alone_table(rounds))
            promises += targets.of_routes(rounds)
        if "stages" in wanted:
            _show(tables.stages_table(suites.stages(plan, inside, given.connections)))
        if "batches" in wanted:
            batches = suites.batches(plan, inside, given.batch_images)
            _show(tables.batches_table(batches))
            promises += targets.of_batches(batches)
        if "starts" in wanted:
            starts = suites.starts(plan._replace(rounds=given.starts + 1))
            _show(tables.starts_table(starts))
            promises += targets.of_starts(starts)
        if "memory" in wanted:
            memory = suites.memory(plan, inside, given.first_requests, given.memory_requests)
            _show(tables.memory_table(memory))
            promises += targets.of_memory(memory)
        if "workers" in wanted:
            workers = suites.workers(plan, inside)
            _show(tables.workers_table(workers))
            promises += targets.of_workers(workers)
        if promises:
            _show(tables.figures_table(promises))
    except (ModelError, RuntimeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _show(*texts: str) -> None:
    for text in texts:
        print(f"{text}\n", flush=True)


def images_for(folder: Path, data: Path | None) -> tuple[Pixels, str]:
    """Return images that the model in `folder` is for, uint8 (N, H, W, C), and what they are.

    Raises:
        ModelError: its files cannot be used.
    """
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    try:
        pixels, what = load_dataset("mnist", data).test.pixels[:IMAGES], "MNIST test images"
    except TrainingError:
        # The model itself draws them, so that its guard accepts them and does not send them losslessly.
        drawn = encoder.encode(draw_digits(IMAGES, 1)[0])
        pixels, what = decoder.decode([one.bitstream for one in drawn]), "digits, drawn by the model"
    ordinary = [assessment.ood is None for assessment in Guard(encoder, decoder).assess(pixels)]
    return pixels[ordinary], f"{sum(ordinary)} {what}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service",
        description="Measures the service beside what it cannot do without: a route that reads its body, and the "
        "graphs in one process.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--only", action="append", choices=PARTS, help="measure this part only; may be repeated")
    add("--rounds", type=positive, default=5, metavar="N", help="times that each is measured (default: %(default)s)")
    add("--seconds", type=_seconds, default=1.0, metavar="S", help="of each measurement (default: %(default)g)")
    add("--without-wrk", action="store_true", help="send by clients in Python, even where wrk is installed")
    add(
        "--connections",
        type=positive,
        nargs="+",
        default=suites.CONNECTIONS,
        metavar="N",
        help=f"kept connections; with {suites.EFFICIENCY_CONNECTIONS} among them (default: 1 8 64)",
    )
    add("--batch-images", type=positive, default=4000, metavar="N", help="of a batch (default: %(default)s)")
    add("--starts", type=positive, default=15, metavar="N", help="number of starts (default: %(default)s)")
    add("--first-requests", type=positive, default=2000, metavar="N", help="before memory is first looked at")
    add(
        "--memory-requests",
        type=positive,
        default=20_000,
        metavar="N",
        help="before it is looked at again; 200000 takes some minutes (default: %(default)s)",
    )
    add("--models-dir", type=Path, default=Path("models"), metavar="DIR", help="models to serve (default: models)")
    add("--default-model", default="mnist-conv-10", metavar="NAME", help="the one that is used (default: %(default)s)")
    add("--data", type=Path, metavar="DIR", help="data folder with MNIST; else LATENTWIRE_DATA, else drawn digits")
    return parser


def positive(text: str) -> int:
    """Return a whole number above 0, as it was typed."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text) or float(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
