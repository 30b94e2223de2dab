"""Blocks of events of a silicon tracker: their particles, their identity, and how columns become events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import awkward as ak
import numpy as np

from tamis.events import Events
from tamis.events.detector import DetectorFiles
from tamis.simulate.processes import PROCESSES
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon.primaries import GUNS, TrackSample, make_primaries, pile_up_collisions
from tamis.simulate.silicon.transport import Primaries

TRACK_BLOCK_EVENTS = 4  # events depend on it as they do on the seed
SAMPLE_NUMBER = 300  # part of the seed, with that of the process
RUN_NUMBERS = 2**32


@dataclass(frozen=True)
class TrackBlock:
    """The parameters of one block of events."""

    sample: TrackSample
    seed: int
    block: int
    events: int
    detector: DetectorFiles

    @property
    def seeds(self) -> Seeds:
        """The source of the randomness of the block."""
        process = self.sample.process
        known = process in PROCESSES
        number = PROCESSES[process].number if known else 100 + list(GUNS).index(process)
        return Seeds(self.seed, SAMPLE_NUMBER + number, self.block)

    def particles(self) -> list[tuple[Primaries, np.ndarray]]:
        """Return the particles of each event, and the collision of each particle."""
        primaries, event, collision = make_primaries(self.sample, TRACK_BLOCK_EVENTS, self.seeds)
        result = []
        for k in range(self.events):
            rows = np.flatnonzero(event == k)
            names = ("pdg_id", "charge", "vertex", "momentum")
            result.append((Primaries(*(getattr(primaries, name)[rows] for name in names)), collision[rows]))
        return result

    def identity(self) -> dict[str, np.ndarray]:
        """Return the columns of events that say which they are."""
        first = self.block * TRACK_BLOCK_EVENTS + 1
        pile_up = pile_up_collisions(self.sample, TRACK_BLOCK_EVENTS, self.seeds)[: self.events]
        return {
            "run": np.full(self.events, self.seed % RUN_NUMBERS, np.uint32),
            "luminosityBlock": np.ones(self.events, np.uint32),
            "event": np.arange(first, first + self.events, dtype=np.uint64),
            "Pileup_nPU": pile_up.astype(np.int32),
            "Pileup_nTrueInt": np.full(self.events, self.sample.mu, np.float32),
        }


def track_blocks(sample: TrackSample, n: int, seed: int, detector: DetectorFiles) -> list[TrackBlock]:
    """Return the blocks of n events."""
    return [
        TrackBlock(sample, seed, block, min(TRACK_BLOCK_EVENTS, n - block * TRACK_BLOCK_EVENTS), detector)
        for block in range(-(-n // TRACK_BLOCK_EVENTS))
    ]


def track_events(blocks: Sequence[TrackBlock], columns: Sequence[Mapping[str, np.ndarray]]) -> Events:
    """Return the events of some blocks from the columns of each event."""
    identities = [block.identity() for block in blocks]
    identity = {name: np.concatenate([one[name] for one in identities]) for name in identities[0]}
    jagged = {
        name: ak.unflatten(
            np.concatenate([one[name] for one in columns]), [len(one[name]) for one in columns]
        )
        for name in columns[0]
    }
    return Events.of(identity | jagged)
