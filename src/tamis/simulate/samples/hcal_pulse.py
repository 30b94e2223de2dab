"""The shape of a pulse in a hadron calorimeter's channel, and its fraction in each time sample."""

from __future__ import annotations

import numpy as np

TIME_SAMPLES = 8
IN_TIME = 3  # the sample, and the crossing, of the triggered collision
CROSSINGS = 8  # bunch crossings whose pulses reach into the samples
SAMPLE_NS = 25.0
RISE_NS, FALL_NS = 4.0, 13.0
ARRIVAL_NS = 4.0  # after the start of a sample


def fractions(shift_ns: np.ndarray) -> np.ndarray:
    """Return the fraction of each pulse in each sample, for delays (..., crossings): (..., crossings, samples)."""
    crossing = np.arange(CROSSINGS, dtype=np.float64)
    begin = SAMPLE_NS * crossing + ARRIVAL_NS + shift_ns
    edges = SAMPLE_NS * np.arange(TIME_SAMPLES + 1)
    return np.diff(cumulative(edges - begin[..., None]), axis=-1)


def cumulative(time_ns: np.ndarray) -> np.ndarray:
    """Return the fraction of a pulse before a time: the integral of (1 - exp(-t/rise)) exp(-t/fall)."""
    t = np.maximum(time_ns, 0.0)
    both = 1.0 / (1.0 / RISE_NS + 1.0 / FALL_NS)
    whole = FALL_NS - both
    return (FALL_NS * (1.0 - np.exp(-t / FALL_NS)) - both * (1.0 - np.exp(-t / both))) / whole
