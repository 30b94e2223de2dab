"""Pythia 8, as a function from a seed to flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import awkward as ak
import numpy as np

from tamis._base import UsageError, require

# The random numbers of the initialisation (it samples the phase space) are the same in every process.
ALWAYS = ("Print:quiet=on", "Random:setSeed=on", "Random:seed=1")
MOST_EMPTY_CALLS = 20


@dataclass(frozen=True)
class Record:
    """The full event records of a number of collisions: flat arrays, one entry per particle, and offsets."""

    offsets: np.ndarray
    pdg_id: np.ndarray
    status: np.ndarray
    mother: np.ndarray
    daughter1: np.ndarray
    daughter2: np.ndarray
    momentum: np.ndarray  # (4, particles): px, py, pz, E in GeV
    mass: np.ndarray
    vertex: np.ndarray  # (3, particles): x, y, z of production in mm
    info: dict[str, np.ndarray]  # per collision

    def __len__(self) -> int:
        """Return the number of collisions."""
        return len(self.offsets) - 1

    @cached_property
    def collision(self) -> np.ndarray:
        """Return the collision that each particle belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


class Generator:
    """One initialised Pythia, reseeded for every request: what it made before does not show."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        """Initialise Pythia, or say which line it refuses."""
        module = require("pythia8mc", extra="simulate", purpose="simulating collisions")
        self._pythia: Any = module.Pythia("", False)
        for line in (*ALWAYS, *lines):
            if not self._pythia.readString(line):
                raise UsageError(f"Pythia does not know the setting {line!r}")
        if not self._pythia.init():
            raise UsageError(f"Pythia cannot be initialised with {', '.join(lines)}")

    def __call__(self, n: int, seed: int) -> Record:
        """Make exactly n collisions; one that Pythia gives up is replaced by the next of the same stream."""
        self._pythia.rndm.init(seed)
        made: list[ak.Array] = []
        missing, empty = n, 0
        while missing > 0:
            batch = self._pythia.nextBatch(missing, "skip")
            made.append(batch)
            missing -= len(batch)
            empty = 0 if len(batch) else empty + 1
            if empty == MOST_EMPTY_CALLS:
                raise UsageError("Pythia makes no event with these settings: is the phase space empty?")
        return _record(made[0] if len(made) == 1 else ak.concatenate(made))

    def charges(self, pdg_id: np.ndarray) -> np.ndarray:
        """Return the electric charges of particles, in units of e."""
        known, inverse = np.unique(pdg_id, return_inverse=True)
        charge = [round(self._pythia.particleData.charge(int(number))) for number in known]
        return np.asarray(charge, np.int32)[inverse]


@lru_cache(maxsize=4)
def generator(lines: tuple[str, ...]) -> Generator:
    """Return this process's Pythia for some settings; initialising takes about a second."""
    return Generator(lines)


def _record(batch: ak.Array) -> Record:
    particles = ak.flatten(batch.prt)
    return Record(
        offsets=np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(batch.prt)))]).astype(np.int64),
        pdg_id=ak.to_numpy(particles.id),
        status=ak.to_numpy(particles.status),
        mother=ak.to_numpy(particles.mother1),
        daughter1=ak.to_numpy(particles.daughter1),
        daughter2=ak.to_numpy(particles.daughter2),
        momentum=np.stack([ak.to_numpy(particles.p[axis]) for axis in ("px", "py", "pz", "e")]),
        mass=ak.to_numpy(particles.m),
        vertex=np.stack(
            [ak.to_numpy(ak.fill_none(particles.vProd[axis], 0.0)) for axis in ("px", "py", "pz")]
        ),
        info={name: ak.to_numpy(batch.info[name]) for name in ("id1", "id2", "x1", "x2", "Q2Fac", "pT2Hat")}
        | {"weight": ak.to_numpy(batch.info.weights[:, 0])},
    )
