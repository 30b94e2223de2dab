"""Judging blocks one after the other: scores, references that follow the good ones, and what a block is declared to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tamis.monitor.features import ObservedBlock
from tamis.monitor.model import ModeLimits
from tamis.monitor.sums import BlockKey
from tamis.monitor.template import BETWEEN, LATER, WITHIN, weight_of
from tamis.monitor.watch import Watch

State = Literal["good", "bad", "unscored", "no data", "no beam", "unknown mode"]
EVENTS_MIN, STEPS_MIN = 1000, 3  # of a block that can be judged
AGAIN_AFTER = 3  # flagged blocks, after which a new reference may begin
OLD_AFTER = 10  # flagged blocks, after which the reference counts as old: the stream goes on changing slowly
WHOLE = 0.9  # of the events of a typical block
STALE_AFTER = 120  # flagged blocks, after which the reference is nothing to compare the next run with
Step = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Burst:
    """A step with an event that had too many of what is counted."""

    region: str
    name: str
    second: int
    number: int


@dataclass(frozen=True)
class Verdict:
    """What one block is declared to be."""

    key: BlockKey
    state: State
    score: float = 0.0  # over its limit: bad above 1
    reason: str = ""
    change: np.ndarray = field(
        default_factory=lambda: np.zeros(0)
    )  # of the features, in units of their scale
    bursts: tuple[Burst, ...] = ()
    old: int = 0  # blocks since the reference, while they are bad
    mode: int = 0


@dataclass
class ModeState:
    """What is remembered of a mode."""

    reference: np.ndarray
    before: np.ndarray  # the reference at the end of the last run
    run: int
    begun: float = 0.0  # how far the first block of the run was from that, over its limit
    age: int = 0
    flagged: int = 0  # blocks in a row


class BlockJudge:
    """Judges the blocks of a stream in the order of time."""

    def __init__(self, watch: Watch, step: Step, limits: Mapping[int, ModeLimits]) -> None:
        """Begin without a memory: the first block of a mode cannot be judged."""
        self._watch, self._step, self._limits = watch, step, limits
        self.states: dict[int, ModeState] = {}

    def memory(self) -> dict[int, str]:
        """Return what is remembered of each mode, as text."""
        return {mode: packed_state(state) for mode, state in self.states.items()}

    def remember(self, memory: Mapping[int, str]) -> None:
        """Take up what was remembered."""
        self.states = {mode: unpacked_state(text) for mode, text in memory.items()}

    def judge(self, block: ObservedBlock) -> Verdict:
        """Return the verdict on a block; a good one moves the reference."""
        if block.mode == 0:
            return Verdict(block.key, "no beam", reason="there is no beam")
        if block.mode not in self._limits:
            known = ", ".join(map(str, sorted(self._limits)))
            reason = f"the model was not trained for the beam mode {block.mode}, but for {known}"
            return Verdict(block.key, "unknown mode", reason=reason)
        reason = unusable(block)
        if reason:
            return Verdict(block.key, "unscored", reason=reason)
        limits = self._limits[block.mode]
        state = self.states.get(block.mode)
        if state is None or (state.run != block.key[0] and state.flagged > STALE_AFTER):
            if block.events < WHOLE * limits.events:
                return Verdict(
                    block.key, "unscored", reason="it is short, and there is nothing to compare it with"
                )
            self._begin(block, limits)
            known = (
                "the first block of its beam mode"
                if state is None
                else f"the first good block for {state.flagged} blocks"
            )
            return Verdict(
                block.key, "unscored", reason=f"it is {known}: there is nothing to compare it with"
            )
        if state.run != block.key[0]:
            state.before, state.run, state.age, state.flagged = state.reference, block.key[0], 0, 0
        is_first = state.age == 0
        old = state.flagged
        how = BETWEEN if is_first else LATER if state.flagged >= OLD_AFTER else WITHIN
        score, residual, change = self._score(block, state.reference, limits, how, lenient=not state.flagged)
        bursts = self._bursts(block, limits)
        self._learn(state, block, limits, residual, score)
        verdict: State = "bad" if score > 1 or bursts else "good"
        return Verdict(block.key, verdict, score, "", change, tuple(bursts), old, block.mode)

    def _begin(self, block: ObservedBlock, limits: ModeLimits) -> None:
        zero = np.zeros(len(block.features), np.float32)
        reference = self._score(block, zero, limits, BETWEEN)[1].astype(np.float32)
        self.states[block.mode] = ModeState(reference, reference, block.key[0], age=1)

    def _score(
        self,
        block: ObservedBlock,
        reference: np.ndarray,
        limits: ModeLimits,
        how: int,
        *,
        lenient: bool = True,
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the score over its limit, the residual and its change against a reference.

        `lenient` takes the smaller precision of a short block for its changes; after a bad block it would end a fault.
        """
        weight = min(1.0, float(np.sqrt(block.events / limits.events))) if lenient else 1.0
        found = self._step(
            {
                "features": block.features[None].astype(np.float32),
                "condition": np.array([[block.condition]], np.float32),
                "mode": np.array([block.mode], np.int64),
                "reference": reference[None].astype(np.float32),
                "weight": np.array([[weight]], np.float32),
                "compared": np.array([[how]], np.float32),
            }
        )
        limit = limits.between if how == BETWEEN else limits.within
        score = float(np.ravel(found["score"])[0]) / limit
        return score, found["residual"][0], found["change"][0]

    def _learn(
        self, state: ModeState, block: ObservedBlock, limits: ModeLimits, residual: np.ndarray, score: float
    ) -> None:
        """Let a good block move the reference; begin a new one where the run began with a fault that is over."""
        if state.age == 0 and not state.flagged:
            state.begun = score
        if score <= 1:
            if state.age == 0 and block.events < WHOLE * limits.events:
                return  # too short to be the reference of a run
            if state.flagged >= OLD_AFTER:
                state.age = 0
            weight = weight_of(state.age)
            state.reference = self._moved(state.reference, residual, weight)
            state.age, state.flagged = state.age + 1, 0
            return
        state.flagged += 1
        if state.flagged < AGAIN_AFTER:
            return
        now = self._score(block, state.before, limits, BETWEEN)[0]
        if now < min(1.0, state.begun):
            state.reference, state.age = self._moved(residual, residual, 1.0), 1
            state.flagged, state.begun = 0, now

    def _moved(self, reference: np.ndarray, residual: np.ndarray, weight: float) -> np.ndarray:
        """Return a reference that has moved towards the residual of a good block; with the weight 1 a new one begins."""
        return (reference + weight * (residual - reference)).astype(np.float32)

    def _bursts(self, block: ObservedBlock, limits: ModeLimits) -> list[Burst]:
        """Return the steps in which an event had too many of what is counted."""
        at = int(np.searchsorted(limits.most_edges, block.condition))
        return [
            Burst(count.region, count.name, int(block.step[row]), int(block.most[row, k]))
            for k, count in enumerate(self._watch.counts)
            for row in np.flatnonzero(block.most[:, k] >= limits.most[f"{count.region} {count.name}"][at])
        ]


def unusable(block: ObservedBlock) -> str:
    """Return why a block cannot be judged, nothing where it can."""
    if block.events < EVENTS_MIN or len(block.step) < STEPS_MIN:
        return f"it has {block.events} events in {len(block.step)} s: at least {EVENTS_MIN} events and {STEPS_MIN} s are needed"
    if block.broken:
        return f"{block.broken} values are not numbers"
    if not np.isfinite(block.features).all():
        return "a quantity has no values"
    return ""


def packed_state(state: ModeState) -> str:
    """Return a memory as text; float32 numbers come back as they were."""
    arrays = {
        name: [float(x) for x in value]
        for name, value in vars(state).items()
        if isinstance(value, np.ndarray)
    }
    return json.dumps(vars(state) | arrays)


def unpacked_state(text: str) -> ModeState:
    """Return the memory of some text."""
    found = json.loads(text)
    reference, before = (np.array(found.pop(name), np.float32) for name in ("reference", "before"))
    return ModeState(reference, before, **found)
