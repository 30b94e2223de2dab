"""Track parameters at the first hit of a seed, from the circle through its three hits."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop
from tamis.tracking.kernels.field import start_in_field


@body
def start_seed(
    k: Any, seeds: Any, cluster_of: Any, position: Any, field: Any, rows: Any, states: Any
) -> None:
    """Write the clusters and the state of seed `k`."""
    for axis in range(3):
        rows[k, axis] = cluster_of[np.uintp(seeds[k, axis])]
    first, second, third = np.uintp(rows[k, 0]), np.uintp(rows[k, 1]), np.uintp(rows[k, 2])
    start_in_field(states[k], position[first], position[second], position[third], field)


@loop
def estimate_parameters(
    seeds: Any, cluster_of: Any, position: Any, field: Any, rows: Any, states: Any
) -> None:
    """Write the clusters and the state of each seed."""
    for n in range(len(seeds)):
        start_seed(np.uintp(n), seeds, cluster_of, position, field, rows, states)
