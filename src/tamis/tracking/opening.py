"""Open a reconstruction: its detector, its cuts, and compiled kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis._base import UsageError
from tamis.events.detector import TrackingDetector, generic_detector, read_detector, sort_cells
from tamis.tracking.chain import Reconstruction
from tamis.tracking.finding import FindingSettings
from tamis.tracking.seeding import SeedingSettings

GENERIC_FIELD_TESLA = 2.0
BEND_SHARE = (
    0.6  # of the least transverse momentum, down to which a track may seem to be while it is followed
)


@dataclass(frozen=True)
class ReconstructionSetup:
    """What a reconstruction is opened with; `pt_min` in GeV, None for the default cuts."""

    geometry: Path | None = None  # the generic detector
    digitisation: Path | None = None
    field: float = GENERIC_FIELD_TESLA
    pt_min: float | None = None

    def detector(self) -> TrackingDetector:
        """Return the detector."""
        if self.geometry is not None:
            return read_detector(self.geometry, self.digitisation, field=self.field)
        if self.digitisation is not None:
            raise UsageError(
                "a digitisation divides the modules of a geometry into cells: name the geometry too"
            )
        if self.field != GENERIC_FIELD_TESLA:
            raise UsageError(
                f"the field of the generic detector is {GENERIC_FIELD_TESLA:g} T, not {self.field:g} T: name a geometry too"
            )
        return generic_detector()

    def open(self) -> Reconstruction:
        """Return a reconstruction whose kernels are compiled, so that its first event takes no longer than others."""
        detector = self.detector()
        if self.pt_min is None:
            opened = Reconstruction(detector)
        else:
            opened = Reconstruction(
                detector,
                seeding=SeedingSettings(pt_min=self.pt_min),
                finding=FindingSettings(pt_min=BEND_SHARE * self.pt_min),
            )
        warm_up(opened)
        return opened


def warm_up(reconstruction: Reconstruction) -> None:
    """Reconstruct an event with one cell in the middle of every module, which calls every kernel."""
    modules = reconstruction.detector.modules
    middle = modules.cells // 2
    cells = sort_cells(modules.identifier, middle[:, 0], middle[:, 1], np.ones(len(modules)), modules)
    reconstruction(cells)
