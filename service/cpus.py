"""How many processors this process may use: those of the host, those it is bound to, and its control groups' quota.

A container sees all processors of its host; what it may use of them stands in the kernel's control groups. Reads
files under `/proc` and `/sys`; knows nothing of what the processors are for.
"""

import math
import os
from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def processors(own_groups: Path = OWN_GROUPS, groups: Path = GROUPS) -> int:
    """Return how many processors may be busy for this process at once: at least 1, a part counted as a whole.

    Args:
        own_groups: the file that names this process's control groups.
        groups: where they are mounted. What is not there or cannot be read sets no limit.
    """
    shares = [float(_bound_to()), *_quotas(own_groups, groups)]
    return max(1, math.ceil(min(shares)))


def _bound_to() -> int:
    # Not every system can tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(own_groups: Path, groups: Path) -> list[float]:
    found = []
    for line in _read(own_groups).splitlines():
        _, _, names_and_path = line.partition(":")
        names, _, path = names_and_path.partition(":")
        own = Path(path.lstrip("/"))
        # A quota binds all groups below it. Within a container, the path may be the host's; its root is then the own.
        for group in (own, *own.parents):
            if ".." in group.parts:
                continue
            if not names:
                found.append(_version_2(groups / group))
                found.append(_version_2(groups / "unified" / group))
            elif "cpu" in names.split(","):
                found.append(_version_1(groups / names / group))
                found.append(_version_1(groups / "cpu" / group))
    return [share for share in found if share is not None]


def _version_2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")
    return _share(quota, period)


def _version_1(group: Path) -> float | None:
    return _share(_read(group / "cpu.cfs_quota_us").strip(), _read(group / "cpu.cfs_period_us").strip())


def _share(quota: str, period: str) -> float | None:
    # Without a limit the quota is "max", or -1.
    if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
        return int(quota) / int(period)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
