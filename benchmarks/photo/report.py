"""Figures -> the text between the marks of docs/PHOTO.md and docs/MODELS.md, and docs/photo.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.photo.figures import (
    BEST_NAME,
    BEST_OF,
    Mean,
    in_target,
    lead_in_target,
    means,
    rate_against,
    rate_against_best,
    similarity_rate_against,
)
from benchmarks.photo.measure import OURS, TARGET_BYTES, Measured, Served, Times
from benchmarks.photo.test_sets import CIFAR_NAME, SQUARE_NAME, TestSet
from benchmarks.rate_distortion.tables import render

NEVER = "–"


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured.

    Attributes:
        model: `name@model_id`.
        sets: in the order of the tables.
        measured: of each set by its name: the model first.
        times: of all codecs on one core; empty without Kodak's pictures.
        core: what that core computes, of `measure_core`; 0 without times.
        lossless: mean bytes of a lossless WebP file, by set, of those that no camera took.
        served: of these sets, what default settings make of them.
        beside: the vector model for images of CIFAR-10 on these; None if it is not there.
    """

    model: str
    sets: Sequence[TestSet]
    measured: Mapping[str, Sequence[Measured]]
    times: Sequence[Times]
    core: float
    lossless: Mapping[str, float]
    served: Mapping[str, Sequence[Served]]
    beside: Measured | None

    def means(self, test_set: TestSet) -> dict[str, list[Mean]]:
        """Return the means of a set by codec."""
        return {measured.codec: means(measured, test_set) for measured in self.measured[test_set.name]}


def rates(results: Results, kind: str) -> dict[str, dict[str, float | None]]:
    """Return BD-rates by set and codec: of `files`, of `data` without headers, or by `ms-ssim`."""
    table: dict[str, dict[str, float | None]] = {}
    for test_set in results.sets:
        found = results.means(test_set)
        ours = found.pop(OURS)
        row: dict[str, float | None] = {}
        for codec, rival in found.items():
            if kind == "ms-ssim":
                row[codec] = similarity_rate_against(ours, rival)
            else:
                row[codec] = rate_against(ours, rival, headers=kind == "files")
        best = [measured for measured in results.measured[test_set.name] if measured.codec in BEST_OF]
        if kind == "files" and len(best) == len(BEST_OF):
            row[BEST_NAME] = rate_against_best(results.measured[test_set.name][0], best)
        table[test_set.name] = row
    return table


def to_json(results: Results) -> dict[str, Any]:
    """Return all means and rates."""
    return {
        "model": results.model,
        "sets": {one.name: {"pictures": len(one.pictures), "sha256": one.sha256} for one in results.sets},
        "libraries": {measured.codec: measured.library for measured in results.measured[results.sets[0].name][1:]},
        "points": {
            one.name: {codec: [point._asdict() for point in points] for codec, points in results.means(one).items()}
            for one in results.sets
        },
        "bd_rate": {kind: rates(results, kind) for kind in ("files", "data", "ms-ssim")},
        "lossless_webp_bytes": dict(results.lossless),
        "served": {name: [row._asdict() for row in rows] for name, rows in results.served.items()},
        "multiplications_per_s_of_the_core": results.core * 1e9,
        "times": [
            {"codec": one.codec, "encode_ms": one.encode_ms, "decode_ms": one.decode_ms} for one in results.times
        ],
    }


def card_figures(results: Results) -> dict[str, Any]:
    """Return what the model's card says of it."""
    shown = ("kodak", *results.lossless)
    ours = {one.name: results.means(one)[OURS] for one in results.sets if one.name in shown}
    return {
        "bd_rate": rates(results, "files"),
        "points": {
            name: [
                {"quality": point.quality, "bytes": point.bytes, "bpp": point.bpp, "psnr_db": point.psnr_db}
                for point in points
            ]
            for name, points in ours.items()
        },
        "lossless_webp_bytes": dict(results.lossless),
    }


def full_text(results: Results) -> str:
    """Return all tables."""
    sections = [
        f"Model `{results.model}`.\n\n### BD-rate of PSNR, whole files and whole bitstreams\n\n"
        + _rates_table(rates(results, "files")),
        "### Without headers\n\n" + _rates_table(rates(results, "data")),
    ]
    similar = {name: row for name, row in rates(results, "ms-ssim").items() if any(v is not None for v in row.values())}
    if similar:
        sections.append("### BD-rate of MS-SSIM, whole files\n\n" + _rates_table(similar))
    sections += [f"### Points of {one.name}\n\n{_points_table(results, one)}" for one in results.sets]
    names = [one.name for one in results.sets]
    if SQUARE_NAME in names:
        sections.append(_target_section(results.measured[SQUARE_NAME]))
    if results.times:
        sections.append(_times_section(results.times, results.core))
    libraries = {measured.library for measured in results.measured[names[0]][1:]}
    sections.append(f"Libraries: {'; '.join(sorted(libraries))}.")
    return "\n\n".join(sections)


def summary_text(results: Results) -> str:
    """Return the one table that an overview shows."""
    return "Bytes that `photo` needs against others for the same PSNR, headers included:\n\n" + _rates_table(
        rates(results, "files")
    )


def _rates_table(table: Mapping[str, Mapping[str, float | None]]) -> str:
    codecs = list(dict.fromkeys(codec for row in table.values() for codec in row))
    rows = [[name, *(_percent(row.get(codec)) for codec in codecs)] for name, row in table.items()]
    return render(["pictures", *codecs], rows)


def _points_table(results: Results, test_set: TestSet) -> str:
    found = results.means(test_set)
    served = results.served.get(test_set.name)
    header, rows = ["quality", "bytes", "bits a pixel", "PSNR, dB"], []
    for number, point in enumerate(found[OURS]):
        row = [f"{point.quality:g}", f"{point.bytes:,.0f}", f"{point.bpp:.3f}", f"{point.psnr_db:.2f}"]
        if point.ms_ssim is not None:
            row.append(f"{point.ms_ssim:.4f}")
        if served is not None:
            row += [f"{served[number].bytes:,.0f}", str(served[number].lossless)]
        rows.append(row)
    if found[OURS][0].ms_ssim is not None:
        header.append("MS-SSIM")
    if served is not None:
        header += ["bytes as served", "of them lossless"]
    if results.beside is not None and test_set.name == CIFAR_NAME:
        found[results.beside.codec] = means(results.beside, test_set)
    smallest = [f"{codec} {points[0].bytes:,.0f} at {points[0].psnr_db:.1f} dB" for codec, points in found.items()]
    text = f"{render(header, rows)}\n\nFewest bytes that were measured: {', '.join(smallest)}."
    if (lossless := results.lossless.get(test_set.name)) is not None:
        text += f" Lossless WebP: {lossless:,.0f}."
    return text


def _target_section(all_measured: Sequence[Measured]) -> str:
    table = in_target(all_measured)
    rows = [[row.codec, str(row.fitting), NEVER if row.psnr_db is None else f"{row.psnr_db:.2f}"] for row in table]
    best, mine = lead_in_target(all_measured[0], all_measured[1:])
    return (
        f"### A picture of 64 × 64 in {TARGET_BYTES} bytes\n\n"
        f"{render(['codec', 'pictures that fit', 'their mean PSNR, dB'], rows)}\n\n"
        f"The best classical codec of each picture has {best:.2f} dB, the model {mine:.2f} dB: {mine - best:+.2f} dB."
    )


def _times_section(times: Sequence[Times], core: float) -> str:
    rows = [[one.codec, f"{one.bytes:,.0f}", f"{one.encode_ms:.0f}", f"{one.decode_ms:.0f}"] for one in times]
    return (
        "### Time on one core, 768 × 512\n\n"
        "Processor time by the library, median over pictures, at about half a bit a pixel; to encode as a sender, "
        f"which does not decode for the error. This core computes {core:.0f} thousand million multiplications a second "
        "in convolutions of float32:\n\n" + render(["codec", "bytes", "encode, ms", "decode, ms"], rows)
    )


def _percent(value: float | None) -> str:
    return NEVER if value is None else f"{value:+.1f} %".replace("-", "\N{MINUS SIGN}")
