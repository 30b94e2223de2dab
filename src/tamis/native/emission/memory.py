"""The memory of a kernel: where each buffer is in scratch, and all constants as one array.

Buffers that are not live at once share space. Constants stand in the order in which the code reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tamis.native.emission.mode import Mode
from tamis.native.emission.tuning import LINE_FLOATS
from tamis.native.program import Program, written
from tamis.native.sizes import largest
from tamis.native.targets import Target
from tamis.native.view import Buffer, Role

SLACK_LINES = 2  # cache lines beyond the constants


class Blob:
    """Arrays one after the other, each at a multiple of a cache line; equal ones are stored once."""

    def __init__(self, *, for_all_targets: bool = False) -> None:
        """Begin without arrays; those that are for the code of all targets have an order that suits all."""
        self.for_all_targets = for_all_targets
        self._pieces: list[np.ndarray] = []
        self._offsets: dict[bytes, int] = {}
        self._floats = 0

    def reserve(self, floats: int) -> int:
        """Leave space for an array that is not known yet, of whole cache lines; return its offset in floats."""
        offset, self._floats = self._floats, self._floats + floats
        self._pieces.append(np.zeros(floats, np.float32))
        return offset

    def add(self, array: np.ndarray) -> int:
        """Store an array; return its offset in floats."""
        flat = np.ascontiguousarray(array, np.float32).ravel()
        key = flat.tobytes()
        offset = self._offsets.get(key)
        if offset is None:
            offset = self._offsets[key] = self._floats
            padded = np.zeros(-(-max(1, flat.size) // LINE_FLOATS) * LINE_FLOATS, np.float32)
            padded[: flat.size] = flat
            self._pieces.append(padded)
            self._floats += padded.size
        return offset

    @property
    def end(self) -> int:
        """Return the number of floats of the array."""
        return self._floats + SLACK_LINES * LINE_FLOATS

    def array(self) -> np.ndarray:
        """Return all of it, and two cache lines more, since vectors may be read beyond the end."""
        return np.concatenate([*self._pieces, np.zeros(SLACK_LINES * LINE_FLOATS, np.float32)])


def layout(program: Program, target: Target, blob: Blob, count: int, *, wide: bool) -> Mode:
    """Return a kernel's mode: buffers are placed in scratch, constants in the blob."""
    lives = lifetimes(program)
    buffers = scratch_buffers(program)
    if wide:  # inputs and outputs are in scratch too, transposed, so that events are neighbours
        end = len(program.statements)
        for buffer in program.inputs:
            lives[buffer] = (-1, lives.get(buffer, (0, 0))[1])
        for buffer in program.outputs:
            lives[buffer] = (lives.get(buffer, (end, end))[0], end)
        buffers = [*program.inputs, *buffers, *program.outputs]
    offsets, total = allocate(buffers, lives)
    for buffer, values in program.constants.items():
        offsets[buffer] = blob.add(values)
    names = {one: f"x{i}" for i, one in enumerate(program.inputs)}
    names |= {one: f"y{i}" for i, one in enumerate(program.outputs)}
    return Mode(target, wide, count, offsets, total, names)


def scratch_buffers(program: Program) -> list[Buffer]:
    """Return the temporaries of a program, in the order in which they are first written."""
    found: dict[Buffer, None] = {}
    for statement in program.statements:
        for view in written(statement):
            if view.buffer.role is Role.SCRATCH:
                found[view.buffer] = None
    return list(found)


def lifetimes(program: Program) -> dict[Buffer, tuple[int, int]]:
    """Return the first and the last statement that use each buffer."""
    found: dict[Buffer, tuple[int, int]] = {}
    for number, statement in enumerate(program.statements):
        for view in (*written(statement), *statement.reads()):
            first, _ = found.get(view.buffer, (number, number))
            found[view.buffer] = (first, number)
    return found


def allocate(
    buffers: Iterable[Buffer], lives: Mapping[Buffer, tuple[int, int]]
) -> tuple[dict[Buffer, int], int]:
    """Return the offset of each buffer and the total, in numbers: the largest first, each in the first gap among those live with it."""
    offsets: dict[Buffer, int] = {}
    total = 0
    for buffer in sorted(buffers, key=lambda one: -largest(one.elements)):
        first, last = lives[buffer]
        taken = sorted(
            (offsets[other], offsets[other] + _space(other))
            for other in offsets
            if lives[other][0] <= last and first <= lives[other][1]
        )
        at = 0
        for begin, end in taken:
            if begin - at >= _space(buffer):
                break
            at = max(at, end)
        offsets[buffer] = at
        total = max(total, at + _space(buffer))
    return offsets, total


def _space(buffer: Buffer) -> int:
    return -(-largest(buffer.elements) // LINE_FLOATS) * LINE_FLOATS
