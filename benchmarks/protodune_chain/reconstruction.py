"""The reconstruction chain: noise removal and hit finding, patches for the network, then voting and Michel electrons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from readout import BOARD

from tamis.simulate.samples.argon_patches import (
    DIGITISER_STEP_MEV,
    HIT_MEV,
    MICHEL,
    PATCH_CLASSES,
    TRACK,
    cropped,
)

REACH = 2  # cells: hits within this distance vote together
MIN_HITS = 5  # of a Michel electron
HALF_OF_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Hits:
    """Cells above the threshold, in the cleaned plane (windows, wires, ticks); `cluster` labels connected hits."""

    plane: np.ndarray
    window: np.ndarray
    wire: np.ndarray
    tick: np.ndarray
    touching: np.ndarray  # (pairs, 2) of hits
    cluster: np.ndarray

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.window)

    @property
    def energy(self) -> np.ndarray:
        """Return the energy of each hit in MeV."""
        return self.plane[self.window, self.wire, self.tick]


@dataclass(frozen=True)
class Found:
    """The result of the chain: the class of every hit, and Michel electrons as (window, hits, energy in MeV)."""

    label: np.ndarray
    michels: np.ndarray


def cleaned(raw: np.ndarray) -> np.ndarray:
    """Subtract the pedestal of each wire and the coherent noise of each board, both medians; hits are excluded from the latter."""
    plane = raw - np.median(raw, axis=2, keepdims=True)
    count, wires, ticks = plane.shape
    boards = plane.reshape(count, wires // BOARD, BOARD, ticks)
    dead = (boards == 0.0).all(axis=3, keepdims=True)
    quiet = np.where((np.abs(boards) > HIT_MEV) | dead, np.nan, boards)
    quiet[:, :, 0] = np.where(np.isnan(quiet).all(axis=2), 0.0, quiet[:, :, 0])
    shared = np.nanmedian(quiet, axis=2, keepdims=True)
    return np.where(dead, 0.0, boards - shared).reshape(plane.shape).astype(np.float32)


def find_hits(raw: np.ndarray) -> Hits:
    """Find cells above the threshold and connect adjacent ones."""
    plane = cleaned(raw)
    window, wire, tick = np.nonzero(plane > HIT_MEV)
    number = np.full((plane.shape[0], plane.shape[1] + 2, plane.shape[2] + 2), -1)
    number[window, wire + 1, tick + 1] = np.arange(len(window))
    pairs = []
    for right, up in HALF_OF_NEIGHBOURS:
        other = number[window, wire + 1 + right, tick + 1 + up]
        pairs.append(np.column_stack([np.flatnonzero(other >= 0), other[other >= 0]]))
    touching = np.concatenate(pairs)
    return Hits(plane, window, wire, tick, touching, components(len(window), touching))


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return for each of `count` nodes the smallest node of its connected component."""
    found = np.arange(count)
    while True:
        before = found.copy()
        least = np.minimum(found[pairs[:, 0]], found[pairs[:, 1]])
        np.minimum.at(found, found[pairs[:, 0]], least)
        np.minimum.at(found, found[pairs[:, 1]], least)
        found = found[found]
        if np.array_equal(found, before):
            return found


def patches(hits: Hits, some: slice) -> np.ndarray:
    """Return (n, 1, 48, 48) about some of the hits, in steps of the digitiser, as the network was trained."""
    cut = cropped(hits.plane, hits.window[some], hits.wire[some], hits.tick[some])
    return (np.round(cut / np.float32(DIGITISER_STEP_MEV)) * np.float32(DIGITISER_STEP_MEV))[:, None]


def combine(hits: Hits, probabilities: np.ndarray) -> Found:
    """Let nearby connected hits vote, then find Michel electrons: large enough, and touching a track."""
    label = voted(hits, np.log(np.maximum(probabilities, 1e-6)))
    first, second = hits.touching.T
    alike = label[first] == label[second]
    part = components(len(hits), hits.touching[alike])
    at_track = np.zeros(len(hits), bool)
    for one, other in ((first, second), (second, first)):
        meets = (label[one] == MICHEL) & (label[other] == TRACK)
        at_track[part[one[meets]]] = True
    size = np.bincount(part, minlength=len(hits))
    energy = np.bincount(part, hits.energy, minlength=len(hits))
    good = np.flatnonzero(at_track & (size >= MIN_HITS))
    return Found(label, np.column_stack([hits.window[good], size[good], energy[good]]))


def voted(hits: Hits, votes: np.ndarray) -> np.ndarray:
    """Return for each hit the class with the largest sum of votes of nearby hits in its cluster."""
    side = 2 * REACH + 1
    shape = (hits.plane.shape[0], hits.plane.shape[1] + 2 * REACH, hits.plane.shape[2] + 2 * REACH)
    number = np.full(shape, -1)
    number[hits.window, hits.wire + REACH, hits.tick + REACH] = np.arange(len(hits))
    total = np.zeros((len(hits), len(PATCH_CLASSES)))
    for right, up in np.ndindex(side, side):
        other = number[hits.window, hits.wire + right, hits.tick + up]
        ours = (other >= 0) & (hits.cluster[other] == hits.cluster)
        total[ours] += votes[other[ours]]
    return total.argmax(axis=1)
