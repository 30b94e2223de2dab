"""Open a reconstruction: its detector, its cuts, and compiled kernels."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tamis._base import host_facts
from tamis.events.detector import DetectorFiles, sort_cells
from tamis.tracking.chain import Reconstruction
from tamis.tracking.finding import FindingSettings
from tamis.tracking.kernels.body import kernel_cache
from tamis.tracking.seeding import seeding_for

# Of the least transverse momentum: down to this a track may seem to be while it is followed.
BEND_SHARE = 0.6
_COMPILE = """
import sys
from tamis.events.detector import constant_map, generic_detector, sort_cells
from tamis.tracking import Reconstruction
detector = generic_detector()
if sys.argv[1] == "map":
    detector = detector.in_field(constant_map(detector.field))
modules = detector.modules
u, v = (modules.cells // 2).T
Reconstruction(detector)(sort_cells(modules.identifier, u, v, [1] * len(modules), modules))
"""


@dataclass(frozen=True)
class ReconstructionSetup:
    """What a reconstruction is opened with; `pt_min` in GeV, None for the default cuts."""

    files: DetectorFiles = field(default_factory=DetectorFiles)  # of the generic detector
    pt_min: float | None = None
    seeds_from: str | None = None  # one of SEED_SOURCES; pixels, or strips where there are none
    branches: int = 1

    def open(self) -> Reconstruction:
        """Return a reconstruction whose kernels are compiled, so that its first event takes no longer than others."""
        detector = self.files.open()
        seeding, finding = (
            seeding_for(detector, self.seeds_from),
            FindingSettings(branches_max=self.branches),
        )
        if self.pt_min is not None:
            seeding = replace(seeding, pt_min=self.pt_min)
            finding = replace(finding, pt_min=BEND_SHARE * self.pt_min)
        opened = Reconstruction(detector, seeding=seeding, finding=finding)
        warm_up(opened)
        return opened


def warm_up(reconstruction: Reconstruction) -> None:
    """Reconstruct an event with one cell in the middle of every module, which calls every kernel; the simulator of a GPU compiles none."""
    compile_kernels(mapped=reconstruction.detector.field_map is not None)
    if reconstruction.is_simulated:
        return
    modules = reconstruction.detector.modules
    middle = modules.cells // 2
    cells = sort_cells(modules.identifier, middle[:, 0], middle[:, 1], np.ones(len(modules)), modules)
    reconstruction(cells)


def compile_kernels(*, mapped: bool = False) -> None:
    """Compile the kernels for a constant field, or for a mapped one, in a process of its own, unless this has been done, so that this one loads them as any later one does.

    The code that Numba has just compiled and the code that it stores differ in the last bits of results. If the process fails, the
    kernels are compiled here.
    """
    kind = "map" if mapped else "constant"
    where = f"{Path(__file__).parent} {sys.version} {host_facts().cpu} {kind}"
    done = kernel_cache() / f"compiled-{hashlib.sha256(where.encode()).hexdigest()[:16]}"
    if done.exists():
        return
    finished = subprocess.run(
        [sys.executable, "-c", _COMPILE, kind],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if finished.returncode == 0:
        done.touch()
