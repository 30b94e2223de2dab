"""Calorimeters: energies summed in cells, smeared, and cut at a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.candidates import Candidates
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds


@dataclass(frozen=True)
class CalorimeterRegion:
    """One region of a calorimeter in |eta|, with sigma(E)/E = S/sqrt(E) + N/E + C, added in quadrature."""

    eta_max: float
    cell: float  # width in eta and in phi
    stochastic: float
    noise_gev: float
    constant: float
    threshold_gev: float  # of the transverse energy in a cell
    pdg_id: int | None = None  # of the candidates, where the type of shower cannot be determined


@dataclass(frozen=True)
class Calorimeter:
    """The parameters of one calorimeter."""

    name: str
    regions: tuple[CalorimeterRegion, ...]


# Beyond |eta| = 3 the forward calorimeter separates electromagnetic from hadronic showers by depth only: pdgId 2 and 1.
ECAL_RESPONSE = Calorimeter(
    "ecal",
    (
        CalorimeterRegion(1.479, 0.0174, 0.030, 0.05, 0.006, 0.30),
        CalorimeterRegion(3.0, 0.0210, 0.050, 0.15, 0.010, 0.40),
        CalorimeterRegion(5.0, 0.1750, 1.980, 0.00, 0.090, 1.00, 2),
    ),
)
HCAL_RESPONSE = Calorimeter(
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
    """Return the index of the region; the last one extends beyond its edge."""
    edges = [region.eta_max for region in calorimeter.regions[:-1]]
    return np.searchsorted(np.array(edges), np.abs(eta))


def clusters(particles: Particles, calorimeter: Calorimeter, pdg_id: int, seeds: Seeds) -> Candidates:
    """Return one candidate per cell above threshold, at a random position in its cell."""
    first, cell_of = _cells(particles, calorimeter)
    energy = np.bincount(cell_of, particles.energy, minlength=len(first))
    not_pile_up = np.bincount(cell_of, particles.energy * ~particles.pile_up, minlength=len(first))
    region = region_of(calorimeter, particles.eta[first])
    width = _column(calorimeter, "cell")[region]
    noise = seeds.stream(f"{calorimeter.name} energy").standard_normal(len(first))
    position = seeds.stream(f"{calorimeter.name} position").uniform(-0.5, 0.5, (len(first), 2)).T
    phi_width = 2 * np.pi / np.round(2 * np.pi / width)  # an integer number of cells in a turn
    eta = (np.floor(particles.eta[first] / width) + 0.5 + position[0]) * width
    phi = (np.floor((particles.phi[first] + np.pi) / phi_width) + 0.5 + position[1]) * phi_width - np.pi
    measured = energy * (1.0 + relative_resolution(calorimeter, particles.eta[first], energy) * noise)
    pt = measured / np.cosh(eta)
    kept = pt > _column(calorimeter, "threshold_gev")[region]
    region_ids = np.array([pdg_id if r.pdg_id is None else r.pdg_id for r in calorimeter.regions], np.int32)
    zero = np.zeros(int(kept.sum()))
    return Candidates(
        event=particles.event[first][kept],
        pdg_id=region_ids[region][kept],
        charge=zero.astype(np.int32),
        pt=pt[kept],
        eta=eta[kept],
        phi=phi[kept],
        d0=zero,
        dz=zero,
        pile_up=(not_pile_up < 0.5 * energy)[kept],
    )


def _cells(particles: Particles, calorimeter: Calorimeter) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of one particle for each cell hit, in event order, and the index of each particle's cell."""
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
