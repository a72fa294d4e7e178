from latentwire.batching.cost_model import INLINE_LIMIT_NS, MAX_BATCH_KEYS, BatchKey, CostEstimate, new_cost_model


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


def test_the_model_forgets_the_key_that_was_used_longest_ago() -> None:
    estimate_of, frequent = new_cost_model(), BatchKey("/frequent")
    kept = estimate_of(frequent)
    first = estimate_of(BatchKey("/encode", 0))
    for number in range(2 * MAX_BATCH_KEYS):
        estimate_of(BatchKey("/encode", number))
        assert estimate_of(frequent) is kept
    assert estimate_of(BatchKey("/encode", 0)) is not first
