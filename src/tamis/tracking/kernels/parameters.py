"""Track parameters at the first hit of a seed, from the circle through its three hits."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.tracking.kernels.body import loop
from tamis.tracking.kernels.helix import start_from_points


@loop
def estimate_parameters(seeds: Any, position: Any, states: Any) -> None:
    """Write the state of each seed."""
    for n in range(len(seeds)):
        k = np.uintp(n)
        first, second, third = np.uintp(seeds[k, 0]), np.uintp(seeds[k, 1]), np.uintp(seeds[k, 2])
        start_from_points(states[k], position[first], position[second], position[third])
