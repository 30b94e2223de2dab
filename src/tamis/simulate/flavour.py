"""Heavy flavour: the origin of leptons, the flavour of jets, and a b-tag discriminator.

The discriminator is a parametrisation without reconstructed vertices: a logistic function of a normal variable whose mean
depends on the flavour of the jet. A cut at 0.5 keeps 70 % of b jets, 12 % of c jets and 1 % of the others inside the
tracker's acceptance. Jets outside have -1, as in NanoAOD.
"""

from __future__ import annotations

import numpy as np

from tamis.events.kinematics import RESONANCES, delta_r_squared, pairs_in_event, pseudorapidity
from tamis.simulate.generator import GeneratorRecord
from tamis.simulate.jets import ClusteredJets
from tamis.simulate.seeds import Seeds

BOTTOM, CHARM, LIGHT = 5, 4, 0
HADRON_PT_MIN_GEV = 5.0
JET_RADIUS = 0.4
TAG_ETA_MAX = 2.5
TAG_SHIFT = {BOTTOM: 0.5244, CHARM: -1.1750, LIGHT: -2.3263}  # quantiles of 70 %, 12 % and 1 %
LOGISTIC_SLOPE = 1.702  # with it, the logistic function approximates the normal distribution to 0.01
PROMPT, TAU, LIGHT_DECAY, UNMATCHED = 1, 15, 3, 0  # values of NanoAOD's genPartFlav
PROMPT_ANCESTORS = (22, *RESONANCES)  # photons too: gamma* -> l l
ANCESTORS_MAX = 200


def quark_content(pdg_id: np.ndarray) -> np.ndarray:
    """Return 5 for bottom hadrons, 4 for charm hadrons, 3 for other hadrons, 0 for particles that are not hadrons."""
    number = np.abs(pdg_id) % 10_000
    heaviest = np.maximum(number // 1000, number // 100 % 10)
    hadron = (number > 100) & (number // 10 % 10 > 0)  # diquarks have a zero in this digit
    return np.where(hadron, np.clip(heaviest, LIGHT_DECAY, BOTTOM), 0)


def jet_flavour(record: GeneratorRecord, jets: ClusteredJets) -> np.ndarray:
    """Return 5, 4 or 0 for each jet: the heaviest flavour of the weakly decaying hadrons above 5 GeV within 0.4 of the axis."""
    row = _last_heavy_hadrons(record)
    px, py, pz, _ = record.momentum[:, row]
    pt = np.hypot(px, py)
    hadron, jet = pairs_in_event(record.collision[row], jets.event)
    eta, phi = pseudorapidity(pt, pz), np.arctan2(py, px)
    near = delta_r_squared(eta[hadron], phi[hadron], jets.eta[jet], jets.phi[jet]) < JET_RADIUS**2
    flavour = np.zeros(len(jets), np.int32)
    np.maximum.at(flavour, jet[near], quark_content(record.pdg_id[row])[hadron[near]].astype(np.int32))
    return flavour


def b_tag(jets: ClusteredJets, flavour: np.ndarray, seeds: Seeds) -> np.ndarray:
    """Return the discriminator of each jet, larger for b jets, -1 outside the tracker."""
    smear = seeds.stream("b-tag").standard_normal(len(jets))
    shift = np.select(
        [flavour == BOTTOM, flavour == CHARM], [TAG_SHIFT[BOTTOM], TAG_SHIFT[CHARM]], TAG_SHIFT[LIGHT]
    )
    value = 1.0 / (1.0 + np.exp(-LOGISTIC_SLOPE * (shift + smear)))
    return np.where(np.abs(jets.eta) < TAG_ETA_MAX, value, -1.0)


def lepton_origin(record: GeneratorRecord, rows: np.ndarray) -> np.ndarray:
    """Return NanoAOD's genPartFlav of generated leptons: 1 prompt, 15 from a tau, 5, 4, 3 from b, c, light hadrons."""
    begin = record.offsets[:-1][record.collision[rows]]
    heaviest, tau = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
    prompt, climbing, at = np.zeros(len(rows), bool), np.ones(len(rows), bool), rows
    for _ in range(ANCESTORS_MAX):
        climbing = climbing & (record.mother[at] > 0)
        if not climbing.any():
            break
        at = np.where(climbing, begin + record.mother[at], at)
        kind = np.abs(record.pdg_id[at])
        heaviest = np.where(climbing, np.maximum(heaviest, quark_content(kind)), heaviest)
        tau |= climbing & (kind == TAU)
        prompt |= climbing & np.isin(kind, PROMPT_ANCESTORS) & (heaviest == 0)
        climbing = climbing & ~prompt
    return np.select([prompt & tau, prompt, heaviest > 0], [TAU, PROMPT, heaviest], LIGHT_DECAY).astype(
        np.int32
    )


def _last_heavy_hadrons(record: GeneratorRecord) -> np.ndarray:
    """Return the rows of the bottom and charm hadrons without a daughter of the same flavour."""
    row = np.flatnonzero(np.abs(record.pdg_id) > 400)
    content = quark_content(record.pdg_id[row])
    px, py, _, _ = record.momentum[:, row]
    heavy = (content >= CHARM) & (np.hypot(px, py) > HADRON_PT_MIN_GEV)
    row, content = row[heavy], content[heavy]
    begin = record.offsets[:-1][record.collision[row]]
    daughters = [
        quark_content(record.pdg_id[begin + each[row]]) for each in (record.daughter1, record.daughter2)
    ]
    last = (record.daughter1[row] == 0) | ((daughters[0] != content) & (daughters[1] != content))
    return row[last]
