"""Cores and memory are what this process may use, not what the machine has."""

import os
import subprocess
import sys

import pytest

from orchestrator.host import share

GIB = 2**30


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Puts this process into a control group: lines of /proc/self/cgroup, and limits by file."""

    def make(lines, limits):
        (tmp_path / "cgroup").write_text("".join(f"{line}\n" for line in lines))
        monkeypatch.setattr(share, "GROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(share, "MOUNTED", tmp_path / "fs")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
        for name, text in limits.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return make


def test_cores_are_those_of_the_affinity():
    code = "from orchestrator.host.share import cores; print(cores())"
    one = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", code], capture_output=True, check=True
    )
    assert one.stdout == b"1\n"
    assert share.cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 64), ("250000 100000", 2), ("50000 100000", 1), ("", 64)]
)
def test_a_quota_of_the_second_version_bounds_the_cores(group, quota, cores):
    group(["0::/slurm/job_1"], {"slurm/job_1/cpu.max": quota, "cpu.max": "max 100000"})
    assert share.cores() == cores


def test_the_tightest_limit_on_the_way_to_the_root_counts(group):
    group(
        ["0::/a/b/c"],
        {"a/cpu.max": "300000 100000", "a/b/cpu.max": "800000 100000", "a/b/c/cpu.max": "max 1000",
         "a/memory.max": str(GIB), "a/b/memory.max": "max"},
    )  # fmt: skip
    assert (share.cores(), share.memory()) == (3, GIB)


def test_limits_of_the_first_version_count(group):
    group(
        ["4:memory:/job", "3:cpu,cpuacct:/job", "0::/"],
        {
            "cpu,cpuacct/job/cpu.cfs_quota_us": "400000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/job/memory.limit_in_bytes": str(2 * GIB),
            "memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert (share.cores(), share.memory()) == (4, 2 * GIB)


def test_in_a_container_the_root_is_its_own_group(group):
    group(
        ["2:memory:/docker/0123", "1:cpu:/docker/0123"],
        {"memory/memory.limit_in_bytes": str(GIB), "cpu/cpu.cfs_quota_us": "200000",
         "cpu/cpu.cfs_period_us": "100000"},
    )  # fmt: skip
    assert (share.cores(), share.memory()) == (2, GIB)


def test_without_control_groups_the_machine_is_what_there_is(group, tmp_path, monkeypatch):
    group([], {})
    monkeypatch.setattr(share, "GROUPS", tmp_path / "none")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert (share.cores(), share.memory()) == (64, physical)
