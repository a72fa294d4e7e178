import pytest

from benchmarks.service import tables, targets
from benchmarks.service.in_process import StepTimes
from benchmarks.service.load_generator import Load
from benchmarks.service.suites import (
    BASELINE,
    BASELINE_CODE,
    DECODE,
    ENCODE,
    ENCODE_ALONE,
    ENCODE_DENSE,
    BatchRound,
    Measurement,
    Memory,
    Round,
    StartRound,
    WorkersRound,
)

STEPS = StepTimes(read_image_s=1e-4, write_png_s=2e-4, encoder_s=3e-4, decoder_s=4e-4)
TIMES_S = {BASELINE: 1e-4, BASELINE_CODE: 1e-4, ENCODE: 18e-4, ENCODE_ALONE: 10e-4, ENCODE_DENSE: 2e-4, DECODE: 7e-4}


def measurement(time_s: float) -> Measurement:
    return Measurement(Load(1000, 1000 * time_s, 0.001, 0.002, 0.003, 0), time_s / 2)


def one_round(factor: float = 1) -> Round:
    return Round({(route, 8): measurement(factor * time_s) for route, time_s in TIMES_S.items()}, STEPS)


def test_efficiency_is_the_unavoidable_time_divided_by_the_request_time() -> None:
    found = targets.route_targets([one_round()])
    assert [target.value for target in found] == pytest.approx([0.5, 0.5, 1.0, 0.5])
    assert [target.is_met for target in found] == [False, False, True, False]
    assert found[0].by_cpu == pytest.approx((0.5 + 1 + 3) / 5)


def test_the_median_of_the_rounds_counts() -> None:
    found = targets.route_targets([one_round(), one_round(), one_round(9)])
    assert found[0].value == pytest.approx(0.5)


def test_batches_are_compared_with_the_best_chunk() -> None:
    found = targets.batch_targets([BatchRound(90, {1: 10, 16: 100, 64: 50}, 10, {1: 100})])
    assert [(target.value, target.is_met) for target in found] == [(0.9, True), (0.1, False)]


def test_start_and_memory_have_upper_bounds() -> None:
    (start,) = targets.start_targets([StartRound(1.4, 1), StartRound(9, 1), StartRound(1, 1)])
    assert (start.value, start.is_met) == (1.4, True)
    (memory,) = targets.memory_targets(Memory(1, 3, {2000: 100, 20_000: 110}))
    assert memory.value == pytest.approx(1.1)
    assert not memory.is_met
    assert "20,000" in memory.name


def test_workers_are_compared() -> None:
    (found,) = targets.worker_targets([WorkersRound({1: 100, 2: 160})])
    assert found.value == 1.6


def test_tables_show_the_measurements() -> None:
    text = tables.routes_table([one_round()])
    assert f"| {BASELINE}" in text
    assert "10,000" in text
    assert "0.050" in text
    assert "100.0" in tables.steps_table([one_round()])
    shown = tables.targets_table(targets.route_targets([one_round()]))
    assert "| no" in shown
    assert "| yes" in shown
