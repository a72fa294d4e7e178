"""`python -m tests.soak --minutes 10`: soaks the service, shows its progress, and ends with a table and a verdict."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tqdm import tqdm

from latentwire.model.card import ModelCard
from tests.contract.goldens import MODELS
from tests.edge.launching import HAS_NGINX
from tests.service import conformance
from tests.soak.images import images_for
from tests.soak.memory import assess
from tests.soak.report import Report
from tests.soak.run import WITHOUT_RESTARTS, Plan, Soak
from tests.soak.servers import Service, serve

if TYPE_CHECKING:
    from latentwire.encoder import Encoder
    from latentwire.registry import ComponentSet

IMAGES = 40


def main() -> int:
    """Soak; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Drive the real service with valid, hostile and misbehaving clients; compare every response with "
        "the library's own result.",
    )
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument("--pair", action="store_true", help="a sender and a receiver, not one process of both roles")
    parser.add_argument(
        "--replicas",
        type=int,
        default=2,
        metavar="N",
        help="processes behind the edge, for each role; 0 is one process without the edge; default: %(default)s",
    )
    parser.add_argument("--models-dir", type=Path, default=MODELS, metavar="D", help="default: %(default)s")
    parser.add_argument("--default-model", default="mnist-conv-10", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the requests; default: %(default)s")
    parser.add_argument("flags", nargs="*", metavar="-- FLAG", help="more of `python -m service`, such as --workers 2")
    arguments = parser.parse_args()
    if arguments.replicas and not HAS_NGINX:
        parser.error("the edge needs nginx; install nginx, or give --replicas 0")
    if arguments.replicas == 1 and "--workers" not in arguments.flags:
        parser.error("one replica needs workers that can be killed; give more replicas, or -- --workers 2")
    models_dir, default = arguments.models_dir, arguments.default_model
    with tempfile.TemporaryDirectory(prefix="latentwire-soak-") as folder:
        scratch = Path(folder)
        with serve(
            models_dir, default, scratch, arguments.flags, pair=arguments.pair, replicas=arguments.replicas
        ) as service:
            report = soak(service, scratch, Plan(arguments.seed, 60 * arguments.minutes))
    print(report.text())
    return 0 if report.good else 1


def soak(service: Service, scratch: Path, plan: Plan) -> Report:
    """Soak a running service. If it is for some time, schemathesis sends requests, too, until replicas restart."""
    registry = service.registries["sender"]
    print("computing the correct responses", flush=True)
    images = {
        name: images_for(card, IMAGES, plan.seed)
        for name, card in registry.cards.items()
        if isinstance(card, ModelCard)
    }
    work = Soak(service, images, plan)
    files_before = service.open_files()
    began = time.monotonic()
    comparing = []
    if plan.seconds is not None:
        encoder = cast("ComponentSet[Encoder]", registry.encoders).by_name(None)
        conformance.write_bodies(scratch / "bodies", encoder, images[registry.default])
        flags = ["--max-time", str(max(1, round(WITHOUT_RESTARTS * plan.seconds))), "--seed", str(plan.seed)]
        if service.edges:
            flags += ["--exclude-path", "/metrics"]
        for number, address in enumerate(dict.fromkeys(target.base_url for target in service.targets.values())):
            own = scratch / str(number)
            own.mkdir()
            comparing.append((conformance.start(address, scratch / "bodies", images, own, *flags), own))
    # A log file needs only a line now and then.
    interval_s = 1 if sys.stderr.isatty() else 30
    with tqdm(total=plan.seconds, bar_format="{bar:24} {n:.0f} s  {desc}", mininterval=interval_s, miniters=0) as bar:

        def watch(passed_s: float) -> None:
            mib = work.samples[-1].resident_bytes / (1 << 20)
            text = f"{work.tally.requests:,} requests, {work.tally.failures} failures, {mib:.0f} MiB"
            bar.set_description_str(text, refresh=False)
            bar.update(passed_s - bar.n)

        # A batch of schemathesis that a restart interrupts would be a failure.
        work.run(watch, lambda: all(process.poll() is not None for process, _ in comparing))
    seconds, load = time.monotonic() - began, work.tally.requests
    findings = [conformance.finish(process, own) for process, own in comparing]
    missing = work.kinds - work.tally.kinds()
    work.ask_everything()
    faults = service.faults(files_before)
    if work.restarts.error is not None:
        faults.append(f"a replica could not be restarted: {work.restarts.error!r}")
    return Report(work.tally, load, seconds, assess(work.samples), faults, missing, work.restarts.count, findings)


if __name__ == "__main__":
    sys.exit(main())
