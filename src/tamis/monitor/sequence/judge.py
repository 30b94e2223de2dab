"""Judging blocks with a recurrent monitor: the step graph reads their steps, and a bad block does not change its state."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import numpy as np

from tamis.bundle import Bundle
from tamis.engines import NEXT, StatefulSession
from tamis.engines import open as open_session
from tamis.monitor.features import ObservedBlock, features_of
from tamis.monitor.follow import STEPS_MIN, Distance, ModeState, Step, Verdict
from tamis.monitor.model import ModeLimits, monitor_of
from tamis.monitor.sequence.document import SequenceModel, sequence_of
from tamis.monitor.sequence.old_reference import RecoveringJudge, RecoveringState
from tamis.monitor.sequence.scales import used_steps
from tamis.monitor.template import BETWEEN, LATER
from tamis.monitor.watch import Watch

STREAM = "block"
REMEMBERED_ARRAYS = ("reference", "before", "earlier")


class SequenceJudge(RecoveringJudge):
    """Judges as the template does, with the states of a recurrent network, one after the other, in the place of its reference."""

    def __init__(
        self,
        watch: Watch,
        step: Step,
        limits: Mapping[int, ModeLimits],
        model: SequenceModel,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        """Begin without a memory; `shapes` are those of the states."""
        super().__init__(watch, step, limits)
        self._model, self._shapes = model, dict(shapes)
        self._known = np.array([one.of != "unrest" for one in features_of(watch)])
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()]).tolist()
        self._parts = {
            name: slice(begin, end) for name, begin, end in zip(shapes, [0, *ends[:-1]], ends, strict=True)
        }
        self._size = ends[-1]
        self._within = {mode: one.parameters["within"].values() for mode, one in model.modes.items()}

    def memory(self) -> dict[int, str]:
        """Return what is remembered of each mode, as text."""
        return {mode: _packed(state) for mode, state in self.states.items()}

    def remember(self, memory: Mapping[int, str]) -> None:
        """Take up what was remembered."""
        self.states = {mode: _unpacked(text) for mode, text in memory.items()}

    def judge(self, block: ObservedBlock) -> Verdict:
        """Return the verdict on a block; a good one moves the state."""
        complete = len(used_steps(block)[0])
        if block.mode in self._limits and len(block.step) >= STEPS_MIN > complete:
            return Verdict(block.key, "unscored", reason=f"only {complete} of its steps have all quantities")
        return super().judge(block)

    def _begin(self, block: ObservedBlock, limits: ModeLimits) -> None:
        state = self._distance(block, np.zeros(self._size, np.float32), limits, BETWEEN).residual
        state = self._moved(state, state, 1.0)
        self.states[block.mode] = RecoveringState(state, state, block.key[0], age=1)

    def _distance(
        self,
        block: ObservedBlock,
        reference: np.ndarray,
        limits: ModeLimits,
        how: int,
        *,
        lenient: bool = True,
    ) -> Distance:
        """Return the score over its limit, the state after the block as its residual, and the mean error of its features."""
        features = used_steps(block)[0]
        steps = len(features)
        states = {name: reference[part].reshape(self._shapes[name]) for name, part in self._parts.items()}

        def column(value: float) -> np.ndarray:
            return np.full((steps, 1), value, np.float32)

        found = self._step(
            states
            | {
                "features": features,
                "condition": column(block.condition),
                "luminosity": column(block.luminosity),
                "mode": np.full(steps, block.mode, np.int64),
                "weight": (1 / np.arange(1, steps + 1, dtype=np.float32))[:, None],
                "compared": column(how),
            }
        )
        mode = self._model.modes[block.mode]
        share = min(1.0, block.events / limits.events) if lenient else 1.0
        distance = float(found["score"][-1, 0]) * share
        if how == LATER:
            # What changes slowly has changed since the state was left, and a fault that goes on must not count as such a change.
            near = float(np.square(found[NEXT + "mean_error"] @ self._within[block.mode]).sum()) * share
            if self.goes_on(block, near / limits.within):
                distance = near
        score = max(
            distance / (limits.between if how == BETWEEN else limits.within),
            _excess(float(found[NEXT + "scatter"][0]), mode.scatter),
            _excess(float(found[NEXT + "peak"][0]), mode.peak),
        )
        change = np.zeros(len(self._known))
        change[self._known] = found["change"][-1]
        after = np.concatenate([found[NEXT + name].ravel() for name in self._parts])
        return Distance(score, after, change)

    def _moved(self, reference: np.ndarray, residual: np.ndarray, weight: float) -> np.ndarray:
        """Return the state that follows; where a run begins, its running mean is that of its first block."""
        del reference
        after = residual.astype(np.float32)
        if weight == 1:
            mean = after[self._parts["prediction"]] + after[self._parts["mean_error"]]
            after[self._parts["reference"]] = mean
        return after


def _excess(value: float, usual_and_limit: tuple[float, float]) -> float:
    """Return how far a value is beyond the usual one, 1 at its limit."""
    usual, limit = usual_and_limit
    return (value - usual) / (limit - usual)


def block_step(session: StatefulSession) -> Step:
    """Return a function that takes the steps of a block, from a state: the outputs of each, and the state after the last."""

    def step(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        session.set_state(STREAM, {name: inputs[name] for name in session.states})
        found = session.steps(STREAM, **{name: inputs[name] for name in session.inputs})
        return found | {NEXT + name: value for name, value in session.state(STREAM).items()}

    return step


def open_sequence_judge(bundle: Bundle, engine: str = "auto") -> SequenceJudge:
    """Return the judge of the bundle of a recurrent monitor."""
    model, session = monitor_of(bundle), StatefulSession(open_session(bundle, engine))
    shapes = {name: value.shape for name, value in session.state(STREAM).items()}
    return SequenceJudge(model.watch, block_step(session), model.modes, sequence_of(bundle), shapes)


def _packed(state: ModeState) -> str:
    """Return a memory as text; float32 numbers come back as they were."""
    arrays = {
        name: base64.b64encode(getattr(state, name).astype("<f4").tobytes()).decode()
        for name in REMEMBERED_ARRAYS
    }
    return json.dumps(vars(state) | arrays)


def _unpacked(text: str) -> RecoveringState:
    """Return the memory of some text."""
    found = json.loads(text)
    reference, before, earlier = (
        np.frombuffer(base64.b64decode(found.pop(name)), "<f4").copy() for name in REMEMBERED_ARRAYS
    )
    return RecoveringState(reference, before, earlier=earlier, **found)
