"""Open a reconstruction: its detector, its cuts, and compiled kernels."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tamis._base import host_facts
from tamis.events.detector import DetectorFiles, TrackingDetector, sort_cells
from tamis.events.detector.acts_files import GENERIC_FIELD_TESLA
from tamis.tracking.chain import Reconstruction
from tamis.tracking.finding import FindingSettings
from tamis.tracking.kernels.body import kernel_cache
from tamis.tracking.seeding import seeding_for

# Of the least transverse momentum: down to this a track may seem to be while it is followed.
BEND_SHARE = 0.6
_COMPILE = """
from tamis.events.detector import generic_detector, sort_cells
from tamis.tracking import Reconstruction
modules = generic_detector().modules
u, v = (modules.cells // 2).T
Reconstruction(generic_detector())(sort_cells(modules.identifier, u, v, [1] * len(modules), modules))
"""


@dataclass(frozen=True)
class ReconstructionSetup:
    """What a reconstruction is opened with; `pt_min` in GeV, None for the default cuts."""

    geometry: Path | None = None  # the generic detector
    digitisation: Path | None = None
    field: float = GENERIC_FIELD_TESLA
    pt_min: float | None = None

    seeds_from: str | None = None  # one of SEED_SOURCES; pixels, or strips where there are none

    def detector(self) -> TrackingDetector:
        """Return the detector."""
        return DetectorFiles(self.geometry, self.digitisation, self.field).open()

    def open(self) -> Reconstruction:
        """Return a reconstruction whose kernels are compiled, so that its first event takes no longer than others."""
        detector = self.detector()
        seeding, finding = seeding_for(detector, self.seeds_from), FindingSettings()
        if self.pt_min is not None:
            seeding = replace(seeding, pt_min=self.pt_min)
            finding = FindingSettings(pt_min=BEND_SHARE * self.pt_min)
        opened = Reconstruction(detector, seeding=seeding, finding=finding)
        warm_up(opened)
        return opened


def warm_up(reconstruction: Reconstruction) -> None:
    """Reconstruct an event with one cell in the middle of every module, which calls every kernel; the simulator of a GPU compiles none."""
    compile_kernels()
    if reconstruction.is_simulated:
        return
    modules = reconstruction.detector.modules
    middle = modules.cells // 2
    cells = sort_cells(modules.identifier, middle[:, 0], middle[:, 1], np.ones(len(modules)), modules)
    reconstruction(cells)


def compile_kernels() -> None:
    """Compile the kernels in a process of its own, unless this has been done, so that this one loads them as any later one does.

    The code that Numba has just compiled and the code that it stores differ in the last bits of results. If the process fails, the
    kernels are compiled here.
    """
    where = f"{Path(__file__).parent} {sys.version} {host_facts().cpu}"
    done = kernel_cache() / f"compiled-{hashlib.sha256(where.encode()).hexdigest()[:16]}"
    if done.exists():
        return
    finished = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if finished.returncode == 0:
        done.touch()
