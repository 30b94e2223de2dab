"""What samples there are, and making one: block by block, from the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tamis._base import UsageError, did_you_mean
from tamis.simulate.samples import argon_patches, ecal, hcal
from tamis.simulate.seeds import Seeds

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """A kind of sample: `make` gives so many rows of every array."""

    name: str
    description: str
    rows: str  # what a row is of
    number: int  # part of the seed
    block: int  # rows that are made together; part of what a seed means
    make: Callable[[int, Seeds], Arrays]


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample(
            "hcal-channels",
            "channels of a hadron calorimeter: eight time samples of a pulse with pile-up of other crossings",
            "channels",
            201,
            16_000,
            hcal.make_channels,
        ),
        Sample(
            "wire-patches",
            "patches of a wire plane of a liquid-argon chamber about hits of tracks, showers and Michel electrons",
            "patches",
            202,
            1000,
            argon_patches.make_patches,
        ),
        Sample(
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
    """Make `n` rows, block by block; more rows with the same seed begin with the same ones."""
    if name not in SAMPLES:
        raise UsageError(f"no sample is called {name!r}; {did_you_mean(name, SAMPLES)}".rstrip("; "))
    if n < 1:
        raise UsageError(f"{n} rows were asked for; it takes at least 1")
    if seed < 0:
        raise UsageError(f"the seed is {seed}; it has to be 0 or more")
    return _blocks(SAMPLES[name], n, seed)


def _blocks(sample: Sample, n: int, seed: int) -> Iterator[Arrays]:
    for block in range(-(-n // sample.block)):
        made = sample.make(sample.block, Seeds(seed, sample.number, block))
        left = (
            n - block * sample.block
        )  # a block is made whole: its first rows do not hang on how many are wanted
        yield {name: values[:left] for name, values in made.items()}
