"""Calorimeters: energies collected in cells, smeared, cut at a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.candidates import Candidates
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds


@dataclass(frozen=True)
class CalorimeterRegion:
    """One ring of a calorimeter, up to an absolute pseudorapidity: sigma(E)/E = S/sqrt(E) + N/E + C in quadrature."""

    eta_max: float
    cell: float  # width in eta and in phi
    stochastic: float
    noise_gev: float
    constant: float
    threshold_gev: float  # of the transverse energy in a cell
    pdg_id: int | None = None  # what a cell is called, where the kind of shower cannot be told


@dataclass(frozen=True)
class Calorimeter:
    """All numbers of one calorimeter."""

    name: str
    regions: tuple[CalorimeterRegion, ...]


# The forward calorimeter beyond 3 tells electromagnetic from hadronic showers by depth only: pdgId 2 and 1.
ECAL = Calorimeter(
    "ecal",
    (
        CalorimeterRegion(1.479, 0.0174, 0.030, 0.05, 0.006, 0.30),
        CalorimeterRegion(3.0, 0.0210, 0.050, 0.15, 0.010, 0.40),
        CalorimeterRegion(5.0, 0.1750, 1.980, 0.00, 0.090, 1.00, 2),
    ),
)
HCAL = Calorimeter(
    "hcal",
    (
        CalorimeterRegion(1.740, 0.0870, 0.900, 0.50, 0.060, 0.80),
        CalorimeterRegion(3.0, 0.1700, 1.000, 0.70, 0.070, 1.00),
        CalorimeterRegion(5.0, 0.1750, 1.980, 0.00, 0.090, 1.00, 1),
    ),
)


def relative_resolution(calorimeter: Calorimeter, eta: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Return sigma(E)/E."""
    region = region_of(calorimeter, eta)
    stochastic, noise_gev, constant = (
        _column(calorimeter, name)[region] for name in ("stochastic", "noise_gev", "constant")
    )
    return np.sqrt(stochastic**2 / energy + (noise_gev / energy) ** 2 + constant**2)


def region_of(calorimeter: Calorimeter, eta: np.ndarray) -> np.ndarray:
    """Return the number of the ring; what is beyond the last counts as the last."""
    edges = [ring.eta_max for ring in calorimeter.regions[:-1]]
    return np.searchsorted(np.array(edges), np.abs(eta))


def clusters(particles: Particles, calorimeter: Calorimeter, pdg_id: int, seeds: Seeds) -> Candidates:
    """Return one candidate per cell that is above threshold; where in its cell it lies nobody knows."""
    first, cell_of = _cells(particles, calorimeter)
    energy = np.bincount(cell_of, particles.energy, minlength=len(first))
    own = np.bincount(cell_of, particles.energy * ~particles.pile_up, minlength=len(first))
    region = region_of(calorimeter, particles.eta[first])
    width = _column(calorimeter, "cell")[region]
    noise = seeds.stream(f"{calorimeter.name} energy").standard_normal(len(first))
    place = seeds.stream(f"{calorimeter.name} position").uniform(-0.5, 0.5, (len(first), 2)).T
    turn = 2 * np.pi / np.round(2 * np.pi / width)
    eta = (np.floor(particles.eta[first] / width) + 0.5 + place[0]) * width
    phi = (np.floor((particles.phi[first] + np.pi) / turn) + 0.5 + place[1]) * turn - np.pi
    measured = energy * (1.0 + relative_resolution(calorimeter, particles.eta[first], energy) * noise)
    pt = measured / np.cosh(eta)
    kept = pt > _column(calorimeter, "threshold_gev")[region]
    names = np.array(
        [pdg_id if ring.pdg_id is None else ring.pdg_id for ring in calorimeter.regions], np.int32
    )
    zero = np.zeros(int(kept.sum()))
    return Candidates(
        event=particles.event[first][kept],
        pdg_id=names[region][kept],
        charge=zero.astype(np.int32),
        pt=pt[kept],
        eta=eta[kept],
        phi=phi[kept],
        d0=zero,
        dz=zero,
        pile_up=(own < 0.5 * energy)[kept],
    )


def _cells(particles: Particles, calorimeter: Calorimeter) -> tuple[np.ndarray, np.ndarray]:
    """Return a particle of each cell that is hit, in event order, and the cell of each particle."""
    width = _column(calorimeter, "cell")[region_of(calorimeter, particles.eta)]
    turns = np.round(2 * np.pi / width).astype(np.int64)
    i_eta = np.floor(particles.eta / width).astype(np.int64) + 1024
    i_phi = np.floor((particles.phi + np.pi) / (2 * np.pi / turns)).astype(np.int64) % turns
    ring = region_of(calorimeter, particles.eta)
    key = ((particles.event * 4 + ring) * 2048 + i_eta) * 1024 + i_phi
    _, first, cell_of = np.unique(key, return_index=True, return_inverse=True)
    return first, cell_of


def _column(calorimeter: Calorimeter, name: str) -> np.ndarray:
    return np.array([getattr(region, name) for region in calorimeter.regions], np.float64)
