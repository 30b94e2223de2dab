"""Inputs of models in the Level-1 trigger, in the integers of its hardware: objects, and regions of the calorimeter.

The steps and widths are those of the CMS Global Trigger's interface: 0.5 GeV; 9 bits for the transverse momentum of muons, electrons
and photons, 11 for jets, 12 for the missing transverse momentum; phi from 0 in 144 steps, of muons in 576; eta in steps of 0.0435, of muons of
0.010875. What exceeds its bits saturates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.events import Frame
from tamis.features.collection import Collection, check_finite, collection, leading
from tamis.features.rows import Feature, Rows

PT_STEP_GEV = 0.5
CALO_PHI_STEPS, MUON_PHI_STEPS = 144, 576
CALO_ETA_STEP, MUON_ETA_STEP = 0.0870 / 2, 0.0870 / 8
MET_BITS = 12
MISSING_ET = 2  # L1EtSum_etSumType
REGION_ROWS, REGION_COLUMNS = 14, 18  # in eta and phi
REGION_COUNTS_MAX = 1023  # 10 bits
PROPERTIES = ("pt", "eta", "phi")


@dataclass(frozen=True)
class ObjectKind:
    """One kind of objects of the Level-1 trigger, as it appears in the inputs."""

    prefix: str
    most: int
    pt_bits: int
    eta_step: float
    eta_bits: int  # with the sign
    phi_steps: int


OBJECT_KINDS = (
    ObjectKind("L1EG", 4, 9, CALO_ETA_STEP, 8, CALO_PHI_STEPS),
    ObjectKind("L1Mu", 4, 9, MUON_ETA_STEP, 9, MUON_PHI_STEPS),
    ObjectKind("L1Jet", 10, 11, CALO_ETA_STEP, 8, CALO_PHI_STEPS),
)
OBJECT_COLUMNS = tuple(f"{kind.prefix}_{name}" for kind in OBJECT_KINDS for name in (*PROPERTIES, "bx"))
SUM_COLUMNS = ("L1EtSum_pt", "L1EtSum_phi", "L1EtSum_etSumType", "L1EtSum_bx")
REGION_NAMES = ("et", "ieta", "iphi")
LEVEL1_NEEDS = "the Level-1 trigger's objects: NanoAOD from version 12 has them, and `tamis simulate --level1` writes them"
LEVEL1_INPUTS = len(PROPERTIES) * (1 + sum(kind.most for kind in OBJECT_KINDS))


def level1_objects(frame: Frame) -> Rows:
    """Return pT, eta and phi of MET, 4 e/gamma, 4 muons and 10 jets, hardest first and padded with zeros: (events, 57)."""
    inputs = np.zeros((len(frame), LEVEL1_INPUTS // len(PROPERTIES), len(PROPERTIES)), np.float32)
    _add_met(frame, inputs)
    place = 1
    for kind in OBJECT_KINDS:
        objects = _of_this_crossing(collection(frame, kind.prefix, (*PROPERTIES, "bx")))
        check_finite(frame, objects, {name: objects[name] for name in PROPERTIES})
        chosen = leading(objects.owner, objects["pt"], kind.most)
        event = objects.owner[chosen]
        rank = place + np.arange(len(event)) - np.searchsorted(event, event)
        low, high = -(2 ** (kind.eta_bits - 1)), 2 ** (kind.eta_bits - 1) - 1
        inputs[event, rank, 0] = _pt_counts(objects["pt"][chosen], kind.pt_bits)
        inputs[event, rank, 1] = np.clip(np.rint(objects["eta"][chosen] / kind.eta_step), low, high)
        inputs[event, rank, 2] = _phi_counts(objects["phi"][chosen], kind.phi_steps)
        place += kind.most
    return Rows(inputs.reshape(len(frame), -1), np.arange(len(frame) + 1))


def calorimeter_regions(frame: Frame) -> Rows:
    """Return the transverse energies in 14 x 18 regions of the calorimeter, in counts of 0.5 GeV: (events, 1, 14, 18)."""
    regions = collection(frame, "L1Region", REGION_NAMES)
    row, column = (regions[name].astype(np.int64, copy=False) for name in ("ieta", "iphi"))
    outside = (row < 0) | (row >= REGION_ROWS) | (column < 0) | (column >= REGION_COLUMNS)
    if outside.any():
        first = int(outside.argmax())
        event = int(np.searchsorted(regions.offsets, first, "right")) - 1
        raise DataError(
            f"L1Region_ieta, L1Region_iphi are ({row[first]}, {column[first]}) in event {frame.named(event)}; the regions are "
            f"numbered from 0 to {REGION_ROWS - 1} and from 0 to {REGION_COLUMNS - 1}"
        )
    image = np.zeros((len(frame), 1, REGION_ROWS, REGION_COLUMNS), np.float32)
    np.add.at(image[:, 0], (regions.owner, row, column), regions["et"].astype(np.float32, copy=False))
    return Rows(np.clip(np.floor(image), 0, REGION_COUNTS_MAX), np.arange(len(frame) + 1))


def _of_this_crossing(objects: Collection) -> Collection:
    """Return the objects of the bunch crossing of the event; files may have those of its neighbours, too."""
    here = objects["bx"] == 0
    return objects if here.all() else objects.take(here)


def _add_met(frame: Frame, inputs: np.ndarray) -> None:
    sums = collection(frame, "L1EtSum", ("pt", "phi", "etSumType", "bx"))
    missing = np.flatnonzero((sums["etSumType"] == MISSING_ET) & (sums["bx"] == 0))
    event = sums.owner[missing]
    if len(np.unique(event)) < len(frame):
        absent = int(np.setdiff1d(np.arange(len(frame)), event)[0])
        raise DataError(
            f"L1EtSum has no missing transverse momentum (etSumType {MISSING_ET} with bx 0) in event {frame.named(absent)}"
        )
    check_finite(frame, sums, {name: sums[name] for name in ("pt", "phi")})
    inputs[event, 0, 0] = _pt_counts(sums["pt"][missing], MET_BITS)
    inputs[event, 0, 2] = _phi_counts(sums["phi"][missing], CALO_PHI_STEPS)


def _pt_counts(pt: np.ndarray, bits: int) -> np.ndarray:
    counts: np.ndarray = np.clip(np.floor(pt.astype(np.float64) / PT_STEP_GEV), 0, 2**bits - 1)
    return counts


def _phi_counts(phi: np.ndarray, steps: int) -> np.ndarray:
    counts: np.ndarray = np.rint(phi.astype(np.float64) / (2 * np.pi / steps)) % steps
    return counts


L1_OBJECTS = Feature("l1_objects", (*SUM_COLUMNS, *OBJECT_COLUMNS), (), level1_objects, needs=LEVEL1_NEEDS)
L1_CALO_TOWERS = Feature(
    "l1_calo_towers",
    tuple(f"L1Region_{name}" for name in REGION_NAMES),
    (),
    calorimeter_regions,
    needs="the regions of the Level-1 calorimeter trigger, as `tamis simulate --level1` writes them",
    channels=("ET",),
)
