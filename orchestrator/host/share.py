"""The share of this machine that this process may use: its cores, and its memory.

A batch system or a container gives less than the machine has: by affinity (Slurm, taskset,
cpusets) or by limits of a control group (containers, systemd), which hold for all that is below
it. `os.cpu_count()` knows of neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use at once; at least 1."""
    return max(1, min([len(os.sched_getaffinity(0)), *(int(quota) for quota in _quotas())]))


def threads_of(ranks: int, reserved: float | None, there: int) -> int:
    """Threads that a rank computes with: the cores that it reserves, or an even share of those that
    are there.

    Args:
        ranks: that compute at the same time.
        reserved: cores of each; None: none are.
        there: cores of the machine.
    """
    return max(1, int(reserved or there // ranks))


def memory() -> int:
    """Bytes of memory that this process may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_memory_limits()])


def _quotas() -> Iterator[float]:
    """Cores that each control group of this process allows."""
    for folder in _folders("cpu"):
        quota, period = [*_words(folder / "cpu.max"), "", ""][:2]
        if not quota:  # of the first version
            quota = "".join(_words(folder / "cpu.cfs_quota_us"))
            period = "".join(_words(folder / "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            yield from (int(limit) for limit in _words(folder / name) if limit.isdigit())


def _folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, up to the root of each hierarchy."""
    try:
        lines = GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        # The second version has one hierarchy, the first a mount for each controller.
        for root in [MOUNTED / names, MOUNTED / controller] if names else [MOUNTED]:
            group = root / path.lstrip("/")
            # In a container the path may be the host's: then its root is the container's group.
            yield from (each for each in [group, *group.parents] if each.is_relative_to(root))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []
