"""Prescales: one event in n, chosen by a hash of its identity, so that every run and every worker chooses the same."""

from __future__ import annotations

import zlib

import numpy as np

from tamis.events import Frame
from tamis.trigger.menu import MenuProgram

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def prescaled(program: MenuProgram, frame: Frame) -> np.ndarray:
    """Return a mask (events, paths) of the events that each path examines."""
    examined = np.ones((len(frame), len(program.paths)), bool)
    for index, (path, prescale) in enumerate(zip(program.paths, program.prescales, strict=True)):
        if prescale > 1:
            examined[:, index] = _hash(frame, path) % np.uint64(prescale) == 0
    return examined


def _hash(frame: Frame, path: str) -> np.ndarray:
    """Return 64 well-mixed bits of run, block, event and path (the finaliser of splitmix64)."""
    state = np.full(len(frame), zlib.crc32(path.encode()), np.uint64)
    with np.errstate(over="ignore"):
        for name in ("run", "luminosityBlock", "event"):
            column = frame[name]
            assert isinstance(column, np.ndarray)  # noqa: S101 - the identity is one number per event
            state = (state ^ column.astype(np.uint64)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MIX[0]
            state = (state ^ (state >> np.uint64(27))) * _MIX[1]
            state = state ^ (state >> np.uint64(31))
    return state
