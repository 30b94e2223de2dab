"""Random streams, one per seed, process, block of events and purpose, so that the order of work has no effect."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

PYTHIA_SEED_MAX = 900_000_000


@dataclass(frozen=True)
class Seeds:
    """The source of all randomness of one block."""

    seed: int
    process: int
    block: int

    def _sequence(self, purpose: str) -> np.random.SeedSequence:
        return np.random.SeedSequence((self.seed, self.process, self.block, zlib.crc32(purpose.encode())))

    def stream(self, purpose: str) -> np.random.Generator:
        """Return the random generator for one purpose.

        If a purpose draws in event order, the numbers of the first events do not depend on how many events follow.
        """
        return np.random.default_rng(self._sequence(purpose))

    def pythia(self, purpose: str) -> int:
        """Return the seed for Pythia."""
        return int(self._sequence(purpose).generate_state(1, np.uint64)[0] % PYTHIA_SEED_MAX) + 1
