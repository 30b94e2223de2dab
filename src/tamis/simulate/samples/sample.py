"""The samples of arrays, simulated block by block from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tamis._base import UsageError, did_you_mean
from tamis.simulate.parallel import check_simulation, in_order
from tamis.simulate.samples import argon_patches, ecal, hcal, jets_hlf
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
    collisions: bool = False  # simulated from collisions, which needs Pythia and FastJet


@dataclass(frozen=True)
class ArrayTask:
    """The parameters of one block."""

    sample: str
    seed: int
    block: int
    rows: int  # of the block that are kept


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
        ArraySample(
            "jets-hlf",
            "jets of gluons, quarks, W, Z and top near 1 TeV: sixteen high-level features of the groomed jet",
            "jets",
            204,
            500,
            jets_hlf.make_jets,
            collisions=True,
        ),
    )
}


def simulate_sample(name: str, n: int, *, seed: int = 1, workers: int = 1) -> Iterator[Arrays]:
    """Yield `n` rows in blocks, which do not depend on the number of workers.

    A longer sample with the same seed begins with the same rows. With several workers, which are spawned, the calling script
    needs the usual `if __name__ == "__main__":`.
    """
    if name not in ARRAY_SAMPLES:
        raise UsageError(f"no sample is called {name!r}; {did_you_mean(name, ARRAY_SAMPLES)}".rstrip("; "))
    sample = ARRAY_SAMPLES[name]
    check_simulation(n, "rows", seed, workers, collisions=sample.collisions)
    tasks = (
        ArrayTask(name, seed, block, min(sample.block, n - block * sample.block))
        for block in range(-(-n // sample.block))
    )
    return in_order(make_array_block, tasks, workers if n > sample.block else 1)


def make_array_block(task: ArrayTask) -> Arrays:
    """Return the arrays of one block; a whole one is simulated, so that its first rows do not depend on their number."""
    sample = ARRAY_SAMPLES[task.sample]
    arrays = sample.make(sample.block, Seeds(task.seed, sample.number, task.block))
    return {name: values[: task.rows] for name, values in arrays.items()}
