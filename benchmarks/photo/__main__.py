"""`python -m benchmarks.photo models/<name>`: compare a model for images of any size with the classical codecs.

Bytes are whole files and whole bitstreams in the full framing, as a `latentwire.Codec` writes them with its default
settings; errors are of what a `latentwire.Receiver` decodes from them. Drawings and text, which are made by code, may
be sent losslessly by default; curves and rates of them are of the model's symbols. The bits that the model needs
against another codec at equal PSNR are given in percent (BD-rate); below 0, it needs fewer. Test sets whose data are
not there are left out.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.photo.classical import codecs
from benchmarks.photo.core_speed import measure_core
from benchmarks.photo.figures import means
from benchmarks.photo.measure import (
    OURS,
    QUALITIES,
    Measured,
    Model,
    Times,
    mean_lossless_bytes,
    measure_classical,
    measure_model,
    measure_served,
    measure_times,
    measure_vector_model,
)
from benchmarks.photo.plots import plot_curves
from benchmarks.photo.report import Results, card_figures, full_text, summary_text, to_json
from benchmarks.photo.test_sets import CIFAR_NAME, DRAWN, TestSet, load_test_sets, scaled_name
from benchmarks.rate_distortion.__main__ import fill
from latentwire.errors import ModelError
from training.atomic import write_atomically
from training.release.any_size_model import add_figures

NUMBERS_FILE = "photo.json"
FULL_MARK, SUMMARY_MARK = "photo", "photo-summary"
VECTOR_MODEL = "cifar-conv"
TIMED_PICTURES, TIMED_BPP = 6, 0.5
# Sets of each picture of curves.
PANELS = {
    "photo-kodak.png": ("kodak", scaled_name((384, 256))),
    "photo-small.png": (scaled_name((128, 85)), CIFAR_NAME),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one model; return the exit code."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    sets = load_test_sets(given.data, given.first)
    if given.sets:
        sets = [one for one in sets if one.name in given.sets]
    chosen = [codec for codec in codecs() if not given.codec or codec.name in given.codec]
    if given.cache is not None:
        given.cache.mkdir(parents=True, exist_ok=True)
    rivals: dict[str, list[Measured]] = {}
    for one in sets:
        rivals[one.name] = []
        for codec in chosen:
            print(f"{one.name}: {codec.name}", file=sys.stderr)
            rivals[one.name].append(measure_classical(codec, one, given.cache))
    if given.model is None:
        return 0
    try:
        model = Model(given.model)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    measured = {}
    for one in sets:
        print(f"{one.name}: {model.card.name}", file=sys.stderr)
        measured[one.name] = [measure_model(model, one, given.qualities), *rivals[one.name]]
    times = [time for one in sets if one.name == "kodak" for time in _times(model, one, measured["kodak"])]
    lossless = {one.name: mean_lossless_bytes(one) for one in sets if one.name in DRAWN}
    vector_model, cifar = given.model.parent / VECTOR_MODEL, [one for one in sets if one.name == CIFAR_NAME]
    beside = measure_vector_model(vector_model, cifar[0]) if cifar and vector_model.is_dir() else None
    served = {one.name: measure_served(model, one, given.qualities) for one in sets if one.name in DRAWN}
    core = measure_core() if times else 0.0
    results = Results(model.card.full_name, sets, measured, times, core, lossless, served, beside)
    _write(results, given.out, given.text)
    if given.card:
        add_figures(given.model, card_figures(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photo", description=__doc__)
    add = parser.add_argument
    add("model", type=Path, nargs="?", help="folder of the model; without it, only the classical codecs are measured")
    data = Path(os.environ.get("LATENTWIRE_DATA") or "data")
    add("--data", type=Path, default=data, help="folder with photos/kodak, photos/eval2 and cifar10-sample")
    add("--cache", type=Path, help="folder that keeps what was measured of classical codecs")
    add("--sets", nargs="+", metavar="NAME", help="only these test sets")
    add("--codec", action="append", metavar="NAME", help="only this classical codec; may be repeated")
    add("--first", type=int, help="of each set, only so many pictures")
    add("--qualities", type=float, nargs="+", default=QUALITIES, help="of the model")
    add("--out", type=Path, help="folder for numbers and pictures of curves, such as docs")
    add("--card", action="store_true", help="write figures into the model's card and README, too")
    add("--text", type=Path, action="append", default=[], help="document whose marked text to write; may be repeated")
    return parser


def _times(model: Model, test_set: TestSet, measured: Sequence[Measured]) -> list[Times]:
    """Measure all codecs anew, one after the other, each at the quality whose rate is nearest to half a bit a pixel."""
    pictures = test_set.pictures[:TIMED_PICTURES]
    nearest = {
        one.codec: min(means(one, test_set), key=lambda point: abs(point.bpp - TIMED_BPP)).quality for one in measured
    }
    quality = nearest[OURS]
    rows = [measure_times(OURS, lambda pixels: model.write_as_sender(pixels, quality), model.receiver.decode, pictures)]
    for codec in codecs():
        if codec.name in nearest:
            rows.append(measure_times(codec.name, codec.writer(nearest[codec.name]), codec.read, pictures))
    return rows


def _write(results: Results, out: Path | None, documents: Sequence[Path]) -> None:
    text = full_text(results)
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / NUMBERS_FILE, (json.dumps(to_json(results), indent=1) + "\n").encode())
        for file, names in PANELS.items():
            shown = [one for name in names for one in results.sets if one.name == name]
            if shown:
                plot_curves([(one.name, results.means(one)) for one in shown], out / file)
    for path in documents:
        document = path.read_text(encoding="utf-8")
        document = fill(fill(document, FULL_MARK, text), SUMMARY_MARK, summary_text(results))
        write_atomically(path, document.encode())


if __name__ == "__main__":
    sys.exit(main())
