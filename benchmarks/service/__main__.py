"""The command line of `python -m benchmarks.service`: runs suite after suite, and prints their tables."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.service import suites, tables, targets
from benchmarks.service.in_process import InProcessModel
from benchmarks.service.load_generator import require_wrk
from benchmarks.service.servers import Cores
from benchmarks.service.targets import Target
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import ModelError
from latentwire.imaging.image import Pixels
from latentwire.selection.guard import Guard
from training.data.datasets import load_dataset
from training.data.synthetic import draw_digits
from training.errors import TrainingError

SUITES = ("routes", "stages", "batches", "starts", "memory", "workers")
IMAGES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 for an error while measuring, 2 for invalid arguments."""
    parser = _parser()
    given = parser.parse_args(arguments)
    wanted = given.only or SUITES
    plan = suites.Plan(given.models_dir.resolve(), given.default_model, Cores.of_machine(), given.rounds, given.seconds)
    try:
        require_wrk()
        pixels, images = images_for(plan.models_dir / plan.default_model, given.data)
        in_process = InProcessModel(plan.models_dir / plan.default_model, pixels)
        print(
            f"Model {plan.default_model}, {images}; {given.rounds} rounds of {given.seconds} s each; "
            f"{len(os.sched_getaffinity(0))} cores\n"
        )
        results: list[Target] = []
        if "routes" in wanted:
            with TemporaryDirectory() as scratch:
                rounds = suites.routes(plan, in_process, Path(scratch), given.connections)
            _show(tables.routes_table(rounds), tables.steps_table(rounds))
            results += targets.route_targets(rounds)
        if "stages" in wanted:
            _show(tables.stages_table(suites.stages(plan, in_process, given.connections)))
        if "batches" in wanted:
            batches = suites.batches(plan, in_process, given.batch_images)
            _show(tables.batches_table(batches))
            results += targets.batch_targets(batches)
        if "starts" in wanted:
            starts = suites.starts(plan._replace(rounds=given.starts + 1))
            _show(tables.starts_table(starts))
            results += targets.start_targets(starts)
        if "memory" in wanted:
            memory = suites.memory(plan, in_process, given.first_requests, given.memory_requests)
            _show(tables.memory_table(memory))
            results += targets.memory_targets(memory)
        if "workers" in wanted:
            workers = suites.workers(plan, in_process)
            _show(tables.workers_table(workers))
            results += targets.worker_targets(workers)
        if results:
            _show(tables.targets_table(results))
    except (ModelError, RuntimeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _show(*texts: str) -> None:
    for text in texts:
        print(f"{text}\n", flush=True)


def images_for(folder: Path, data: Path | None) -> tuple[Pixels, str]:
    """Return images of the distribution of the model in `folder`, uint8 (N, H, W, C), and their description.

    Raises:
        ModelError: the model's files are unusable.
    """
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    try:
        pixels, what = load_dataset("mnist", data).test.pixels[:IMAGES], "MNIST test images"
    except TrainingError:
        # The model reconstructs them, so that its guard accepts them and does not send them losslessly.
        drawn = encoder.encode(draw_digits(IMAGES, 1)[0])
        pixels, what = decoder.decode([one.bitstream for one in drawn]), "digits, drawn by the model"
    ordinary = [assessment.ood is None for assessment in Guard(encoder, decoder).assess(pixels)]
    return pixels[ordinary], f"{sum(ordinary)} {what}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service",
        description="Measures the service and compares it with its unavoidable work: a route that reads its body, and "
        "the graphs in one process. Needs wrk.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--only", action="append", choices=SUITES, help="run this suite only; may be repeated")
    add("--rounds", type=positive, default=5, metavar="N", help="measurements of each case (default: %(default)s)")
    add(
        "--seconds",
        type=positive,
        default=1,
        metavar="S",
        help="duration of each (default: %(default)s)",
    )
    add(
        "--connections",
        type=positive,
        nargs="+",
        default=suites.CONNECTIONS,
        metavar="N",
        help=f"numbers of kept connections, {suites.EFFICIENCY_CONNECTIONS} among them (default: 1 8 64)",
    )
    add("--batch-images", type=positive, default=4000, metavar="N", help="images of a batch (default: %(default)s)")
    add("--starts", type=positive, default=15, metavar="N", help="number of starts (default: %(default)s)")
    add("--first-requests", type=positive, default=2000, metavar="N", help="requests before the first look at memory")
    add(
        "--memory-requests",
        type=positive,
        default=20_000,
        metavar="N",
        help="requests before the last look at memory; 200000 takes minutes (default: %(default)s)",
    )
    add("--models-dir", type=Path, default=Path("models"), metavar="DIR", help="models to serve (default: models)")
    add("--default-model", default="mnist-conv-10", metavar="NAME", help="model to measure (default: %(default)s)")
    add("--data", type=Path, metavar="DIR", help="data folder with MNIST; else LATENTWIRE_DATA, else drawn digits")
    return parser


def positive(text: str) -> int:
    """Return the whole number above 0 that `text` is."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
