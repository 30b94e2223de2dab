"""When requests come that wait for nobody."""

from __future__ import annotations

import numpy as np


def poisson_arrivals_ns(rate_hz: float, seconds: float, seed: int) -> np.ndarray:
    """Return when requests come, in nanoseconds from the beginning."""
    rng = np.random.default_rng(seed)
    expected = rate_hz * seconds
    gaps = rng.exponential(1e9 / rate_hz, int(expected + 10 * expected**0.5 + 50))
    times = np.cumsum(gaps)
    return times[times < seconds * 1e9].astype(np.int64)
