"""The detector: what it measures is a table of numbers, its response a few formulas.

A general-purpose detector in the manner of CMS: a tracker in a strong solenoid, a finely segmented
electromagnetic calorimeter, a coarser hadronic one. Like a particle-flow algorithm it gives one list of
candidates: a charged particle with a track is its track; photons are the cells of the electromagnetic
calorimeter; what is left are towers of the hadronic one. Deposits of tracked particles are taken to be
subtracted from the calorimeters without error, and particles fly straight: confusion between overlapping charged and neutral
showers, conversions, bremsstrahlung, material interactions and the bending in the field are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.calorimeter import ECAL, HCAL, Calorimeter, clusters
from tamis.simulate.candidates import Candidates, concatenate
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds
from tamis.simulate.tracker import TRACKER, Tracker, tracks


@dataclass(frozen=True)
class Detector:
    """All numbers of the detector."""

    tracker: Tracker = TRACKER
    ecal: Calorimeter = ECAL
    hcal: Calorimeter = HCAL
    beam_spot_cm: float = 4.5  # width of the luminous region along the beam
    charged_pile_up_dz_cm: float = 0.1  # tracks of other vertices beyond this are removed
    fake_electron_rate: float = 0.003  # of charged hadrons above 5 GeV that are taken for electrons

    @property
    def eta_max(self) -> float:
        """Return the end of the acceptance."""
        return max(self.ecal.regions[-1].eta_max, self.hcal.regions[-1].eta_max)


def respond(particles: Particles, detector: Detector, seeds: Seeds) -> Candidates:
    """Return the particle-flow candidates of every event, by falling transverse momentum."""
    found, tracked = tracks(particles, detector.tracker, detector.hcal, detector.ecal, seeds)
    foreign = np.abs(found.dz) > detector.charged_pile_up_dz_cm
    found = found.take(~(foreign & found.pile_up))
    rest = particles.take(~tracked & reaches_calorimeter(particles, detector.tracker))
    electromagnetic = np.isin(np.abs(rest.pdg_id), (11, 22))
    muon = np.abs(rest.pdg_id) == 13
    photons = clusters(rest.take(electromagnetic), detector.ecal, 22, seeds)
    hadrons = clusters(rest.take(~electromagnetic & ~muon), detector.hcal, 130, seeds)
    return concatenate([found, photons, hadrons]).by_falling_pt()


def reaches_calorimeter(particles: Particles, tracker: Tracker) -> np.ndarray:
    """Tell which particles the field does not curl up before the calorimeters."""
    return (particles.charge == 0) | (particles.pt > tracker.curl_up_pt_gev)
