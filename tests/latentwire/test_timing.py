from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import perf_counter_ns

import pytest

from latentwire.timing import MAX_SPANS, StageTimer, record, timed_stage


@timed_stage("inner")
def inner(value: int) -> int:
    return value + 1


@timed_stage("outer")
def outer(value: int) -> int:
    return inner(value) + 1


@timed_stage("failing")
def fail() -> None:
    raise ValueError


def test_nothing_is_measured_without_a_stopwatch() -> None:
    timer = StageTimer()
    with timer:
        pass
    assert inner(1) == 2
    record("waiting", perf_counter_ns())
    assert timer.total_ns == {}


def test_a_stage_is_timed_also_in_a_thread_and_when_it_fails() -> None:
    timer = StageTimer()
    with timer, ThreadPoolExecutor(1) as threads:
        assert threads.submit(copy_context().run, inner, 1).result() == 2
        with pytest.raises(ValueError):  # noqa: PT011
            fail()
    assert [stage for stage, _, _ in timer.spans] == ["inner", "failing"]
    assert all(begun_ns <= ended_ns for _, begun_ns, ended_ns in timer.spans)


def test_a_stage_within_a_stage_is_not_counted_twice() -> None:
    timer = StageTimer()
    with timer:
        assert outer(1) == 3
        assert inner(1) == 2
    assert [stage for stage, _, _ in timer.spans] == ["outer", "inner"]


def test_many_runs_keep_their_time_and_only_the_first_laps() -> None:
    timer = StageTimer()
    for _ in range(2 * MAX_SPANS):
        timer.record("stage", 0, 10)
    assert timer.total_ns == {"stage": 20 * MAX_SPANS}
    assert len(timer.spans) == MAX_SPANS
