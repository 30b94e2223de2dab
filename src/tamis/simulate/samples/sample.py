"""The samples of arrays, simulated block by block from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tamis._base import UsageError, did_you_mean
from tamis.simulate.samples import argon_patches, ecal, hcal
from tamis.simulate.seeds import Seeds

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ArraySample:
    """A type of sample; `make` returns a number of rows of every array."""

    name: str
    description: str
    rows: str  # what one row is
    number: int  # part of the seed
    block: int  # rows simulated together; results depend on it as on the seed
    make: Callable[[int, Seeds], Arrays]


ARRAY_SAMPLES = {
    sample.name: sample
    for sample in (
        ArraySample(
            "hcal-channels",
            "channels of a hadron calorimeter: eight time samples of a pulse with pile-up of other crossings",
            "channels",
            201,
            16_000,
            hcal.make_channels,
        ),
        ArraySample(
            "wire-patches",
            "patches of a wire plane of a liquid-argon chamber about hits of tracks, showers and Michel electrons",
            "patches",
            202,
            1000,
            argon_patches.make_patches,
        ),
        ArraySample(
            "ecal-clusters",
            "photons in a crystal calorimeter: 15 x 15 crystals with leakage, gaps, conversions, dead crystals and pile-up",
            "clusters",
            203,
            2000,
            ecal.make_clusters,
        ),
    )
}


def simulate_sample(name: str, n: int, *, seed: int = 1) -> Iterator[Arrays]:
    """Yield `n` rows in blocks; a longer sample with the same seed begins with the same rows."""
    if name not in ARRAY_SAMPLES:
        raise UsageError(f"no sample is called {name!r}; {did_you_mean(name, ARRAY_SAMPLES)}".rstrip("; "))
    if n < 1:
        raise UsageError(f"the number of rows is {n}; it must be at least 1")
    if seed < 0:
        raise UsageError(f"the seed is {seed}; it must be 0 or more")
    return _blocks(ARRAY_SAMPLES[name], n, seed)


def _blocks(sample: ArraySample, n: int, seed: int) -> Iterator[Arrays]:
    for block in range(-(-n // sample.block)):
        # Always a whole block, so that its first rows do not depend on n.
        arrays = sample.make(sample.block, Seeds(seed, sample.number, block))
        yield {name: values[: n - block * sample.block] for name, values in arrays.items()}
