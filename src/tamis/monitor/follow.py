"""Judging blocks one after the other: scores, references that follow the good ones, and what a block is declared to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tamis.monitor.alarms import APART_S, LEAST_EVENTS, StepAlarm, find_alarms, weight_of_events
from tamis.monitor.features import ObservedBlock, steps_have, without_steps
from tamis.monitor.model import ModeLimits
from tamis.monitor.sums import BlockKey
from tamis.monitor.template import BETWEEN, LATER, STEP, WITHIN, weight_of
from tamis.monitor.watch import Watch

State = Literal["good", "bad", "unscored", "no data", "no beam", "unknown mode"]
EVENTS_MIN, STEPS_MIN = 1000, 3  # of a block that can be judged
AGAIN_AFTER = 3  # flagged blocks, after which a new reference may begin
OLD_AFTER = 10  # flagged blocks, after which the reference counts as old: the stream goes on changing slowly
DOUBTED, BRIEFLY_DOUBTED = (
    60,
    10,
)  # good blocks, after which a level that came after a fault counts as the usual one
BACK_WITHIN = 2.0  # from the reference before a fault, which may be as old as the fault is long
CLOSER = 0.5  # ratio of the scores against the reference before a fault and the one after it: the fault is over below
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
    limit: int


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
    alarms: tuple[StepAlarm, ...] = ()
    old: int = 0  # blocks since the reference, while they are bad
    mode: int = 0
    compared: int = WITHIN  # with what: the recent blocks of its run, those of the last run, an old reference

    @property
    def severity(self) -> float:
        """Return the largest of the scores of the block, its bursts and its alarms, each over its limit."""
        bursts = [one.number / one.limit for one in self.bursts]
        return max([self.score, *bursts, *(one.score for one in self.alarms)])


@dataclass(frozen=True)
class Distance:
    """How far a block is from its reference."""

    score: float  # over its limit
    residual: np.ndarray
    change: np.ndarray


@dataclass
class ModeState:
    """What is remembered of a mode."""

    reference: np.ndarray
    before: np.ndarray  # the reference at the end of the last run
    run: int
    begun: float = 0.0  # how far the first block of the run was from that, over its limit
    age: int = 0
    flagged: int = 0  # blocks in a row
    alarmed: bool = False  # at the end of the last block
    doubted: int = 0  # good blocks for which `earlier` is kept
    earlier: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.float32)
    )  # the reference before the last fault, of which it may keep a part


class BlockJudge:
    """Judges the blocks of a stream in the order of time."""

    def __init__(
        self, watch: Watch, step: Step, limits: Mapping[int, ModeLimits], *, follows: bool = True
    ) -> None:
        """Begin without a memory: if the reference follows the stream, the first block of a mode cannot be judged."""
        self._watch, self._step, self._limits, self._follows = watch, step, limits, follows
        self._on_steps = steps_have(watch)
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
        if not self._follows:
            zero = np.zeros(len(block.features), np.float32)
            return self._compare(block, zero, limits, WITHIN)[0]
        state = self.states.get(block.mode)
        if state is None or (state.run != block.key[0] and state.flagged > STALE_AFTER):
            if block.events < WHOLE * limits.events:
                return Verdict(
                    block.key, "unscored", reason="it is short, and there is nothing to compare it with"
                )
            self._begin(compared_part(block, self._watch, self._bursts(block, limits)), limits)
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
            state.earlier = state.earlier[:0]
        how = BETWEEN if state.age == 0 else LATER if state.flagged >= OLD_AFTER else WITHIN
        verdict, residual = self._compare(
            block, state.reference, limits, how, state.flagged, lasting=state.alarmed
        )
        if (
            verdict.score > 1
            and how != BETWEEN
            and len(state.earlier)
            and self._is_back(block, state, limits)
        ):
            state.reference, state.earlier, state.age, state.flagged = state.earlier, state.earlier[:0], 0, 0
            verdict, residual = self._compare(block, state.reference, limits, LATER, lasting=False)
            if verdict.score > 1:  # it has changed slowly since then: a new reference begins with this block
                state.reference, state.age = self._moved(residual, residual, 1.0), 1
                return verdict
        self._learn(state, block, limits, residual, verdict.score)
        state.alarmed = bool(verdict.alarms and verdict.alarms[-1].last >= block.step[-1] - APART_S)
        return verdict

    def _is_back(self, block: ObservedBlock, state: ModeState, limits: ModeLimits) -> bool:
        """Return whether a block is as those before the last fault were, and not only as far from them as from the later ones."""
        block = compared_part(block, self._watch, self._bursts(block, limits))
        if self._distance(block, state.earlier, limits, WITHIN).score <= 1:
            return True
        earlier, later = (
            self._distance(block, one, limits, LATER).score for one in (state.earlier, state.reference)
        )
        return earlier <= min(BACK_WITHIN, CLOSER * later)

    def _compare(
        self,
        block: ObservedBlock,
        reference: np.ndarray,
        limits: ModeLimits,
        how: int,
        old: int = 0,
        *,
        lasting: bool = False,
    ) -> tuple[Verdict, np.ndarray]:
        """Return the verdict on a block and its residual, given a reference that is `old` bad blocks old.

        Seconds with a burst are left out of its score, as they are vetoed in data: they say nothing of the others.
        """
        bursts = self._bursts(block, limits)
        block = compared_part(block, self._watch, bursts)
        distance = self._distance(block, reference, limits, how, lenient=not old)
        alarms = self._alarms(block, reference, limits, how, lasting=lasting)
        state: State = "bad" if distance.score > 1 or bursts or alarms else "good"
        verdict = Verdict(
            block.key,
            state,
            distance.score,
            "",
            distance.change,
            tuple(bursts),
            tuple(alarms),
            old,
            block.mode,
            how,
        )
        return verdict, distance.residual

    def _begin(self, block: ObservedBlock, limits: ModeLimits) -> None:
        zero = np.zeros(len(block.features), np.float32)
        reference = self._distance(block, zero, limits, BETWEEN).residual.astype(np.float32)
        self.states[block.mode] = ModeState(reference, reference, block.key[0], age=1)

    def _distance(
        self,
        block: ObservedBlock,
        reference: np.ndarray,
        limits: ModeLimits,
        how: int,
        *,
        lenient: bool = True,
    ) -> Distance:
        """Return how far a block is from a reference.

        `lenient` takes the smaller precision of a short block for its changes; after a bad block it would end a fault.
        """
        weight = weight_of_events(np.array([block.events if lenient else limits.events]), limits.events)
        found = self._run(block, block.features[None], reference, weight, how)
        limit = limits.between if how == BETWEEN else limits.within
        return Distance(float(np.ravel(found["score"])[0]) / limit, found["residual"][0], found["change"][0])

    def _alarms(
        self, block: ObservedBlock, reference: np.ndarray, limits: ModeLimits, how: int, *, lasting: bool
    ) -> list[StepAlarm]:
        """Return the alarms of the steps of a block; a stream without seconds has none."""
        steps = limits.steps
        if self._watch.second is None or steps is None:
            return []
        usable = block.step_events >= LEAST_EVENTS * steps.events
        values = np.zeros((len(block.step), len(self._on_steps)))
        values[:, self._on_steps] = block.step_features
        usable &= np.isfinite(values).all(axis=1)
        weight = weight_of_events(block.step_events, steps.events)
        found = self._run(block, np.where(usable[:, None], values, 0), reference, weight, STEP + how)
        scores = np.where(usable, np.ravel(found["score"]), 0)
        limit, pair = (steps.first, steps.first) if how == BETWEEN else (steps.alone, steps.pair)
        changes = found["change"][:, self._on_steps]
        return find_alarms(block.step, scores, changes, limit, pair, lasting=lasting)

    def _run(
        self, block: ObservedBlock, features: np.ndarray, reference: np.ndarray, weight: np.ndarray, how: int
    ) -> Mapping[str, np.ndarray]:
        rows = len(features)
        return self._step(
            {
                "features": features.astype(np.float32),
                "condition": np.full((rows, 1), block.condition, np.float32),
                "mode": np.full(rows, block.mode, np.int64),
                "reference": np.repeat(reference[None].astype(np.float32), rows, axis=0),
                "weight": weight[:, None].astype(np.float32),
                "compared": np.full(rows, how, np.int64),
            }
        )

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
                now = self._distance(block, state.reference, limits, WITHIN).score
                # If that is much, the fault may go on, and be as small as what changes slowly.
                state.doubted = DOUBTED if now > 1 else BRIEFLY_DOUBTED
                state.earlier, state.age = state.reference, 0
            elif state.age > state.doubted:
                state.earlier = state.earlier[:0]
            weight = weight_of(state.age)
            state.reference = self._moved(state.reference, residual, weight)
            state.age, state.flagged = state.age + 1, 0
            return
        state.flagged += 1
        if state.flagged < AGAIN_AFTER or block.events < WHOLE * limits.events:
            return  # a short block would be close to anything
        now = self._distance(block, state.before, limits, BETWEEN).score
        if now < min(1.0, CLOSER * state.begun):
            state.reference, state.age = self._moved(residual, residual, 1.0), 1
            state.flagged, state.begun = 0, now

    def _moved(self, reference: np.ndarray, residual: np.ndarray, weight: float) -> np.ndarray:
        """Return a reference that has moved towards the residual of a good block; with the weight 1 a new one begins."""
        return (reference + weight * (residual - reference)).astype(np.float32)

    def _bursts(self, block: ObservedBlock, limits: ModeLimits) -> list[Burst]:
        """Return the steps in which an event had too many of what is counted."""
        at = int(np.searchsorted(limits.most_edges, block.condition))
        found = []
        for k, count in enumerate(self._watch.counts):
            limit = limits.most[f"{count.region} {count.name}"][at]
            for row in np.flatnonzero(block.most[:, k] >= limit):
                number, second = int(block.most[row, k]), int(block.step[row])
                found.append(Burst(count.region, count.name, second, number, limit))
        return found


def compared_part(block: ObservedBlock, watch: Watch, bursts: Sequence[Burst]) -> ObservedBlock:
    """Return a block without the seconds of its bursts, if others are left."""
    burst = np.isin(block.step, [one.second for one in bursts])
    if not burst.any() or np.count_nonzero(~burst) < STEPS_MIN:
        return block
    return without_steps(block, watch, burst)


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


def unpacked_state(text: str, kind: type[ModeState] = ModeState) -> ModeState:
    """Return the memory of some text."""
    found = json.loads(text)
    reference, before, earlier = (
        np.array(found.pop(name), np.float32) for name in ("reference", "before", "earlier")
    )
    return kind(reference, before, earlier=earlier, **found)
