"""Tracks: which charged particles have one, and how well it is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import wrap_phi
from tamis.simulate.calorimeter import Calorimeter, relative_resolution
from tamis.simulate.candidates import Candidates
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds


@dataclass(frozen=True)
class TrackerRegion:
    """One ring of the tracker, up to an absolute pseudorapidity."""

    eta_max: float
    efficiency_soft: float  # for hadrons and electrons below `Tracker.soft_pt_gev`
    efficiency_hard: float
    constant: float  # sigma(pT) / pT of a soft track: multiple scattering
    slope_per_gev: float  # and what it grows by with pT: the curvature runs out


@dataclass(frozen=True)
class Tracker:
    """All numbers of the tracker."""

    regions: tuple[TrackerRegion, ...]
    pt_min_gev: float = 0.5
    soft_pt_gev: float = 1.0
    radius_max_cm: float = 30.0  # beyond this too few layers are left
    muon_efficiency: float = 0.97
    muon_pt_min_gev: float = 3.0  # softer muons end in the calorimeters
    curl_up_pt_gev: float = 0.7
    angle_resolution: float = 0.0005
    d0_resolution_cm: tuple[float, float] = (0.0010, 0.0060)  # constant, and divided by pT in GeV
    dz_resolution_cm: tuple[float, float] = (0.0025, 0.0100)


TRACKER = Tracker(
    regions=(
        TrackerRegion(0.9, 0.85, 0.95, 0.008, 1.0e-4),
        TrackerRegion(1.5, 0.82, 0.94, 0.012, 1.5e-4),
        TrackerRegion(2.5, 0.75, 0.90, 0.020, 3.5e-4),
    )
)


def tracks(
    particles: Particles, tracker: Tracker, hcal: Calorimeter, ecal: Calorimeter, seeds: Seeds
) -> tuple[Candidates, np.ndarray]:
    """Return the tracks, and for every particle whether it is one of them.

    Where a calorimeter measures the energy better than the tracker the momentum, its resolution counts.
    """
    kind = np.abs(particles.pdg_id)
    muon, electron = kind == 13, kind == 11
    eta = np.abs(particles.eta)
    region = np.searchsorted([r.eta_max for r in tracker.regions], eta)
    trackable = (particles.charge != 0) & (region < len(tracker.regions))
    trackable &= (particles.pt > tracker.pt_min_gev) & (particles.radius < tracker.radius_max_cm)
    region = np.minimum(region, len(tracker.regions) - 1)
    efficiency = _efficiency(particles.pt, region, muon, tracker)
    found = trackable & (seeds.stream("tracking efficiency").random(len(particles)) < efficiency)
    sigma = _column(tracker, "constant")[region[found]]
    sigma = np.hypot(sigma, _column(tracker, "slope_per_gev")[region[found]] * particles.pt[found])
    lit = particles.take(found)
    calorimetric = np.where(
        electron[found],
        relative_resolution(ecal, lit.eta, lit.energy),
        relative_resolution(hcal, lit.eta, lit.energy),
    )
    sigma = np.where(muon[found], sigma, np.minimum(sigma, calorimetric))
    return _measured(lit, sigma, tracker, seeds), found


def _efficiency(pt: np.ndarray, region: np.ndarray, muon: np.ndarray, tracker: Tracker) -> np.ndarray:
    soft = pt < tracker.soft_pt_gev
    hadron = np.where(
        soft, _column(tracker, "efficiency_soft")[region], _column(tracker, "efficiency_hard")[region]
    )
    return np.where(muon, tracker.muon_efficiency * (pt > tracker.muon_pt_min_gev), hadron)


def _column(tracker: Tracker, name: str) -> np.ndarray:
    return np.array([getattr(region, name) for region in tracker.regions])


def _measured(lit: Particles, sigma: np.ndarray, tracker: Tracker, seeds: Seeds) -> Candidates:
    noise = seeds.stream("track parameters").standard_normal((len(lit), 5)).T
    kind = np.abs(lit.pdg_id)
    kind = np.where((kind == 11) | (kind == 13), kind, 211)
    # A track is a curvature: a lower bound keeps a far fluctuation from turning it over.
    pt = lit.pt * np.maximum(1.0 + sigma * noise[0], 0.05)
    return Candidates(
        event=lit.event,
        pdg_id=(kind * np.where(kind == 211, lit.charge, -lit.charge)).astype(np.int32),
        charge=lit.charge,
        pt=pt,
        eta=lit.eta + tracker.angle_resolution * noise[1],
        phi=wrap_phi(lit.phi + tracker.angle_resolution * noise[2]),
        d0=lit.d0 + _impact(tracker.d0_resolution_cm, lit.pt) * noise[3],
        dz=lit.dz + _impact(tracker.dz_resolution_cm, lit.pt) * noise[4],
        pile_up=lit.pile_up,
    )


def _impact(terms: tuple[float, float], pt: np.ndarray) -> np.ndarray:
    return np.hypot(terms[0], terms[1] / pt)
