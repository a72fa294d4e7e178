import math

import numpy as np
import pytest

from latentwire.any_size.rate_control import _first_reaching


@pytest.mark.parametrize("end", [2, 33, 97, 256])
@pytest.mark.parametrize("roughness", [0.0, 0.3, 2.0])
def test_the_first_that_reaches_a_measure_is_found(end: int, roughness: float) -> None:
    random = np.random.default_rng(end)
    for _ in range(100):
        exact = np.cumsum(0.01 * np.exp(random.normal(0, roughness, end)))
        if random.random() < 0.2:
            exact[end // 2 :] = random.choice([exact[end // 2], math.inf])
        estimate = exact + random.normal(0, 0.2) + random.normal(0, 0.01, end)
        for wanted in (exact[random.integers(end)], exact[0] + random.normal(), -100.0, 100.0):
            if math.isfinite(wanted):
                found = _first_reaching(lambda at: float(estimate[at]), lambda at: float(exact[at]), wanted, end)  # noqa: B023
                assert found == np.searchsorted(exact, wanted)


def test_a_good_estimate_saves_measuring() -> None:
    exact = np.log(1 + np.arange(256)) + 3
    measured = []

    def measure(at: int) -> float:
        measured.append(at)
        return float(exact[at])

    for wanted in (3.5, 5.0, 7.0, 8.2):
        measured.clear()
        assert _first_reaching(lambda at: float(exact[at]) + 0.02, measure, wanted, 256) == np.searchsorted(
            exact, wanted
        )
        assert len(measured) <= 6
