import shutil
from pathlib import Path

import numpy as np
import pytest

from latentwire.errors import InvalidGraph
from latentwire.imaging.image import to_x
from training.analysis.latency import MAX_BYTES, MAX_MS, Latency, latency_lines, measure_latency
from training.data.datasets import Dataset
from training.plots.subject import Subject
from training.release.artifacts import find_source
from training.release.onnx_pair import open_pair
from training.runs import RunFolder


def test_a_run_and_its_model_have_the_same_graphs(finished_run: RunFolder, published: Path, dataset: Dataset) -> None:
    run, model = open_pair(find_source(finished_run.path), dataset), open_pair(find_source(published))
    assert (run.encoder_file, run.decoder_file) == (model.encoder_file, model.decoder_file)
    x = to_x(dataset.test.pixels[:7])
    np.testing.assert_array_equal(run.reconstruct(x), model.reconstruct(x))
    subject = Subject(published, dataset)
    np.testing.assert_array_equal(run.encoder.run(x), subject.codes(dataset.test.pixels[:7]))


@pytest.mark.usefixtures("no_exporter")
def test_a_run_without_graphs_gets_them(finished_run: RunFolder, dataset: Dataset, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "run")))
    for path in (run.encoder, run.decoder, run.export_file):
        path.unlink()
    pair = open_pair(find_source(run.path), dataset)
    assert pair.encoder_file.bytes == run.encoder.stat().st_size
    run.decoder.write_bytes(b"not a graph")
    with pytest.raises(InvalidGraph):
        open_pair(find_source(run.path), dataset)


def test_both_graphs_of_each_pair_are_timed(published: Path) -> None:
    pair = open_pair(find_source(published))
    latencies = measure_latency([pair, pair], rounds=2)
    assert [one.name for one in latencies] == ["synthetic-tiny"] * 2
    for one in latencies:
        assert one.encoder_ms > 0
        assert one.decoder_ms > 0
        assert (one.encoder_bytes, one.decoder_bytes) == (pair.encoder_file.bytes, pair.decoder_file.bytes)


def test_bounds_hold_for_each_graph_by_itself() -> None:
    good = Latency("a", MAX_MS, MAX_MS, MAX_BYTES, MAX_BYTES)
    assert good.is_fast
    assert good.is_small
    slow = good._replace(decoder_ms=MAX_MS + 0.001)
    assert not slow.is_fast
    assert slow.is_small
    large = good._replace(encoder_bytes=MAX_BYTES + 1)
    assert large.is_fast
    assert not large.is_small
    lines = latency_lines([good, slow])
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split()[-2:] == ["met", "met"]
    assert lines[2].split()[-3:] == ["not", "met", "met"]
