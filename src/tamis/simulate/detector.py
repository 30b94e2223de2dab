"""The detector: a table of parameters and a few formulas.

A general-purpose detector similar to CMS: a tracker in a strong solenoid, a finely segmented electromagnetic calorimeter,
a coarser hadronic one. Like a particle-flow algorithm it returns one list of candidates: tracks for charged particles,
cells of the electromagnetic calorimeter for photons, towers of the hadronic calorimeter for the rest. Deposits of tracked
particles are subtracted from the calorimeters without error, and particles fly straight: overlapping charged and neutral
showers, conversions, bremsstrahlung, material interactions and the bending in the field are not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.calorimeter import ECAL_RESPONSE, HCAL_RESPONSE, Calorimeter, clusters
from tamis.simulate.candidates import Candidates, concatenate_candidates
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds
from tamis.simulate.tracker import TRACKER, Tracker, tracks


@dataclass(frozen=True)
class Detector:
    """The parameters of the detector."""

    tracker: Tracker = TRACKER
    ecal: Calorimeter = ECAL_RESPONSE
    hcal: Calorimeter = HCAL_RESPONSE
    beam_spot_cm: float = 4.5  # width of the luminous region along the beam
    charged_pile_up_dz_cm: float = 0.1  # tracks of other vertices beyond this are removed
    fake_electron_rate: float = (
        0.003  # fraction of charged hadrons above 5 GeV that are reconstructed as electrons
    )

    @property
    def eta_max(self) -> float:
        """Return the largest |eta| of the acceptance."""
        return max(self.ecal.regions[-1].eta_max, self.hcal.regions[-1].eta_max)


def respond(particles: Particles, detector: Detector, seeds: Seeds) -> Candidates:
    """Return the particle-flow candidates of every event, by descending transverse momentum."""
    charged, is_tracked = tracks(particles, detector.tracker, detector.hcal, detector.ecal, seeds)
    foreign = np.abs(charged.dz) > detector.charged_pile_up_dz_cm
    charged = charged.take(~(foreign & charged.pile_up))
    rest = particles.take(~is_tracked & reaches_calorimeter(particles, detector.tracker))
    electromagnetic = np.isin(np.abs(rest.pdg_id), (11, 22))
    muon = np.abs(rest.pdg_id) == 13
    photons = clusters(rest.take(electromagnetic), detector.ecal, 22, seeds)
    hadrons = clusters(rest.take(~electromagnetic & ~muon), detector.hcal, 130, seeds)
    return concatenate_candidates([charged, photons, hadrons]).by_descending_pt()


def reaches_calorimeter(particles: Particles, tracker: Tracker) -> np.ndarray:
    """Return a mask of the particles that the field does not curl up before the calorimeters."""
    return (particles.charge == 0) | (particles.pt > tracker.curl_up_pt_gev)
