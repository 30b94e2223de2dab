"""Judging blocks long after the reference: what has changed slowly since then is distinguished from a fault that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tamis.monitor.features import ObservedBlock
from tamis.monitor.follow import BlockJudge, ModeState, Verdict, unpacked_state

# A block whose score is above this share of the worst one of a fault is not good again, however old the state is ...
RECOVERED = 1 / 3
DRIFTED = 3.0  # ... unless it is closer than this, in units of the limit: good blocks drift as far


@dataclass
class RecoveringState(ModeState):
    """What is remembered of a mode, and the worst score since the last good block."""

    worst: float = 0.0


class RecoveringJudge(BlockJudge):
    """Remembers how bad a fault was, and does not call it over because its reference is old."""

    def remember(self, memory: Mapping[int, str]) -> None:
        """Take up what was remembered."""
        self.states = {mode: unpacked_state(text, RecoveringState) for mode, text in memory.items()}

    def judge(self, block: ObservedBlock) -> Verdict:
        """Return the verdict on a block; a good one moves the state."""
        verdict = super().judge(block)
        state = self.states.get(block.mode)
        if isinstance(state, RecoveringState) and verdict.state in ("good", "bad"):
            state.worst = max(state.worst, verdict.score) if state.flagged else 0.0
        return verdict

    def goes_on(self, block: ObservedBlock, near: float) -> bool:
        """Return whether a fault goes on, given the score that a recent reference would give, over its limit."""
        state = self.states.get(block.mode)
        return isinstance(state, RecoveringState) and near > max(DRIFTED, RECOVERED * state.worst)
