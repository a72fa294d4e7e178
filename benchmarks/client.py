"""`python -m benchmarks.client`: measure how many images per second `encode_many` of the Python client gets encoded.

For comparison, in turns with it: single requests of wrk, with as many connections, and one request to the batch route
with all images, both with the same JSON as response. The service has one core, and what drives it another one.
"""

import argparse
import asyncio
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks.rate_distortion.tables import render
from benchmarks.service.__main__ import images_for, positive
from benchmarks.service.in_process import InProcessModel
from benchmarks.service.load_generator import Request, drive, require_wrk
from benchmarks.service.servers import Cores, Server, on_core, service
from benchmarks.service.suites import JSON, NPY, OCTETS, PNG, post
from latentwire.client import AsyncClient, Client
from latentwire.errors import ModelError
from latentwire.imaging.image import Pixels

WRK, BATCH, CONTAINER = "wrk, single requests", "one batch, JSON", "one batch, container"
ARRAYS, FILES, ASYNC_ARRAYS = "encode_many, arrays", "encode_many, PNG files", "encode_many of AsyncClient, arrays"
CONTAINER_ARRAYS = "encode_container, arrays"
# What `encode_many` is compared with: other ways to the same results.
BASELINES = (WRK, BATCH)
BOUND = 0.8


class Speed(NamedTuple):
    """Images per second, and the service's processor time per image, which other work on the machine hardly changes."""

    per_s: float
    cpu_s: float


def measure(
    server: Server, model: InProcessModel, images: int, concurrency: int, rounds: int, seconds: int, core: int
) -> dict[str, list[Speed]]:
    """Return the speed of each round, by what was measured; a round before the first one warms up.

    Raises:
        RuntimeError: requests were refused, or wrk is not installed.
    """
    pixels: Pixels = np.resize(model.pixels, (images, *model.pixels.shape[1:]))
    files = [model.files[index % len(model.files)] for index in range(images)]
    name, url = model.card.name, f"http://127.0.0.1:{server.port}"
    array = io.BytesIO()
    np.save(array, pixels)
    batch = Request(f"/encode/batch?model={name}", array.getvalue(), {"Content-Type": NPY, "Accept": JSON})
    container = batch._replace(headers={"Content-Type": NPY, "Accept": OCTETS})
    singles = [Request(f"/encode?model={name}", file, {"Content-Type": PNG, "Accept": JSON}) for file in model.files]

    async def encode_in_event_loop() -> int:
        async with AsyncClient(url, concurrency=concurrency) as client:
            return len([encoded async for encoded in client.encode_many(pixels, model=name)])

    def encode(sources: Sequence[bytes] | Pixels) -> int:
        with Client(url, concurrency=concurrency) as client:
            return sum(1 for _ in client.encode_many(sources, model=name))

    def encode_container() -> int:
        with Client(url, concurrency=concurrency) as client:
            return client.encode_container(pixels, model=name).images

    def drive_singles() -> int:
        load = drive(server.port, singles, concurrency, seconds, core)
        if load.refused:
            raise RuntimeError(f"{load.refused} single requests were refused")
        return load.requests

    def send(request: Request) -> int:
        post(server, request)
        return images

    cases: dict[str, Callable[[], int]] = {
        WRK: drive_singles,
        BATCH: lambda: send(batch),
        CONTAINER: lambda: send(container),
        CONTAINER_ARRAYS: encode_container,
        ARRAYS: lambda: encode(pixels),
        FILES: lambda: encode(files),
        ASYNC_ARRAYS: lambda: asyncio.run(encode_in_event_loop()),
    }
    found: dict[str, list[Speed]] = {case: [] for case in cases}
    for number in range(rounds + 1):
        for case, work in cases.items():
            cpu_s, started = server.cpu_s(), time.perf_counter()
            with on_core(core):
                done = work()
            speed = Speed(done / (time.perf_counter() - started), (server.cpu_s() - cpu_s) / done)
            if number:
                found[case].append(speed)
    return found


def report(found: dict[str, list[Speed]]) -> str:
    """Return the medians as a Markdown table, and how `encode_many` compares with the better baseline."""
    rows = [
        [case, f"{median(one.per_s for one in speeds):,.0f}", f"{1e6 * median(one.cpu_s for one in speeds):.0f}"]
        for case, speeds in found.items()
    ]
    rounds = list(zip(found[ARRAYS], *(found[baseline] for baseline in BASELINES), strict=True))
    ratio = median(ours.per_s / max(one.per_s for one in others) for ours, *others in rounds)
    by_cpu = median(min(one.cpu_s for one in others) / ours.cpu_s for ours, *others in rounds)
    verdict = (
        f"{ARRAYS} ÷ the better of wrk and a batch: {ratio:.2f}, by the service's CPU time {by_cpu:.2f}; "
        f"{BOUND} is {'' if ratio >= BOUND else 'not '}met"
    )
    return f"{render(['', 'images/s', 'CPU µs of the service'], rows)}\n\n{verdict}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, 1 for an error while measuring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    add = parser.add_argument
    add("--images", type=positive, default=10_000, metavar="N", help="images of a measurement (default: %(default)s)")
    add("--concurrency", type=positive, default=8, metavar="N", help="connections (default: %(default)s)")
    add("--rounds", type=positive, default=5, metavar="N", help="measurements of each case (default: %(default)s)")
    add("--seconds", type=positive, default=2, metavar="S", help="duration of each run of wrk (default: %(default)s)")
    add("--models-dir", type=Path, default=Path("models"), metavar="DIR", help="models to serve (default: models)")
    add("--default-model", default="mnist-conv-10", metavar="NAME", help="model to measure (default: %(default)s)")
    add("--data", type=Path, metavar="DIR", help="data folder with MNIST; else LATENTWIRE_DATA, else drawn digits")
    given = parser.parse_args(arguments)
    cores = Cores.of_machine()
    try:
        require_wrk()
        folder = given.models_dir.resolve() / given.default_model
        pixels, images = images_for(folder, given.data)
        model = InProcessModel(folder, pixels)
        print(
            f"Model {given.default_model}, {images}, {given.images:,} images in turn, {given.concurrency} connections\n"
        )
        with service(folder.parent, folder.name, {cores.measured}) as server:
            found = measure(server, model, given.images, given.concurrency, given.rounds, given.seconds, cores.driver)
    except (ModelError, RuntimeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(report(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
