"""Frames for end-to-end image taggers: seeds are found, and the detector's image is cropped about each."""

from __future__ import annotations

from functools import partial
from math import isfinite

import numpy as np

from tamis.events import Frame
from tamis.events.kinematics import pairs_in_event
from tamis.features.collection import check_finite, collection, leading
from tamis.features.detector_image import (
    COLUMNS,
    ECAL,
    HCAL,
    PIXELS,
    TRACKS,
    add_points,
    add_towers,
    crops_about,
    ecal_points,
    image_column,
    image_row,
    pixel_points,
    track_points,
)
from tamis.features.rows import Feature, Rows

CRYSTAL_ET_MIN_GEV = 5.0  # of a crystal that may be the seed of an electron or photon
ALONE_ROWS, ALONE_COLUMNS = (
    2,
    8,
)  # a seed is the hardest within so many crystals: the field spreads radiation in phi
CRYSTALS_PER_EVENT = 4
JETS_PER_EVENT = 2
JET_PT_MIN_GEV = 20.0
SEED_ETA_MAX = 2.4
EGAMMA_SIZE, JET_SIZE = 32, 128
ABOUT = ("eta", "phi", "pt")
ABOUT_JET = (*ABOUT, "jet")
NEEDS = "low-level columns, which `tamis simulate --low-level` writes"


def egamma_frames(frame: Frame) -> Rows:
    """Return (seeds, 1, 32, 32) about the hardest crystals that are local maxima; pt is that of 5 x 5 crystals."""
    (ecal,) = ecal_points(frame, 0)
    cells = ecal.of
    hard = np.flatnonzero(cells["et"] >= CRYSTAL_ET_MIN_GEV)
    hard = hard[np.abs(cells["eta"][hard]) < SEED_ETA_MAX]
    event = np.searchsorted(cells.offsets, hard, "right") - 1
    eta, phi, et = cells["eta"][hard], cells["phi"][hard], cells["et"][hard]
    if not isfinite(float(phi.sum()) + float(et.sum())):
        check_finite(frame, cells, cells.columns)
    row, column = image_row(eta), image_column(phi)
    alone = np.flatnonzero(_alone(event, row, column, et))
    seeds = alone[leading(event[alone], et[alone], CRYSTALS_PER_EVENT)]
    crops = crops_about(event[seeds], row[seeds], column[seeds], 1, EGAMMA_SIZE)
    add_points(crops, frame, [ecal])
    middle = slice(EGAMMA_SIZE // 2 - 2, EGAMMA_SIZE // 2 + 3)
    about = {
        "eta": eta[seeds],
        "phi": phi[seeds],
        "pt": crops.frames[:, 0, middle, middle].sum(axis=(1, 2)),
    }
    return Rows(crops.frames, np.searchsorted(event[seeds], np.arange(len(frame) + 1)), about)


def _alone(event: np.ndarray, row: np.ndarray, column: np.ndarray, et: np.ndarray) -> np.ndarray:
    """Tell which crystals no harder one is near; of two equal ones the first stays."""
    mine, other = pairs_in_event(event, event)
    gap = np.abs(column[mine] - column[other])
    close = np.minimum(gap, COLUMNS - gap) <= ALONE_COLUMNS
    close &= np.abs(row[mine] - row[other]) <= ALONE_ROWS
    close &= (et[other] > et[mine]) | ((et[other] == et[mine]) & (other < mine))
    alone = np.ones(len(event), bool)
    alone[mine[close]] = False
    return alone


def jet_frames(frame: Frame, jets: str, pixels: bool) -> Rows:
    """Return (jets, 5 or 8, 128, 128) about the two leading jets: track pT, d0, dz, (three pixel layers,) ECAL, HCAL."""
    found = collection(frame, jets, ABOUT)
    if not isfinite(sum(float(found[name].sum()) for name in ABOUT)):
        check_finite(frame, found, found.columns)
    able = np.flatnonzero((found["pt"] >= JET_PT_MIN_GEV) & (np.abs(found["eta"]) < SEED_ETA_MAX))
    owner = np.searchsorted(found.offsets, able, "right") - 1
    best = leading(owner, found["pt"][able], JETS_PER_EVENT)
    event, seeds = owner[best], able[best]
    about = {name: found[name][seeds] for name in ABOUT} | {"jet": seeds - found.offsets[event]}
    crops = crops_about(
        event, image_row(about["eta"]), image_column(about["phi"]), 8 if pixels else 5, JET_SIZE
    )
    points = track_points(frame, 0)
    if pixels:
        points += pixel_points(frame, 3)
    channels = crops.frames.shape[1]
    points += ecal_points(frame, channels - 2)
    add_points(crops, frame, points)
    add_towers(crops, frame, channels - 1)
    return Rows(crops.frames, np.searchsorted(event, np.arange(len(frame) + 1)), about)


def _of_jets(name: str, jets: str, pixels: bool) -> Feature:
    reads = (*(f"{jets}_{what}" for what in ("pt", "eta", "phi")), *TRACKS, *(PIXELS if pixels else ()))
    build = partial(jet_frames, jets=jets, pixels=pixels)
    return Feature(name, (*reads, *ECAL, *HCAL), ABOUT_JET, build, jets, NEEDS)


EGAMMA_FRAMES = Feature("egamma_frames", ECAL, ABOUT, egamma_frames, needs=NEEDS)
QUARK_GLUON_FRAMES = _of_jets("quark_gluon_frames", "Jet", pixels=False)
TOP_FRAMES = _of_jets("top_frames", "FatJet", pixels=True)
TAU_FRAMES = _of_jets("tau_frames", "Jet", pixels=True)
