"""Simulated collisions: Pythia 8, a parametric detector, jets, in NanoAOD's names."""

from quickbeam.simulate.detector import Detector
from quickbeam.simulate.processes import PROCESSES, Process
from quickbeam.simulate.run import simulate
from quickbeam.simulate.samples import SAMPLES, Sample, simulate_sample
from quickbeam.simulate.settings import TUNES, Settings
from quickbeam.simulate.truth import Label

__all__ = [
    "PROCESSES",
    "SAMPLES",
    "TUNES",
    "Detector",
    "Label",
    "Process",
    "Sample",
    "Settings",
    "simulate",
    "simulate_sample",
]
