"""Low-level detector information: calorimeter cells, all tracks, hits in the pixel barrel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import wrap_phi
from tamis.features.detector_image import IMAGE_COLUMNS, PIXEL_RADII_CM, TOWER_COLUMNS
from tamis.simulate.candidates import Candidates
from tamis.simulate.cells import Cells, Grid, fill_cells
from tamis.simulate.detector import Detector, reaches_calorimeter
from tamis.simulate.flight import Cylinder, cross
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds
from tamis.simulate.showers import (
    ECAL_CYLINDER,
    HCAL_CYLINDER,
    Showers,
    concatenate_showers,
    electromagnetic,
    hadronic,
)
from tamis.simulate.tracker import tracks

# One crystal is a 360th of a turn in eta and phi, one tower is 5 x 5 crystals, up to |eta| = 3.
CRYSTALS = Grid("crystals", IMAGE_COLUMNS, reach=2, core=0.25, tail=0.9, tail_share=0.15, threshold_gev=0.10)
TOWERS = Grid("towers", TOWER_COLUMNS, reach=1, core=0.12, tail=0.5, tail_share=0.25, threshold_gev=0.50)
MUON_TOWER_GEV = 2.0

PIXEL_BARREL = tuple(Cylinder(radius, 26.7) for radius in PIXEL_RADII_CM)
PIXEL_EFFICIENCY = 0.99
PIXEL_RESOLUTION_CM = (0.0015, 0.0030)  # across and along the beam


@dataclass(frozen=True)
class PixelHits:
    """Hits in event order; eta and phi as seen from the centre of the detector."""

    event: np.ndarray
    layer: np.ndarray  # 1 is the innermost
    eta: np.ndarray
    phi: np.ndarray


@dataclass(frozen=True)
class LowLevel:
    """The output of the subdetectors; only tracks are reconstructed."""

    crystals: Cells
    towers: Cells
    tracks: Candidates
    hits: PixelHits


def low_level(particles: Particles, vertex_z: np.ndarray, detector: Detector, seeds: Seeds) -> LowLevel:
    """Return all low-level information; `vertex_z` is the position of each event's primary collision along the beam in cm."""
    z0 = vertex_z[particles.event] + particles.dz
    crystals, towers = calorimeter_cells(particles, z0, detector, seeds)
    all_tracks, _ = tracks(particles, detector.tracker, detector.hcal, detector.ecal, seeds)
    return LowLevel(crystals, towers, all_tracks.by_descending_pt(), pixel_hits(particles, z0, seeds))


def calorimeter_cells(
    particles: Particles, z0: np.ndarray, detector: Detector, seeds: Seeds
) -> tuple[Cells, Cells]:
    """Return the energies that all particles, tracked or not, deposit in crystals and towers; `z0` is in cm."""
    arrives = reaches_calorimeter(particles, detector.tracker)
    particles, z0 = particles.take(arrives), z0[arrives]
    ecal, hcal = cross(particles, z0, ECAL_CYLINDER), cross(particles, z0, HCAL_CYLINDER)
    light = np.isin(np.abs(particles.pdg_id), (11, 22))
    showers = electromagnetic(particles.take(light & ecal.reached), ecal.take(light & ecal.reached), seeds)
    early = hadronic(particles, seeds)
    heavy = ~light & ecal.reached
    early_showers = Showers(particles.event, ecal.eta, ecal.phi, early).take(heavy & (early > 0))
    muon = np.abs(particles.pdg_id) == 13
    late = np.where(muon, np.minimum(MUON_TOWER_GEV, particles.energy), particles.energy - early)
    rest = Showers(particles.event, hcal.eta, hcal.phi, late).take(~light & hcal.reached & (late > 0))
    return (
        fill_cells(concatenate_showers(showers, early_showers), CRYSTALS, detector.ecal, seeds),
        fill_cells(rest, TOWERS, detector.hcal, seeds),
    )


def pixel_hits(particles: Particles, z0: np.ndarray, seeds: Seeds) -> PixelHits:
    """Return the hits of charged particles in the layers of the pixel barrel."""
    charged = particles.charge != 0
    particles, z0 = particles.take(charged), z0[charged]
    hit = seeds.stream("pixel efficiency").random((len(particles), len(PIXEL_BARREL))) < PIXEL_EFFICIENCY
    noise = seeds.stream("pixel position").standard_normal((len(particles), len(PIXEL_BARREL), 2))
    eta, phi = np.empty(hit.shape), np.empty(hit.shape)
    for layer, cylinder in enumerate(PIXEL_BARREL):
        crossing = cross(particles, z0, cylinder)
        across, along = (size / cylinder.radius_cm for size in PIXEL_RESOLUTION_CM)
        hit[:, layer] &= crossing.reached
        phi[:, layer] = wrap_phi(crossing.phi + across * noise[:, layer, 0])
        eta[:, layer] = np.arcsinh(np.sinh(crossing.eta) + along * noise[:, layer, 1])
    owner, ring = np.nonzero(hit)
    return PixelHits(particles.event[owner], ring + 1, eta[hit], phi[hit])
