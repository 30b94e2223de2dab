"""Random streams, one per seed, process, block of events and purpose, so that the order of work has no effect."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

PYTHIA_SEED_MAX = 900_000_000


@dataclass(frozen=True)
class Seeds:
    """The source of all randomness of one block."""

    seed: int
    process: int
    block: int
    parts: tuple[int, ...] = ()

    def part(self, *numbers: int) -> Seeds:
        """Return the source of a part of the block, independent of those of other parts."""
        return replace(self, parts=(*self.parts, *numbers))

    def _sequence(self, purpose: str) -> np.random.SeedSequence:
        number = zlib.crc32(purpose.encode())
        return np.random.SeedSequence((self.seed, self.process, self.block, *self.parts, number))

    def stream(self, purpose: str) -> np.random.Generator:
        """Return the random generator for one purpose.

        If a purpose draws in event order, the numbers of the first events do not depend on how many events follow.
        """
        return np.random.default_rng(self._sequence(purpose))

    def pythia(self, purpose: str) -> int:
        """Return the seed for Pythia."""
        return int(self._sequence(purpose).generate_state(1, np.uint64)[0] % PYTHIA_SEED_MAX) + 1
