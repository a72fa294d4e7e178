"""Replays the seeds of fuzzing, so that what once broke a target stays mended without atheris."""

import pytest

from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("target", TARGETS)
def test_no_seed_breaks_its_target(target: str) -> None:
    found = seeds(target)
    assert len(found) > 5
    for data in found.values():
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_no_piece_of_a_seed_breaks_its_target(target: str) -> None:
    for data in seeds(target).values():
        for length in {1, 2, 7, len(data) // 2, len(data) - 1}:
            TARGETS[target](data[:length])
