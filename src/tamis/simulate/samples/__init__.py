"""Simulated samples that are no collisions: channels, clusters, wire patches, as arrays with a row each."""

from tamis.simulate.samples.sample import SAMPLES, Sample, simulate_sample

__all__ = ["SAMPLES", "Sample", "simulate_sample"]
