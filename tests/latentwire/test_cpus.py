import os
from pathlib import Path

import pytest

from latentwire.cpus import usable_cpus


@pytest.fixture(autouse=True)
def on_a_host_of_16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def write(tmp_path: Path, own_groups: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    (tmp_path / "own").write_text(own_groups)
    return tmp_path / "own", tmp_path / "groups"


def test_without_a_quota_the_processors_are_those_it_is_bound_to(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "nothing", tmp_path / "nowhere") == 16
    assert usable_cpus(*write(tmp_path, "0::/\n", {"cpu.max": "max 100000"})) == 16
    assert usable_cpus(*write(tmp_path, "1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1"})) == 16


def test_a_quota_of_version_2_is_kept(tmp_path: Path) -> None:
    assert usable_cpus(*write(tmp_path, "0::/\n", {"cpu.max": "200000 100000"})) == 2


def test_a_part_of_a_processor_counts_as_one(tmp_path: Path) -> None:
    assert usable_cpus(*write(tmp_path, "0::/\n", {"cpu.max": "150000 100000"})) == 2
    assert usable_cpus(*write(tmp_path, "0::/\n", {"cpu.max": "1000 100000"})) == 1


def test_a_quota_of_a_group_above_is_kept_too(tmp_path: Path) -> None:
    limits = {"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}
    assert usable_cpus(*write(tmp_path, "0::/a/b\n", limits)) == 3


def test_a_path_of_the_host_is_taken_as_the_containers_root(tmp_path: Path) -> None:
    assert usable_cpus(*write(tmp_path, "0::/../../docker/1234\n", {"cpu.max": "400000 100000"})) == 4


def test_a_quota_of_version_1_is_kept(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "50000"}
    assert usable_cpus(*write(tmp_path, "4:memory:/x\n1:cpu,cpuacct:/docker/1234\n", files)) == 5


def test_a_quota_above_the_processors_changes_nothing(tmp_path: Path) -> None:
    assert usable_cpus(*write(tmp_path, "0::/\n", {"cpu.max": "6400000 100000"})) == 16


@pytest.mark.parametrize("content", ["", "x y", "100000", "0 100000", "100000 0", "\xff\xff"])
def test_nonsense_sets_no_limit(tmp_path: Path, content: str) -> None:
    assert usable_cpus(*write(tmp_path, "0::/\nnonsense\n::::\n", {"cpu.max": content})) == 16
