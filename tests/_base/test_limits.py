"""Limits of control groups, read from trees of files as Linux shows them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tamis._base import usable_cores, usable_memory_bytes

CORES = len(os.sched_getaffinity(0))
MEMORY = psutil.virtual_memory().total


@pytest.fixture
def machine(tmp_path):
    """Return a function that writes files below a root; the result is the root."""

    def write(groups: str, **files: str) -> Path:
        for name, text in {"proc/self/cgroup": groups, **files}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


def test_without_control_groups_everything_can_be_used(tmp_path):
    assert usable_cores(tmp_path) == CORES
    assert usable_memory_bytes(tmp_path) == MEMORY


def test_groups_without_a_limit(machine):
    root = machine(
        "0::/job\n",
        **{"sys/fs/cgroup/job/cpu.max": "max 100000\n", "sys/fs/cgroup/job/memory.max": "max\n"},
    )
    assert usable_cores(root) == CORES
    assert usable_memory_bytes(root) == MEMORY


def test_version_2_in_a_container_sees_its_group_as_the_root(machine):
    root = machine(
        "0::/\n",
        **{"sys/fs/cgroup/cpu.max": "50000 100000\n", "sys/fs/cgroup/memory.max": "300000000\n"},
    )
    assert usable_cores(root) == 0.5
    assert usable_memory_bytes(root) == 300_000_000


def test_limit_of_an_outer_group_counts(machine):
    root = machine(
        "0::/slurm/job/step\n",
        **{
            "sys/fs/cgroup/slurm/cpu.max": "25000 100000\n",
            "sys/fs/cgroup/slurm/job/step/cpu.max": "90000 100000\n",
            "sys/fs/cgroup/slurm/job/memory.max": "200000000\n",
        },
    )
    assert usable_cores(root) == 0.25
    assert usable_memory_bytes(root) == 200_000_000


def test_version_1_with_controllers_mounted_together(machine):
    root = machine(
        "5:cpu,cpuacct:/condor\n4:memory:/condor\n0::/\n",
        **{
            "sys/fs/cgroup/cpu,cpuacct/condor/cpu.cfs_quota_us": "75000\n",
            "sys/fs/cgroup/cpu,cpuacct/condor/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/condor/memory.limit_in_bytes": "400000000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert usable_cores(root) == 0.75
    assert usable_memory_bytes(root) == 400_000_000


def test_malformed_files_are_ignored(machine):
    root = machine(
        "nonsense\n0::/\n", **{"sys/fs/cgroup/cpu.max": "1 0 3\n", "sys/fs/cgroup/memory.max": "\n"}
    )
    assert usable_cores(root) == CORES
    assert usable_memory_bytes(root) == MEMORY
