"""Jet images: the candidates of the two leading jets, by kind, in pixels about the jet's axis."""

from __future__ import annotations

import numpy as np

from tamis.events import Frame
from tamis.features.jets import JET, JET_COLUMNS, constituents_of, offsets_from_axis
from tamis.features.lists import check_lengths, lists_of
from tamis.features.rows import Feature, Rows

JETS = 2
SIZE = 64
HALF = 0.8  # the image reaches so far from the axis, in eta and phi
PHOTON = 22
CANDIDATE_PT = "PFCands_pt"
KIND = ("PFCands_pdgId", "PFCands_charge")


def jet_images(frame: Frame) -> Rows:
    """Return (jets, 3, 64, 64): transverse momentum of charged candidates, photons and neutral hadrons in GeV."""
    check_lengths(frame, [CANDIDATE_PT, *KIND])
    found = constituents_of(frame, JETS)
    eta, phi = offsets_from_axis(frame, found.jet[found.row], found.source)
    kind, charge = (lists_of(frame, name).flat[found.source] for name in KIND)
    channel = np.where(charge != 0, 0, np.where(np.abs(kind) == PHOTON, 1, 2))
    place = [np.floor((x.astype(np.float64) + HALF) * (SIZE / (2 * HALF))) for x in (eta, phi)]
    inside = np.logical_and.reduce([(x >= 0) & (x < SIZE) for x in place])  # a NaN is in no pixel
    i, j = (x[inside].astype(np.int64) for x in place)
    cell = ((found.row[inside] * 3 + channel[inside]) * SIZE + i) * SIZE + j
    pt = lists_of(frame, CANDIDATE_PT).flat[found.source][inside]
    images = np.bincount(cell, pt, minlength=len(found.jet) * 3 * SIZE * SIZE).astype(np.float32)
    about = {name: lists_of(frame, f"{JET}_{name}").flat[found.jet] for name in ("eta", "phi", "pt")}
    return Rows(
        images.reshape(-1, 3, SIZE, SIZE),
        np.searchsorted(found.event_row, np.arange(len(frame) + 1)),
        about | {"jet": found.jet_index},
    )


JET_IMAGES = Feature("jet_images", (*JET_COLUMNS, *KIND), ("eta", "phi", "pt", "jet"), jet_images, JET)
