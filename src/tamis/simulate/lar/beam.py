"""The beam: fills of protons or lead ions, the luminosity of their blocks, and the clusters that collisions make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tamis.simulate.lar.regions import IS_ENDCAP, REGIONS

Mode = Literal["pp", "pbpb"]
MODES: tuple[Mode, ...] = ("pp", "pbpb")
BLOCK_S, SHORT_SHARE = 60, 0.03  # of blocks, which a new run or a change of the trigger ends early
EVENTS_PER_SECOND = 1000
GAP_S = (3600, 7200)  # between fills
FIRST_RUN = {"pp": 480_000, "pbpb": 490_000}


@dataclass(frozen=True)
class BeamMode:
    """One kind of collisions."""

    luminosity: float  # levelled, per cm2 and s
    mu: float  # collisions per crossing at that luminosity
    levelled_h: tuple[float, float]
    decay_h: tuple[float, float]
    fill_h: tuple[float, float]


BEAMS: dict[Mode, BeamMode] = {
    "pp": BeamMode(2e34, 61.0, (3, 10), (10, 16), (8, 15)),
    "pbpb": BeamMode(6e27, 0.003, (1, 4), (4, 8), (5, 10)),
}


@dataclass(frozen=True)
class Blocks:
    """Luminosity blocks: one row each."""

    mode: Mode
    run: np.ndarray
    number: np.ndarray
    begin_s: np.ndarray  # since the begin of the stream
    seconds: np.ndarray
    luminosity: np.ndarray
    mu: np.ndarray

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.run)


def make_blocks(mode: Mode, hours: float, random: np.random.Generator) -> Blocks:
    """Return the blocks of consecutive fills, a run each, with `hours` of data altogether."""
    beam = BEAMS[mode]
    columns: list[tuple[float, ...]] = []
    left, now, run = 3600.0 * hours, 0, FIRST_RUN[mode]
    while left > 0:
        run += int(random.integers(1, 30))
        levelled, decay, length = (
            3600 * random.uniform(*span) for span in (beam.levelled_h, beam.decay_h, beam.fill_h)
        )
        since, number = 0, 1
        while since < length and left > 0:
            seconds = int(random.integers(5, BLOCK_S)) if random.random() < SHORT_SHARE else BLOCK_S
            seconds = max(1, min(seconds, int(np.ceil(left))))
            share = float(np.exp(-max(0.0, since - levelled) / decay))
            columns.append((run, number, now + since, seconds, share * beam.luminosity, share * beam.mu))
            since, number, left = since + seconds, number + 1, left - seconds
        now += since + int(random.integers(*GAP_S))
    run_, number_, begin, seconds_, luminosity, mu = np.array(columns).T
    return Blocks(
        mode, run_.astype(np.uint32), number_.astype(np.uint32), begin.astype(np.int64), seconds_.astype(np.int64), luminosity, mu
    )  # fmt: skip


def clusters_per_event(mode: Mode, mu: np.ndarray) -> np.ndarray:
    """Return the mean number of clusters of an event, (rows, regions); of lead ions that of all centralities."""
    if mode == "pbpb":
        return np.full((len(mu), len(REGIONS)), mean_centrality())
    slope = np.where(IS_ENDCAP, 14.0, 9.0)
    return 40.0 + slope * mu[:, None]


CLUSTERS_OF_IONS = (5.0, 2000.0)  # in a region, from the most peripheral to the most central collision


def mean_centrality() -> float:
    """Return the mean number of clusters of a region in collisions of ions, which are distributed as 1 / x."""
    low, high = CLUSTERS_OF_IONS
    return float((high - low) / np.log(high / low))


def draw_centrality(events: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the summed mean clusters of a region over numbers of events."""
    low, high = CLUSTERS_OF_IONS
    logarithm = np.log(high / low)
    if (events == 1).all():
        return low * np.exp(logarithm * random.random(len(events)))
    mean = mean_centrality()
    variance = (high**2 - low**2) / (2 * logarithm) - mean**2
    drawn: np.ndarray = random.gamma(events * mean**2 / variance, variance / mean)
    return drawn
