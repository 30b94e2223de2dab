"""Jet images: the candidates of the two leading jets, by type, in pixels around the jet axis."""

from __future__ import annotations

import numpy as np

from tamis.events import Frame
from tamis.features.jets import JET, JET_COLUMNS, constituents_of, offsets_from_axis
from tamis.features.lists import check_lengths, lists_of
from tamis.features.rows import Feature, Rows

IMAGE_JETS = 2  # per event
JET_IMAGE_PIXELS = 64  # on each side
JET_IMAGE_REACH = 0.8  # from the axis, in eta and phi
JET_IMAGE_CHANNELS = ("charged candidates", "photons", "neutral hadrons")
PHOTON = 22
CANDIDATE_PT = "PFCands_pt"
CANDIDATE_TYPE = ("PFCands_pdgId", "PFCands_charge")


def jet_images(frame: Frame) -> Rows:
    """Return the transverse momentum in GeV of charged candidates, photons and neutral hadrons: (jets, 3, 64, 64)."""
    check_lengths(frame, [CANDIDATE_PT, *CANDIDATE_TYPE])
    constituents = constituents_of(frame, IMAGE_JETS)
    eta, phi = offsets_from_axis(frame, constituents.jet[constituents.row], constituents.source)
    pdg_id, charge = (lists_of(frame, name).flat[constituents.source] for name in CANDIDATE_TYPE)
    channel = np.where(charge != 0, 0, np.where(np.abs(pdg_id) == PHOTON, 1, 2))
    size, scale = JET_IMAGE_PIXELS, JET_IMAGE_PIXELS / (2 * JET_IMAGE_REACH)
    pixel = [np.floor((x.astype(np.float64) + JET_IMAGE_REACH) * scale) for x in (eta, phi)]
    inside = np.logical_and.reduce([(x >= 0) & (x < size) for x in pixel])  # False for NaN
    i, j = (x[inside].astype(np.int64) for x in pixel)
    cell = ((constituents.row[inside] * 3 + channel[inside]) * size + i) * size + j
    pt = lists_of(frame, CANDIDATE_PT).flat[constituents.source][inside]
    images = np.bincount(cell, pt, minlength=len(constituents.jet) * 3 * size * size).astype(np.float32)
    about = {name: lists_of(frame, f"{JET}_{name}").flat[constituents.jet] for name in ("eta", "phi", "pt")}
    return Rows(
        images.reshape(-1, 3, size, size),
        np.searchsorted(constituents.event_row, np.arange(len(frame) + 1)),
        about | {"jet": constituents.jet_index},
        constituents.empty,
    )


JET_IMAGES = Feature(
    "jet_images",
    (*JET_COLUMNS, *CANDIDATE_TYPE),
    ("eta", "phi", "pt", "jet"),
    jet_images,
    JET,
    channels=JET_IMAGE_CHANNELS,
    may_be_empty=True,
)
