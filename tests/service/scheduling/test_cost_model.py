import time

import pytest

from service.scheduling.cost_model import QUICK_NS, Pace


def test_what_is_not_known_is_not_quick() -> None:
    assert not Pace().quick


def test_quick_work_is_quick_until_it_takes_long_and_again_after_a_while() -> None:
    pace = Pace()
    pace.note(QUICK_NS // 10)
    assert pace.quick
    pace.note(10 * QUICK_NS)
    assert not pace.quick
    for _ in range(3):
        pace.note(QUICK_NS // 10)
    assert not pace.quick
    for _ in range(100):
        pace.note(QUICK_NS // 10)
    assert pace.quick


def test_work_is_timed_by_what_it_takes_of_the_processor() -> None:
    waits = Pace()
    with waits.measured():
        time.sleep(0.01)
    assert waits.quick


def test_work_that_fails_is_timed_too() -> None:
    pace = Pace()
    with pytest.raises(ZeroDivisionError), pace.measured():
        raise ZeroDivisionError
    assert pace.quick


def test_of_several_pieces_each_has_an_equal_part_of_the_time() -> None:
    one, several = Pace(), Pace()
    for pace, pieces in ((one, 1), (several, 1000)):
        with pace.measured(pieces):
            until_ns = time.thread_time_ns() + 2 * QUICK_NS
            while time.thread_time_ns() < until_ns:
                pass
    assert several.quick
    assert not one.quick
