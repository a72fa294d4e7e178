"""What was found -> Markdown."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from benchmarks.rate_distortion.tables import render
from benchmarks.service.in_process import Alone
from benchmarks.service.suites import Answered, BatchRound, Memory, Round, Stages, StartRound, WorkersRound
from benchmarks.service.targets import Figure

MIB = 1 << 20


def routes_table(rounds: Sequence[Round]) -> str:
    """Return requests a second, percentiles and processor time of each route, medians over the rounds."""
    rows = []
    for name, connections in rounds[0].answered:
        found = [one.answered[name, connections] for one in rounds]

        def of(value: Callable[[Answered], float], found: list[Answered] = found) -> float:
            return median(map(value, found))

        rows.append(
            [
                name,
                str(connections),
                f"{of(lambda one: one.load.per_s):,.0f}",
                *(f"{1000 * of(lambda one, at=at: one.load[at]):.2f}" for at in (2, 3, 4)),  # type: ignore[misc]
                f"{1000 * of(lambda one: one.cpu_s):.3f}",
            ]
        )
    header = ["route", "connections", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU s per 1,000"]
    return render(header, rows)


def alone_table(rounds: Sequence[Round]) -> str:
    """Return what each step takes alone."""
    names = ("image decoding", "PNG encoding", "encoder graph", "decoder graph")
    medians = Alone(*(median(one.alone[at] for one in rounds) for at in range(len(names))))
    rows = [[name, f"{1e6 * seconds:.1f}"] for name, seconds in zip(names, medians, strict=True)]
    return render(["alone, in one process", "µs"], rows)


def stages_table(found: Mapping[tuple[str, int], Stages]) -> str:
    """Return the microseconds of requests in each stage, and around them."""
    names = list(dict.fromkeys(stage for one in found.values() for stage in one.stage_s))
    rows = []
    for (route, connections), one in found.items():
        around_s = one.request_s - sum(one.stage_s.values())
        times = (one.request_s, *(one.stage_s.get(stage, 0) for stage in names), around_s)
        rows.append([route, str(connections), *(f"{1e6 * seconds:.0f}" for seconds in times)])
    return render(["mean µs in a request", "connections", "all", *names, "around"], rows)


def batches_table(rounds: Sequence[BatchRound]) -> str:
    """Return images a second of batches, and of the graphs alone at each chunk."""
    rows = [
        [
            "over HTTP",
            f"{median(one.encoded_per_s for one in rounds):,.0f}",
            f"{median(one.decoded_per_s for one in rounds):,.0f}",
        ]
    ]
    for chunk in rounds[0].encoder_per_s:
        encoder = median(one.encoder_per_s[chunk] for one in rounds)
        decoder = median(one.decoder_per_s[chunk] for one in rounds)
        rows.append([f"graph alone, {chunk} at once", f"{encoder:,.0f}", f"{decoder:,.0f}"])
    return render(["images/s on one core", "encode", "decode"], rows)


def starts_table(rounds: Sequence[StartRound]) -> str:
    """Return how long starts take."""
    times = {"start to ready": [one.ready_s for one in rounds], "imports alone": [one.import_s for one in rounds]}
    rows = [[name, *(f"{pick(found):.3f}" for pick in (min, median, max))] for name, found in times.items()]
    return render([f"{len(rounds)} starts, s", "least", "median", "most"], rows)


def memory_table(memory: Memory) -> str:
    """Return the resident memory."""
    rows = [["at rest", f"{memory.rest / MIB:.1f}"], ["under load, at most", f"{memory.load / MIB:.1f}"]]
    rows += [[f"after {sent:,} requests", f"{size / MIB:.1f}"] for sent, size in memory.after.items()]
    return render(["resident memory", "MiB"], rows)


def workers_table(rounds: Sequence[WorkersRound]) -> str:
    """Return requests a second by the number of workers."""
    rows = [[str(count), f"{median(one.per_s[count] for one in rounds):,.0f}"] for count in rounds[0].per_s]
    return render(["workers", "/encode, requests/s"], rows)


def figures_table(figures: Sequence[Figure]) -> str:
    """Return each promise beside what was found."""
    rows = [
        [
            figure.name,
            f"{figure.value:.3f}",
            "–" if figure.by_cpu is None else f"{figure.by_cpu:.3f}",
            f"{'at least' if figure.at_least else 'at most'} {figure.bound:g}",
            "yes" if figure.kept else "no",
        ]
        for figure in figures
    ]
    return render(["figure", "found", "by CPU time", "bound", "met"], rows)
