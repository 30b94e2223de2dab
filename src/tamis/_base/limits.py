"""What this process may use of its machine: cores and memory, within the limits of its control groups.

Containers and batch systems limit a job by control groups (cgroups): https://docs.kernel.org/admin-guide/cgroup-v2.html, and its
predecessor, v1, which some sites still run. A group is limited by the groups that it is in, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> float:
    """Return the number of cores that this process may use: those it is bound to, or a part of them if a control group limits it."""
    limits = [float(len(os.sched_getaffinity(0)))]
    for words in _settings("cpu", ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"), root):
        numbers = [int(word) for word in words if word.isdecimal()]  # without "max" and -1
        if len(numbers) == 2 and numbers[1] > 0:
            limits.append(numbers[0] / numbers[1])  # a quota per period, both in microseconds
    return min(limits)


def usable_memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory that this process may use: the machine's, or less if a control group limits it."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for words in _settings("memory", ("memory.max",), ("memory.limit_in_bytes",), root):
        limits += [int(word) for word in words if word.isdecimal()]
    return min(limits)


def _settings(controller: str, v2: tuple[str, ...], v1: tuple[str, ...], root: Path) -> Iterator[list[str]]:
    """Yield the words in a controller's files for each control group of this process, up to the outermost."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            places, names = (mounts, mounts / "unified"), v2
        elif controller in controllers.split(","):
            places, names = (mounts / controllers, mounts / controller), v1
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for place in dict.fromkeys(places):
            for folder in (group, *group.parents):
                try:
                    texts = [(place / folder / name).read_text(encoding="ascii") for name in names]
                except (OSError, ValueError):  # the group of a container is often not visible inside it
                    continue
                yield [word for text in texts for word in text.split()]
