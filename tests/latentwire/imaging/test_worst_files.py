import json
import subprocess
import sys

import pytest

from tests.latentwire.imaging.worst_files import FILES, MAX_BYTES

MAX_PROCESSOR_S = 0.3
MAX_PEAK_BYTES = 64 << 20


@pytest.fixture(scope="module")
def costs() -> dict[str, tuple[float, int]]:
    """Seconds of processor time and bytes of memory that each file costs."""
    command = [sys.executable, "-m", "tests.latentwire.imaging.worst_files"]
    measured = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, tuple[float, int]] = json.loads(measured.stdout)
    return result


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
@pytest.mark.parametrize("name", FILES)
def test_the_worst_files_of_ten_mebibytes_cost_little(name: str, costs: dict[str, tuple[float, int]]) -> None:
    seconds, peak_bytes = costs[name]
    assert seconds <= MAX_PROCESSOR_S
    assert peak_bytes <= MAX_PEAK_BYTES


def test_each_of_the_worst_files_is_one_that_the_service_takes() -> None:
    assert [name for name, make in FILES.items() if len(make()) > MAX_BYTES] == []
