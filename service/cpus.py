"""How many processors this process may use, by its CPU affinity and by the quota of its control groups.

A container sees all processors of its host. The kernel's control groups (cgroups, versions 1 and 2) limit how many of
them it may use.
"""

import math
import os
from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def usable_cpus(own_groups: Path = OWN_GROUPS, groups: Path = GROUPS) -> int:
    """Return how many processors this process can keep busy, at least 1; a fraction is rounded up.

    Args:
        own_groups: file that names this process's control groups.
        groups: folder where they are mounted. A file that is missing or unreadable sets no limit.
    """
    shares = [float(_affinity()), *_quotas(own_groups, groups)]
    return max(1, math.ceil(min(shares)))


def _affinity() -> int:
    # macOS and Windows lack sched_getaffinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(own_groups: Path, groups: Path) -> list[float]:
    found = []
    for line in _read(own_groups).splitlines():
        _, _, names_and_path = line.partition(":")
        names, _, path = names_and_path.partition(":")
        own = Path(path.lstrip("/"))
        # A quota also binds all groups below. Within a container the path may be the host's; then the root is its own.
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
