"""Pythia 8, as a function from a seed to flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import awkward as ak
import numpy as np

from tamis._base import UsageError, require

# A fixed seed: the initialisation samples the phase space with random numbers.
COMMON_LINES = ("Print:quiet=on", "Random:setSeed=on", "Random:seed=1")
EMPTY_CALLS_MAX = 20
PB_PER_MB = 1e9
HARD_PROCESS_ALONE = ("PartonLevel:all=off", "HadronLevel:all=off")
CROSS_SECTION_COLLISIONS = 5000  # for an error of about 1 %


@dataclass(frozen=True)
class GeneratorRecord:
    """The full event records of some collisions: flat arrays with one entry per particle, and offsets."""

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

    @property
    def pt_hat_gev(self) -> np.ndarray:
        """Return the transverse momentum of the hardest scatter of each collision."""
        pt_hat: np.ndarray = np.sqrt(np.maximum(self.info["pT2Hat"], 0.0))
        return pt_hat

    @cached_property
    def collision(self) -> np.ndarray:
        """Return the index of each particle's collision."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


class Generator:
    """An initialised Pythia, reseeded in every call, so that results do not depend on earlier calls."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        """Initialise Pythia; a line that it rejects raises `UsageError`."""
        self._lines = lines
        self._pythia = _initialised(lines)

    @cached_property
    def cross_section_pb(self) -> float:
        """Return the cross-section of the process, from hard processes of a fixed seed: that of a block would depend on its size."""
        alone = _initialised((*self._lines, *HARD_PROCESS_ALONE))
        alone.nextBatch(CROSS_SECTION_COLLISIONS, "skip")
        return float(alone.infoPython().sigmaGen()) * PB_PER_MB

    def __call__(self, n: int, seed: int) -> GeneratorRecord:
        """Return exactly n collisions; one that Pythia fails to generate is replaced by the next of the same stream."""
        self._pythia.rndm.init(seed)
        batches: list[ak.Array] = []
        missing, empty = n, 0
        while missing > 0:
            batch = self._pythia.nextBatch(missing, "skip")
            batches.append(batch)
            missing -= len(batch)
            empty = 0 if len(batch) else empty + 1
            if empty == EMPTY_CALLS_MAX:
                raise UsageError(
                    "Pythia generates no event with these settings: the phase space may be empty, check masses and pT-hat"
                )
        return _record(batches[0] if len(batches) == 1 else ak.concatenate(batches))

    def charges(self, pdg_id: np.ndarray) -> np.ndarray:
        """Return the electric charges of particles, in units of e."""
        known, inverse = np.unique(pdg_id, return_inverse=True)
        charge = [round(self._pythia.particleData.charge(int(number))) for number in known]
        return np.asarray(charge, np.int32)[inverse]


def _initialised(lines: tuple[str, ...]) -> Any:
    """Return an initialised Pythia; a line that it rejects raises `UsageError`."""
    module = require("pythia8mc", extra="simulate", purpose="simulating collisions")
    pythia = module.Pythia("", False)
    for line in (*COMMON_LINES, *lines):
        if not pythia.readString(line):
            raise UsageError(f"Pythia does not know the setting {line!r}")
    if not pythia.init():
        raise UsageError(f"Pythia cannot be initialised with {', '.join(lines)}")
    return pythia


@lru_cache(maxsize=8)
def generator(lines: tuple[str, ...]) -> Generator:
    """Return a cached Pythia for some settings; initialising takes about a second."""
    return Generator(lines)


def _record(batch: ak.Array) -> GeneratorRecord:
    particles = ak.flatten(batch.prt)
    return GeneratorRecord(
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
