"""Faults of the detector and of the readout: what kinds there are, when they happen, and what they do to the clusters of a region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tamis.simulate.lar.beam import BEAMS, Blocks
from tamis.simulate.lar.regions import IS_ENDCAP, REGIONS

BURST = (0, 0)  # blocks


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault."""

    name: str
    defect: str  # the name that a shifter enters
    per_hour: float
    strength: tuple[float, float]  # uniform
    blocks: tuple[int, int] | None  # how long it lasts, None: to the end of the run
    quantities: tuple[str, ...]  # that move: n, Q, tau
    effects: Mapping[str, float] = field(default_factory=dict)  # on `Disturbance`, per strength
    everywhere: bool = False  # in all regions


KNOWN = (
    FaultKind("noise-burst", "SEVNOISEBURST", 1.0, (20, 500), BURST, ("Q", "n")),
    FaultKind("mini-burst", "SEVNOISEBURST", 5.0, (5, 30), BURST, ("Q", "n")),
    FaultKind("hv-trip", "HVTRIP", 0.12, (0.05, 0.20), (5, 25), ("Q", "n", "tau"), {"tripped": 1.0}),
    FaultKind("dead-board", "SEVCOVERAGE", 0.05, (0.01, 0.04), None, ("n",), {"rate": -1.0}),
    FaultKind("coverage", "SEVCOVERAGE", 0.05, (0.05, 0.15), None, ("n",), {"rate": -1.0}),
    FaultKind("desynchronisation", "BADTIMING", 0.12, (0.005, 0.03), (5, 60), ("tau",), {"late": 1.0}),
    FaultKind("noisy-channel", "SEVNOISYCHANNEL", 0.08, (0.0005, 0.004), None, ("Q",), {"noisy": 1.0}),
    FaultKind(
        "misconfiguration", "DATACORRUPT", 0.05, (0.02, 0.06), (5, 60), ("n", "Q"), {"rate": 1.0, "q": 0.5}, everywhere=True
    ),
)  # fmt: skip
HELD_OUT = (
    FaultKind("time-shift", "SEVUNKNOWN", 0.12, (0.1, 0.4), (5, 60), ("tau",), {"tau_shift": 1.0}),
    FaultKind("wide-times", "SEVUNKNOWN", 0.12, (0.03, 0.12), (5, 60), ("tau",), {"tau_width": 1.0}),
    FaultKind("gain-step", "SEVUNKNOWN", 0.12, (0.03, 0.10), (5, 60), ("Q",), {"q": 1.0}),
    FaultKind("hot-tower", "SEVUNKNOWN", 0.12, (0.02, 0.08), (5, 60), ("n",), {"rate": 1.0}),
    FaultKind("wrong-gain", "SEVUNKNOWN", 0.12, (0.01, 0.04), (5, 60), ("Q",), {"low_gain": 1.0}),
    FaultKind("ripple", "SEVUNKNOWN", 0.12, (0.04, 0.12), (5, 60), ("Q",), {"q": 1.0}),
)
KINDS = {kind.name: kind for kind in (*KNOWN, *HELD_OUT)}
FAULT_SETS = {"none": (), "known": KNOWN, "held-out": HELD_OUT}
BURST_S = (10e-6, 5e-3)
IN_ENDCAPS = 0.85  # of bursts
RIPPLE_S = 30.0


@dataclass(frozen=True)
class StreamFault:
    """One fault, as it was put in."""

    kind: str
    region: int  # -1: all of them
    begin_s: float
    end_s: float
    strength: float

    @property
    def defect(self) -> str:
        """Return the name that a shifter enters."""
        return KINDS[self.kind].defect

    @property
    def is_burst(self) -> bool:
        """Return whether the fault is over within milliseconds."""
        return KINDS[self.kind].blocks == BURST

    def share(self, at_s: np.ndarray) -> np.ndarray:
        """Return the strength at some times: 0 outside; a trip ramps back."""
        inside = (at_s >= self.begin_s) & (at_s < self.end_s)
        strength = np.full(len(at_s), self.strength)
        if self.kind == "hv-trip":
            strength *= np.clip((self.end_s - at_s) / (self.end_s - self.begin_s), 0, 1)
        if self.kind == "ripple":
            strength *= np.sin(2 * np.pi * (at_s - self.begin_s) / RIPPLE_S)
        return strength * inside


def draw_faults(
    kinds: tuple[FaultKind, ...], blocks: Blocks, random: np.random.Generator, rate: float = 1.0
) -> list[StreamFault]:
    """Return the faults of a stream by time; `rate` multiplies how often they happen."""
    found: list[StreamFault] = []
    ends = blocks.begin_s + blocks.seconds
    hours = blocks.seconds / 3600
    full = BEAMS[blocks.mode].luminosity
    for kind in kinds:
        is_burst = kind.blocks == BURST
        weight = hours * (blocks.luminosity / full if is_burst else 1.0)
        for block in np.flatnonzero(random.random(len(blocks)) < 1 - np.exp(-rate * kind.per_hour * weight)):
            begin = blocks.begin_s[block] + random.uniform(0, blocks.seconds[block])
            if is_burst:
                end = begin + float(np.exp(random.uniform(*np.log(BURST_S))))
            else:
                last = int(np.flatnonzero(blocks.run == blocks.run[block])[-1])
                if kind.blocks is not None:
                    last = min(
                        last, int(block) + int(random.integers(kind.blocks[0], kind.blocks[1] + 1)) - 1
                    )
                end = float(ends[last])
            endcap = random.random() < IN_ENDCAPS if kind.name == "noise-burst" else bool(random.integers(2))
            side = int(random.integers(2))
            region = -1 if kind.everywhere else 2 * endcap + side
            found.append(
                StreamFault(kind.name, region, float(begin), end, float(random.uniform(*kind.strength)))
            )
    return sorted(found, key=lambda fault: (fault.begin_s, fault.kind))


FACTORS, SHARES = ("rate", "q", "tau_width"), ("tau_shift", "tripped", "late", "noisy", "low_gain")


@dataclass(frozen=True)
class Disturbance:
    """What faults do to the clusters of each row and region; arrays are (rows, regions)."""

    rate: np.ndarray  # factor of the number of clusters
    q: np.ndarray  # factor of Q
    tau_width: np.ndarray  # factor
    tau_shift: np.ndarray  # ns
    tripped: np.ndarray  # share of clusters from cells with a lower voltage
    late: np.ndarray  # share of clusters of the crossing before or after
    noisy: np.ndarray  # further clusters of a noisy channel, as a share
    low_gain: np.ndarray  # share of clusters with the wrong gain


def disturb(faults: list[StreamFault], at_s: np.ndarray) -> Disturbance:
    """Return the effect of lasting faults at some times."""
    shape = len(at_s), len(REGIONS)
    columns = {name: np.ones(shape) for name in FACTORS} | {name: np.zeros(shape) for name in SHARES}
    for fault in faults:
        share = fault.share(at_s)[:, None]
        if fault.region < 0:
            share, where = share * np.where(IS_ENDCAP, 1.0, 0.7), slice(None)
        else:
            where = slice(fault.region, fault.region + 1)
        for name, size in KINDS[fault.kind].effects.items():
            if name in FACTORS:
                columns[name][:, where] *= 1 + size * share
            else:
                columns[name][:, where] += size * share
    return Disturbance(**columns)
