"""The shape of a pulse in a hadron calorimeter's channel, and what share of it falls into each time sample."""

from __future__ import annotations

import numpy as np

SAMPLES = 8
IN_TIME = 3  # the sample, and the crossing, that is read out
CROSSINGS = 8  # those before and after it whose pulses reach into the samples
SAMPLE_NS = 25.0
RISE_NS, FALL_NS = 4.0, 13.0
ARRIVAL_NS = 4.0  # after the beginning of a sample


def fractions(shift_ns: np.ndarray) -> np.ndarray:
    """Return for pulses (..., crossings) that come late by so much the share of each sample: (..., crossings, samples)."""
    crossing = np.arange(CROSSINGS, dtype=np.float64)
    begin = SAMPLE_NS * crossing + ARRIVAL_NS + shift_ns
    edges = SAMPLE_NS * np.arange(SAMPLES + 1)
    return np.diff(cumulative(edges - begin[..., None]), axis=-1)


def cumulative(time_ns: np.ndarray) -> np.ndarray:
    """Return the share of a pulse that has come after so long: (1 - exp(-t/rise)) exp(-t/fall), integrated."""
    t = np.maximum(time_ns, 0.0)
    both = 1.0 / (1.0 / RISE_NS + 1.0 / FALL_NS)
    whole = FALL_NS - both
    return (FALL_NS * (1.0 - np.exp(-t / FALL_NS)) - both * (1.0 - np.exp(-t / both))) / whole
