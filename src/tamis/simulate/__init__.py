"""Simulated collisions: Pythia 8, a parametric detector, jets, in NanoAOD's names."""

from tamis.simulate.detector import Detector
from tamis.simulate.processes import PROCESSES, Process
from tamis.simulate.run import simulate
from tamis.simulate.samples import SAMPLES, Sample, simulate_sample
from tamis.simulate.settings import TUNES, Settings
from tamis.simulate.truth import Label

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
