"""The measurements as Markdown tables."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from benchmarks.rate_distortion.tables import render
from benchmarks.service.in_process import StepTimes
from benchmarks.service.suites import BatchRound, Measurement, Memory, Round, Stages, StartRound, WorkersRound
from benchmarks.service.targets import Target

MIB = 1 << 20


def routes_table(rounds: Sequence[Round]) -> str:
    """Return requests per second, percentiles and processor time of each route, as medians over the rounds."""
    rows = []
    for name, connections in rounds[0].measurements:
        found = [one.measurements[name, connections] for one in rounds]

        def of(value: Callable[[Measurement], float], found: list[Measurement] = found) -> float:
            return median(map(value, found))

        rows.append(
            [
                name,
                str(connections),
                f"{of(lambda one: one.load.per_s):,.0f}",
                *(f"{1000 * of(lambda one, index=index: one.load[index]):.2f}" for index in (2, 3, 4)),  # type: ignore[misc]
                f"{1000 * of(lambda one: one.cpu_s):.3f}",
            ]
        )
    header = ["route", "connections", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU s per 1,000"]
    return render(header, rows)


def steps_table(rounds: Sequence[Round]) -> str:
    """Return the time of each step alone."""
    names = ("image decoding", "PNG encoding", "encoder graph", "decoder graph")
    medians = StepTimes(*(median(one.steps[index] for one in rounds) for index in range(len(names))))
    rows = [[name, f"{1e6 * seconds:.1f}"] for name, seconds in zip(names, medians, strict=True)]
    return render(["alone, in one process", "µs"], rows)


def stages_table(found: Mapping[tuple[str, int], Stages]) -> str:
    """Return the mean microseconds of a request in each stage and outside all stages, and images per micro-batch."""
    names = list(dict.fromkeys(stage for one in found.values() for stage in one.stage_s))
    rows = []
    for (route, connections), one in found.items():
        other_s = one.request_s - sum(one.stage_s.values())
        times = (one.request_s, *(one.stage_s.get(stage, 0) for stage in names), other_s)
        rows.append([route, str(connections), *(f"{1e6 * seconds:.0f}" for seconds in times)])
        rows[-1].append(f"{one.images_per_micro_batch:.1f}")
    header = ["mean µs of a request", "connections", "all", *names, "other", "images per micro-batch"]
    return render(header, rows)


def batches_table(rounds: Sequence[BatchRound]) -> str:
    """Return images per second of batches, and of the graphs alone at each chunk size."""
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
    """Return the times of starts."""
    times = {"start to ready": [one.ready_s for one in rounds], "imports alone": [one.import_s for one in rounds]}
    rows = [[name, *(f"{pick(found):.3f}" for pick in (min, median, max))] for name, found in times.items()]
    return render([f"{len(rounds)} starts, s", "least", "median", "most"], rows)


def memory_table(memory: Memory) -> str:
    """Return the resident memory in MiB."""
    rows = [["at rest", f"{memory.rest / MIB:.1f}"], ["under load, at most", f"{memory.load / MIB:.1f}"]]
    rows += [[f"after {sent:,} requests", f"{size / MIB:.1f}"] for sent, size in memory.after.items()]
    return render(["resident memory", "MiB"], rows)


def workers_table(rounds: Sequence[WorkersRound]) -> str:
    """Return requests per second by the number of workers."""
    rows = [[str(count), f"{median(one.per_s[count] for one in rounds):,.0f}"] for count in rounds[0].per_s]
    return render(["workers", "/encode, requests/s"], rows)


def targets_table(targets: Sequence[Target]) -> str:
    """Return each target with its measured value."""
    rows = [
        [
            target.name,
            f"{target.value:.3f}",
            "–" if target.by_cpu is None else f"{target.by_cpu:.3f}",
            f"{'at least' if target.at_least else 'at most'} {target.bound:g}",
            "yes" if target.is_met else "no",
        ]
        for target in targets
    ]
    return render(["target", "measured", "by CPU time", "bound", "met"], rows)
