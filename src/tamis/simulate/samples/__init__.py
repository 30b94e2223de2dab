"""Simulated samples of arrays, with one row per calorimeter channel, cluster or wire patch."""

from tamis.simulate.samples.sample import ARRAY_SAMPLES, ArraySample, simulate_sample

__all__ = ["ARRAY_SAMPLES", "ArraySample", "simulate_sample"]
