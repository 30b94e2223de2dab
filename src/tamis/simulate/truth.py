"""Generator-level information: the pruned list of particles, and the labels of fat jets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tamis.events.kinematics import GRAVITON, RESONANCES, delta_r_squared, pairs_in_event, pseudorapidity
from tamis.simulate.generator import GeneratorRecord
from tamis.simulate.jets import ClusteredJets

KEPT_RESONANCES = (*RESONANCES, GRAVITON)
LEPTONS = (11, 12, 13, 14, 15, 16)
GEN_LEPTON_PT_MIN_GEV = 5.0
IS_HARD_PROCESS, IS_LAST_COPY = 1 << 7, 1 << 13  # bits of NanoAOD's statusFlags


class Label(IntEnum):
    """The particle whose decay a fat jet contains completely: all quarks are within its radius."""

    QCD = 0
    W = 1
    Z = 2
    TOP = 3


@dataclass(frozen=True)
class GenParticles:
    """The hard process, resonances with their daughters, and leptons."""

    event: np.ndarray
    row: np.ndarray  # in the record
    pdg_id: np.ndarray
    status: np.ndarray
    flags: np.ndarray
    mother: np.ndarray  # index in the same event's list, or -1
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    mass: np.ndarray


def gen_particles(record: GeneratorRecord) -> GenParticles:
    """Return the particles that NanoAOD would keep; mothers are the nearest kept ancestors."""
    kept = _is_kept(record)
    rows = np.flatnonzero(kept)
    begin = record.offsets[:-1][record.collision]
    index = np.cumsum(kept) - 1  # index among the kept particles
    mother = record.mother
    above = np.where(mother > 0, begin + mother, -1)
    while True:
        skipped = (above[rows] >= 0) & ~kept[np.maximum(above[rows], 0)]
        if not skipped.any():
            break
        above[rows[skipped]] = above[above[rows[skipped]]]
    first = np.searchsorted(rows, record.offsets[:-1])
    event = record.collision[rows]
    px, py, pz, _ = record.momentum[:, rows]
    pt = np.hypot(px, py)
    status = record.status[rows]
    hard = (np.abs(status) >= 21) & (np.abs(status) <= 29)
    flags = np.where(hard, IS_HARD_PROCESS, 0) | np.where(_last_copy(record)[rows], IS_LAST_COPY, 0)
    return GenParticles(
        event=event,
        row=rows,
        pdg_id=record.pdg_id[rows],
        status=np.where(status > 0, 1, np.abs(status)).astype(np.int32),
        flags=flags.astype(np.int32),
        mother=np.where(above[rows] >= 0, index[np.maximum(above[rows], 0)] - first[event], -1).astype(
            np.int32
        ),
        pt=pt,
        eta=pseudorapidity(pt, pz),
        phi=np.arctan2(py, px),
        mass=record.mass[rows],
    )


def label_jets(record: GeneratorRecord, jets: ClusteredJets, radius: float) -> np.ndarray:
    """Return a `Label` for each jet; top takes precedence over W and Z."""
    labels = np.zeros(len(jets), np.int32)
    is_boson = np.isin(np.abs(record.pdg_id), (23, 24)) & _last_copy(record) & (record.daughter1 > 0)
    decayed = np.flatnonzero(is_boson)
    begin = record.offsets[:-1][record.collision[decayed]]
    to_quarks = np.abs(record.pdg_id[begin + record.daughter1[decayed]]) < 6
    hadronic, begin = decayed[to_quarks], begin[to_quarks]
    quarks = record.daughter1[hadronic], record.daughter2[hadronic]
    bottom = _sister_bottom(record, hadronic)
    boson, jet = pairs_in_event(record.collision[hadronic], jets.event)
    inside = np.ones(len(jet), bool)
    for quark in quarks:
        inside &= _near(record, (begin + quark)[boson], jets, jet, radius)
    number = np.abs(record.pdg_id[hadronic])[boson]
    top = inside & (bottom[boson] >= 0) & _near(record, np.maximum(bottom[boson], 0), jets, jet, radius)
    labels[jet[inside & (number == 23)]] = Label.Z
    labels[jet[inside & (number == 24)]] = Label.W
    labels[jet[top]] = Label.TOP
    return labels


def _is_kept(record: GeneratorRecord) -> np.ndarray:
    kind, code = np.abs(record.pdg_id), np.abs(record.status)
    hard = (code >= 21) & (code <= 29)
    last = np.isin(kind, KEPT_RESONANCES) & _last_copy(record)
    begin = record.offsets[:-1][record.collision]
    mother = np.maximum(begin + record.mother, 0)
    daughter = last[mother] & (record.mother > 0)
    pt = np.hypot(record.momentum[0], record.momentum[1])
    lepton = np.isin(kind, LEPTONS) & (record.status > 0) & (pt > GEN_LEPTON_PT_MIN_GEV)
    return hard | last | daughter | lepton | _prompt_photons(record, hard & (kind == 22))


def _prompt_photons(record: GeneratorRecord, hard: np.ndarray) -> np.ndarray:
    """Return a mask of the final copies, after recoils, of photons of the hard process."""
    row = np.flatnonzero(hard)
    begin = record.offsets[:-1][record.collision[row]]
    while True:  # follow the copies downwards
        below = begin + record.daughter1[row]
        copy = (record.daughter1[row] > 0) & (record.pdg_id[below] == 22)
        if not copy.any():
            break
        row = np.where(copy, below, row)
    kept = np.zeros(len(record.pdg_id), bool)
    kept[row] = True
    return kept


def _last_copy(record: GeneratorRecord) -> np.ndarray:
    begin = record.offsets[:-1][record.collision]
    daughter = np.where(record.daughter1 > 0, begin + record.daughter1, 0)
    return (record.daughter1 == 0) | (record.pdg_id[daughter] != record.pdg_id)


def _sister_bottom(record: GeneratorRecord, bosons: np.ndarray) -> np.ndarray:
    """Return the row of the quark from the same top decay as each W, or -1."""
    begin = record.offsets[:-1][record.collision[bosons]]
    row = bosons
    while True:  # follow the copies of the boson upwards
        above = begin + record.mother[row]
        copy = record.pdg_id[above] == record.pdg_id[row]
        if not copy.any():
            break
        row = np.where(copy, above, row)
    parent = begin + record.mother[row]
    first, second = begin + record.daughter1[parent], begin + record.daughter2[parent]
    return np.where(np.abs(record.pdg_id[parent]) == 6, np.where(first == row, second, first), -1)


def _near(
    record: GeneratorRecord, row: np.ndarray, jets: ClusteredJets, jet: np.ndarray, radius: float
) -> np.ndarray:
    px, py, pz, _ = record.momentum[:, row]
    pt = np.hypot(px, py)
    apart = delta_r_squared(pseudorapidity(pt, pz), np.arctan2(py, px), jets.eta[jet], jets.phi[jet])
    return apart < radius**2
