"""`python -m benchmarks.service.compare BEFORE AFTER`: measures the services of two or more checkouts in turns.

It prints, for each route, requests per second and the server's processor time per request, as medians over the rounds,
and how many times as fast each checkout is as the first. Processor time is the better figure on a busy machine.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.rate_distortion.tables import render
from benchmarks.service.__main__ import images_for, positive
from benchmarks.service.in_process import InProcessModel
from benchmarks.service.load_generator import Request
from benchmarks.service.servers import Cores, service
from benchmarks.service.suites import (
    DECODE,
    EFFICIENCY_CONNECTIONS,
    ENCODE,
    ENCODE_ALONE,
    Measurement,
    Plan,
    decode_requests,
    encode_requests,
    measure_load,
    post,
)
from latentwire.errors import ModelError

ROLES = {ENCODE_ALONE: "sender", ENCODE: "both", DECODE: "receiver"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, 1 for an error while measuring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service.compare", description=__doc__)
    parser.add_argument(
        "folders", nargs="+", type=Path, help="folders of checkouts; the others are compared with the first"
    )
    parser.add_argument("--rounds", type=positive, default=5, help="measurements of each (default: %(default)s)")
    parser.add_argument(
        "--flag", action="append", default=[], help="flag for the services, as in --flag=--verify-reconstruction"
    )
    parser.add_argument("--default-model", default="mnist-conv-10", help="the model (default: %(default)s)")
    given = parser.parse_args(arguments)
    plan = Plan(Path("models").resolve(), given.default_model, Cores.of_machine(), given.rounds, 1)
    folder = plan.models_dir / plan.default_model
    try:
        images = encode_requests(folder.name, InProcessModel(folder, images_for(folder, None)[0]).files)
        print(table(measure(plan, given.folders, images, given.flag)))
    except (ModelError, RuntimeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def measure(
    plan: Plan, folders: Sequence[Path], images: Sequence[Request], flags: Sequence[str]
) -> dict[str, list[list[Measurement]]]:
    """Return, for each route and each round, the measurement of each checkout.

    Each checkout serves its own models, and decodes the bitstreams that it encodes itself: their formats may differ.
    """
    with ExitStack() as stack:
        checkouts = []
        for folder in (each.resolve() for each in folders):
            servers = {
                route: stack.enter_context(
                    service(folder / "models", plan.default_model, {plan.cores.measured}, *of_role, folder=folder)
                )
                for route, of_role in ((route, (f"--role={role}", *flags)) for route, role in ROLES.items())
            }
            bitstreams = [post(servers[ENCODE], request) for request in images]
            requests = {ENCODE_ALONE: images, ENCODE: images, DECODE: decode_requests(bitstreams)}
            checkouts.append((servers, requests))
        found: dict[str, list[list[Measurement]]] = {route: [] for route in ROLES}
        for number in range(plan.rounds + 1):
            for route in ROLES:
                measurements = [
                    measure_load(plan, servers[route], requests[route], EFFICIENCY_CONNECTIONS)
                    for servers, requests in checkouts
                ]
                if number:  # the first round warms up
                    found[route].append(measurements)
    return found


def table(found: dict[str, list[list[Measurement]]]) -> str:
    """Return a Markdown table with one row per route and checkout."""
    rows = []
    for route, rounds in found.items():
        for index in range(len(rounds[0])):
            speeds = (median(one[index].load.per_s for one in rounds), median(one[index].cpu_s for one in rounds))
            ratios = (
                median(one[index].load.per_s / one[0].load.per_s for one in rounds),
                median(one[0].cpu_s / one[index].cpu_s for one in rounds),
            )
            rows.append(
                [
                    route,
                    str(index),
                    f"{speeds[0]:,.0f}",
                    f"{ratios[0]:.3f}",
                    f"{1e6 * speeds[1]:.0f}",
                    f"{ratios[1]:.3f}",
                ]
            )
    return render(["route", "checkout", "requests/s", "× as many", "CPU µs", "× as fast"], rows)


if __name__ == "__main__":
    sys.exit(main())
