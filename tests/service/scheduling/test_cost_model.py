import time

import pytest

from service.scheduling.cost_model import INLINE_LIMIT_NS, MAX_BATCH_KEYS, BatchKey, CostEstimate, CostModel


def test_unknown_work_does_not_run_inline() -> None:
    assert not CostEstimate().runs_inline


def test_one_slow_item_ends_inline_work_and_many_quick_ones_bring_it_back() -> None:
    estimate = CostEstimate()
    estimate.observe(INLINE_LIMIT_NS // 10)
    assert estimate.runs_inline
    estimate.observe(10 * INLINE_LIMIT_NS)
    assert not estimate.runs_inline
    for _ in range(3):
        estimate.observe(INLINE_LIMIT_NS // 10)
    assert not estimate.runs_inline
    for _ in range(100):
        estimate.observe(INLINE_LIMIT_NS // 10)
    assert estimate.runs_inline


def test_only_processor_time_counts() -> None:
    estimate = CostEstimate()
    with estimate.measure():
        time.sleep(0.01)
    assert estimate.runs_inline


def test_work_that_raises_is_measured_too() -> None:
    estimate = CostEstimate()
    with pytest.raises(ZeroDivisionError), estimate.measure():
        raise ZeroDivisionError
    assert estimate.runs_inline


def test_the_time_of_a_batch_is_divided_among_its_items() -> None:
    alone, batched = CostEstimate(), CostEstimate()
    for estimate, items in ((alone, 1), (batched, 1000)):
        with estimate.measure(items):
            until_ns = time.thread_time_ns() + 2 * INLINE_LIMIT_NS
            while time.thread_time_ns() < until_ns:
                pass
    assert batched.runs_inline
    assert not alone.runs_inline


def test_the_model_forgets_the_key_that_was_used_longest_ago() -> None:
    model, frequent = CostModel(), BatchKey("/frequent")
    kept = model.estimate(frequent)
    first = model.estimate(BatchKey("/encode", 0))
    for number in range(2 * MAX_BATCH_KEYS):
        model.estimate(BatchKey("/encode", number))
        assert model.estimate(frequent) is kept
    assert len(model) == MAX_BATCH_KEYS
    assert model.estimate(BatchKey("/encode", 0)) is not first
