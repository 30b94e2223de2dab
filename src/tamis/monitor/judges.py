"""The judge of a bundle: what scores the blocks of a stream, and remembers what it needs for the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from tamis._base import BundleError
from tamis.bundle import Bundle
from tamis.engines import open as open_session
from tamis.monitor.detectors import DETECTORS
from tamis.monitor.features import ObservedBlock
from tamis.monitor.follow import BlockJudge, Step, Verdict
from tamis.monitor.model import monitor_of
from tamis.monitor.sequence.judge import open_sequence_judge
from tamis.monitor.sequence.student_judge import StudentJudge


class Judge(Protocol):
    """Judges the blocks of a stream in the order of time."""

    def judge(self, block: ObservedBlock) -> Verdict:
        """Return the verdict on a block, and remember what the next one needs."""

    def memory(self) -> dict[int, str]:
        """Return what is remembered of each beam mode, as text."""

    def remember(self, memory: Mapping[int, str]) -> None:
        """Take up what was remembered."""


def open_judge(bundle: Bundle, engine: str = "auto") -> Judge:
    """Return the judge of a bundle, on an engine."""
    model = monitor_of(bundle)
    if model.detector in DETECTORS:
        follows = DETECTORS[model.detector].follows
        return BlockJudge(model.watch, step_of(bundle, engine), model.modes, follows=follows)
    if model.detector in ("lstm", "xlstm"):
        return open_sequence_judge(bundle, engine)
    if model.detector == "student":
        return StudentJudge(model.watch, step_of(bundle, engine), model.modes)
    raise BundleError(f"{bundle.path} has the detector {model.detector!r}, which this version does not know")


def step_of(bundle: Bundle, engine: str = "auto") -> Step:
    """Return the graph of a bundle as a function."""
    session = open_session(bundle, engine)

    def step(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return session.run(**inputs)

    return step
