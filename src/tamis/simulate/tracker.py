"""Tracks: reconstruction efficiency and resolution for charged particles."""

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
    """One region of the tracker in |eta|."""

    eta_max: float
    efficiency_soft: float  # for hadrons and electrons below `Tracker.soft_pt_gev`
    efficiency_hard: float
    constant: float  # sigma(pT) / pT of a soft track: multiple scattering
    slope_per_gev: float  # increase of sigma(pT) / pT with pT: the curvature becomes small


@dataclass(frozen=True)
class Tracker:
    """The parameters of the tracker."""

    regions: tuple[TrackerRegion, ...]
    pt_min_gev: float = 0.5
    soft_pt_gev: float = 1.0
    radius_max_cm: float = 30.0  # of production: beyond, too few layers remain
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
    """Return the tracks, and a mask of the particles that have one.

    The resolution is that of the calorimeter if it measures the energy better than the tracker measures the momentum.
    """
    kind = np.abs(particles.pdg_id)
    muon, electron = kind == 13, kind == 11
    eta = np.abs(particles.eta)
    region = np.searchsorted([r.eta_max for r in tracker.regions], eta)
    trackable = (particles.charge != 0) & (region < len(tracker.regions))
    trackable &= (particles.pt > tracker.pt_min_gev) & (particles.radius < tracker.radius_max_cm)
    region = np.minimum(region, len(tracker.regions) - 1)
    soft, hard = (_column(tracker, f"efficiency_{name}")[region] for name in ("soft", "hard"))
    efficiency = np.where(
        muon,
        tracker.muon_efficiency * (particles.pt > tracker.muon_pt_min_gev),
        np.where(particles.pt < tracker.soft_pt_gev, soft, hard),
    )
    is_tracked = trackable & (seeds.stream("tracking efficiency").random(len(particles)) < efficiency)
    sigma = _column(tracker, "constant")[region[is_tracked]]
    sigma = np.hypot(sigma, _column(tracker, "slope_per_gev")[region[is_tracked]] * particles.pt[is_tracked])
    tracked = particles.take(is_tracked)
    calorimetric = np.where(
        electron[is_tracked],
        relative_resolution(ecal, tracked.eta, tracked.energy),
        relative_resolution(hcal, tracked.eta, tracked.energy),
    )
    sigma = np.where(muon[is_tracked], sigma, np.minimum(sigma, calorimetric))
    return _measured(tracked, sigma, tracker, seeds), is_tracked


def _column(tracker: Tracker, name: str) -> np.ndarray:
    return np.array([getattr(region, name) for region in tracker.regions])


def _measured(tracked: Particles, sigma: np.ndarray, tracker: Tracker, seeds: Seeds) -> Candidates:
    noise = seeds.stream("track parameters").standard_normal((len(tracked), 5)).T
    kind = np.abs(tracked.pdg_id)
    kind = np.where((kind == 11) | (kind == 13), kind, 211)
    # The tracker measures the curvature: the lower bound keeps a large fluctuation from changing its sign.
    pt = tracked.pt * np.maximum(1.0 + sigma * noise[0], 0.05)
    return Candidates(
        event=tracked.event,
        pdg_id=(kind * np.where(kind == 211, tracked.charge, -tracked.charge)).astype(np.int32),
        charge=tracked.charge,
        pt=pt,
        eta=tracked.eta + tracker.angle_resolution * noise[1],
        phi=wrap_phi(tracked.phi + tracker.angle_resolution * noise[2]),
        d0=tracked.d0 + _impact_resolution(tracker.d0_resolution_cm, tracked.pt) * noise[3],
        dz=tracked.dz + _impact_resolution(tracker.dz_resolution_cm, tracked.pt) * noise[4],
        pile_up=tracked.pile_up,
    )


def _impact_resolution(terms: tuple[float, float], pt: np.ndarray) -> np.ndarray:
    return np.hypot(terms[0], terms[1] / pt)
