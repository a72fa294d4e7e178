"""How many processors this process may use, by its CPU affinity and by the quota of its control groups.

A container sees all processors of its host. The kernel's control groups (cgroups, versions 1 and 2) limit how many of
them it may use.
"""

import math
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def usable_cpus(own_groups: Path = OWN_GROUPS, groups: Path = GROUPS) -> int:
    """Return how many processors this process can keep busy, at least 1; a fraction is rounded up.

    Args:
        own_groups: file that names this process's control groups.
        groups: folder where they are mounted. A file that is missing or unreadable sets no limit.
    """
    # macOS and Windows lack sched_getaffinity.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([affinity, *_quotas(own_groups, groups)])))


def _quotas(own_groups: Path, groups: Path) -> Iterator[float]:
    for line in _read(own_groups).splitlines():
        # For example "0::/a/b" of version 2, or "4:cpu,cpuacct:/a/b" of version 1.
        _, _, names_and_path = line.partition(":")
        names, _, path = names_and_path.partition(":")
        if names and "cpu" not in names.split(","):
            continue
        mounts = (groups / names, groups / ("cpu" if names else "unified"))
        own = Path(path.lstrip("/"))
        # A quota also binds all groups below. Within a container the path may be the host's; then the root is its own.
        for mount, group in product(mounts, (own, *own.parents)):
            if ".." not in group.parts:
                yield from _quota(mount / group)


def _quota(group: Path) -> Iterator[float]:
    version_2 = _read(group / "cpu.max").partition(" ")[::2]
    version_1 = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    for quota, period in (version_2, version_1):
        # Without a limit the quota is "max", or -1.
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
