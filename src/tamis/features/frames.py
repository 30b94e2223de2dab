"""Inputs of the end-to-end image taggers: crops of the detector's image around seeds."""

from __future__ import annotations

from functools import partial
from math import isfinite

import numpy as np

from tamis.events import Frame
from tamis.events.kinematics import pairs_in_event
from tamis.features.collection import check_finite, collection, leading
from tamis.features.detector_image import (
    ECAL_CHANNEL,
    ECAL_COLUMNS,
    HCAL_CHANNEL,
    HCAL_COLUMNS,
    IMAGE_COLUMNS,
    PIXEL_CHANNELS,
    PIXEL_COLUMNS,
    TRACK_CHANNELS,
    TRACK_COLUMNS,
    add_points,
    add_towers,
    crops_around,
    ecal_points,
    image_column,
    image_row,
    pixel_points,
    track_points,
)
from tamis.features.rows import Feature, Rows

CRYSTAL_ET_MIN_GEV = 5.0  # of a crystal that can be the seed of an electron or photon
SEPARATION_ROWS, SEPARATION_COLUMNS = 2, 8  # wider in phi, where the magnetic field spreads radiation
CRYSTALS_PER_EVENT = 4
JETS_PER_EVENT = 2
SEED_JET_PT_MIN_GEV = 20.0
SEED_ETA_MAX = 2.4
EGAMMA_PIXELS, JET_PIXELS = 32, 128  # on each side
ABOUT = ("eta", "phi", "pt")
ABOUT_JET = (*ABOUT, "jet")
LOW_LEVEL_NEEDED = "low-level columns, which `tamis simulate --low-level` writes"


def egamma_frames(frame: Frame) -> Rows:
    """Return images (seeds, 1, 32, 32) around the hardest local maxima; `pt` is the sum of 5 x 5 crystals."""
    (ecal,) = ecal_points(frame, 0)
    cells = ecal.of
    hard = np.flatnonzero(cells["et"] >= CRYSTAL_ET_MIN_GEV)
    hard = hard[np.abs(cells["eta"][hard]) < SEED_ETA_MAX]
    event = np.searchsorted(cells.offsets, hard, "right") - 1
    eta, phi, et = cells["eta"][hard], cells["phi"][hard], cells["et"][hard]
    if not isfinite(float(phi.sum()) + float(et.sum())):
        check_finite(frame, cells, cells.columns)
    row, column = image_row(eta), image_column(phi)
    maxima = np.flatnonzero(_is_local_maximum(event, row, column, et))
    seeds = maxima[leading(event[maxima], et[maxima], CRYSTALS_PER_EVENT)]
    crops = crops_around(event[seeds], row[seeds], column[seeds], 1, EGAMMA_PIXELS)
    add_points(crops, frame, [ecal])
    middle = slice(EGAMMA_PIXELS // 2 - 2, EGAMMA_PIXELS // 2 + 3)
    about = {
        "eta": eta[seeds],
        "phi": phi[seeds],
        "pt": crops.frames[:, 0, middle, middle].sum(axis=(1, 2)),
    }
    return Rows(crops.frames, np.searchsorted(event[seeds], np.arange(len(frame) + 1)), about)


def _is_local_maximum(event: np.ndarray, row: np.ndarray, column: np.ndarray, et: np.ndarray) -> np.ndarray:
    """Return a mask of the crystals without a harder one nearby; of two equal ones the first is kept."""
    crystal, other = pairs_in_event(event, event)
    gap = np.abs(column[crystal] - column[other])
    close = np.minimum(gap, IMAGE_COLUMNS - gap) <= SEPARATION_COLUMNS
    close &= np.abs(row[crystal] - row[other]) <= SEPARATION_ROWS
    close &= (et[other] > et[crystal]) | ((et[other] == et[crystal]) & (other < crystal))
    maximum = np.ones(len(event), bool)
    maximum[crystal[close]] = False
    return maximum


def jet_frames(frame: Frame, jets: str, pixels: bool) -> Rows:
    """Return images (jets, 5 or 8, 128, 128) around the two leading jets: tracks, with `pixels` the hits, ECAL, HCAL."""
    objects = collection(frame, jets, ABOUT)
    if not isfinite(sum(float(objects[name].sum()) for name in ABOUT)):
        check_finite(frame, objects, objects.columns)
    candidates = np.flatnonzero(
        (objects["pt"] >= SEED_JET_PT_MIN_GEV) & (np.abs(objects["eta"]) < SEED_ETA_MAX)
    )
    owner = np.searchsorted(objects.offsets, candidates, "right") - 1
    best = leading(owner, objects["pt"][candidates], JETS_PER_EVENT)
    event, seeds = owner[best], candidates[best]
    about = {name: objects[name][seeds] for name in ABOUT} | {"jet": seeds - objects.offsets[event]}
    channels = len(_channels(pixels))
    crops = crops_around(event, image_row(about["eta"]), image_column(about["phi"]), channels, JET_PIXELS)
    points = track_points(frame, 0)
    if pixels:
        points += pixel_points(frame, 3)
    points += ecal_points(frame, channels - 2)
    add_points(crops, frame, points)
    add_towers(crops, frame, channels - 1)
    return Rows(crops.frames, np.searchsorted(event, np.arange(len(frame) + 1)), about)


def _channels(pixels: bool) -> tuple[str, ...]:
    return (*TRACK_CHANNELS, *(PIXEL_CHANNELS if pixels else ()), ECAL_CHANNEL, HCAL_CHANNEL)


def _jet_feature(name: str, jets: str, *, pixels: bool) -> Feature:
    seeds = tuple(f"{jets}_{quantity}" for quantity in ("pt", "eta", "phi"))
    return Feature(
        name,
        (*seeds, *TRACK_COLUMNS, *(PIXEL_COLUMNS if pixels else ()), *ECAL_COLUMNS, *HCAL_COLUMNS),
        ABOUT_JET,
        partial(jet_frames, jets=jets, pixels=pixels),
        jets,
        LOW_LEVEL_NEEDED,
        _channels(pixels),
    )


EGAMMA_FRAMES = Feature(
    "egamma_frames", ECAL_COLUMNS, ABOUT, egamma_frames, needs=LOW_LEVEL_NEEDED, channels=(ECAL_CHANNEL,)
)
QUARK_GLUON_FRAMES = _jet_feature("quark_gluon_frames", "Jet", pixels=False)
TOP_FRAMES = _jet_feature("top_frames", "FatJet", pixels=True)
TAU_FRAMES = _jet_feature("tau_frames", "Jet", pixels=True)
