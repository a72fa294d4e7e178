import pytest

from benchmarks.service import tables, targets
from benchmarks.service.in_process import Alone
from benchmarks.service.load_generator import Load
from benchmarks.service.suites import (
    DECODE,
    EMPTY,
    EMPTY_CODE,
    ENCODE,
    ENCODE_ALONE,
    ENCODE_DENSE,
    Answered,
    BatchRound,
    Memory,
    Round,
    StartRound,
    WorkersRound,
)

ALONE = Alone(read_image_s=1e-4, write_png_s=2e-4, encoder_s=3e-4, decoder_s=4e-4)
TIMES_S = {EMPTY: 1e-4, EMPTY_CODE: 1e-4, ENCODE: 18e-4, ENCODE_ALONE: 10e-4, ENCODE_DENSE: 2e-4, DECODE: 7e-4}


def answered(time_s: float) -> Answered:
    return Answered(Load(1000, 1000 * time_s, 0.001, 0.002, 0.003, 0), time_s / 2)


def one_round(factor: float = 1) -> Round:
    return Round({(route, 8): answered(factor * time_s) for route, time_s in TIMES_S.items()}, ALONE)


def test_efficiency_is_what_a_request_cannot_do_without_by_its_time() -> None:
    found = targets.of_routes([one_round()])
    assert [figure.value for figure in found] == pytest.approx([0.5, 0.5, 1.0, 0.5])
    assert [figure.kept for figure in found] == [False, False, True, False]
    assert found[0].by_cpu == pytest.approx((0.5 + 1 + 3) / 5)


def test_the_median_of_the_rounds_counts() -> None:
    found = targets.of_routes([one_round(), one_round(), one_round(9)])
    assert found[0].value == pytest.approx(0.5)


def test_batches_are_compared_with_the_best_chunk() -> None:
    found = targets.of_batches([BatchRound(90, {1: 10, 16: 100, 64: 50}, 10, {1: 100})])
    assert [(figure.value, figure.kept) for figure in found] == [(0.9, True), (0.1, False)]


def test_starts_and_memory_are_to_be_small() -> None:
    (start,) = targets.of_starts([StartRound(1.4, 1), StartRound(9, 1), StartRound(1, 1)])
    assert (start.value, start.kept) == (1.4, True)
    (memory,) = targets.of_memory(Memory(1, 3, {2000: 100, 20_000: 110}))
    assert memory.value == pytest.approx(1.1)
    assert not memory.kept
    assert "20,000" in memory.name


def test_workers_are_compared() -> None:
    (found,) = targets.of_workers([WorkersRound({1: 100, 2: 160})])
    assert found.value == 1.6


def test_tables_show_what_was_found() -> None:
    text = tables.routes_table([one_round()])
    assert f"| {EMPTY}" in text
    assert "10,000" in text
    assert "0.050" in text
    assert "100.0" in tables.alone_table([one_round()])
    shown = tables.figures_table(targets.of_routes([one_round()]))
    assert "| no" in shown
    assert "| yes" in shown
