"""Simulated collisions: Pythia 8, a parametric detector and jets, with NanoAOD's column names."""

from tamis.simulate.detector import Detector
from tamis.simulate.processes import PROCESSES, Process
from tamis.simulate.run import simulate
from tamis.simulate.samples import ARRAY_SAMPLES, ArraySample, simulate_sample
from tamis.simulate.settings import TUNES, SimulationSettings
from tamis.simulate.truth import Label

__all__ = [
    "ARRAY_SAMPLES",
    "PROCESSES",
    "TUNES",
    "ArraySample",
    "Detector",
    "Label",
    "Process",
    "SimulationSettings",
    "simulate",
    "simulate_sample",
]
