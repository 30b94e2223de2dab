"""Views: affine maps from the indices of a tensor to a buffer, so that moving axes costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate
from math import prod


class Role(Enum):
    """What a buffer holds; inputs and outputs belong to the caller."""

    INPUT = "input"
    OUTPUT = "output"
    SCRATCH = "scratch"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Buffer:
    """An array of floats, for one event."""

    name: str
    elements: int
    role: Role = Role.SCRATCH


@dataclass(frozen=True)
class View:
    """Element `i` is number `offset + sum(i * strides)` of the buffer, plus `step` per iteration inside a loop."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    step: int = 0

    @staticmethod
    def whole(buffer: Buffer, shape: Sequence[int]) -> View:
        """Return the buffer in C order."""
        if prod(shape) > buffer.elements:
            raise ValueError(f"{tuple(shape)} does not fit into {buffer}")
        return View(buffer, tuple(shape), row_major(shape))

    @property
    def elements(self) -> int:
        """Return the number of indices."""
        return prod(self.shape)

    def permute(self, order: Sequence[int]) -> View:
        """Return the axes in another order."""
        return replace(
            self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order)
        )

    def slice(self, axis: int, start: int, count: int, step: int = 1) -> View:
        """Return `count` indices of an axis, from `start` in steps."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def moved(self, distance: int) -> View:
        """Return the view shifted by `distance` elements of the buffer."""
        return replace(self, offset=self.offset + distance)

    def at(self, axis: int, index: int) -> View:
        """Return one index of an axis, without that axis."""
        one = self.slice(axis, index, 1)
        return replace(
            one,
            shape=one.shape[:axis] + one.shape[axis + 1 :],
            strides=one.strides[:axis] + one.strides[axis + 1 :],
        )

    def turning(self, axis: int, *, backward: bool) -> View:
        """Return the first index of an axis, advancing with each iteration of a loop; or the last one, going backward."""
        stride = self.strides[axis]
        first = self.at(axis, self.shape[axis] - 1 if backward else 0)
        return replace(first, step=-stride if backward else stride)

    def insert(self, axis: int, count: int = 1) -> View:
        """Return the view repeated along a new axis, with stride 0."""
        return replace(
            self,
            shape=(*self.shape[:axis], count, *self.shape[axis:]),
            strides=(*self.strides[:axis], 0, *self.strides[axis:]),
        )

    def expand(self, shape: Sequence[int]) -> View:
        """Broadcast to a shape, as numpy does."""
        missing = len(shape) - len(self.shape)
        strides = [0] * missing
        for old, new, stride in zip(self.shape, shape[missing:], self.strides, strict=True):
            if old != new and old != 1:
                raise ValueError(f"{self.shape} does not broadcast to {tuple(shape)}")
            strides.append(stride if old == new else 0)
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def window(self, axis: int, size: int, count: int, stride: int, dilation: int) -> View:
        """Return windows along an axis, which becomes two: `count` windows of `size` elements."""
        base = self.strides[axis]
        return replace(
            self,
            shape=(*self.shape[:axis], count, size, *self.shape[axis + 1 :]),
            strides=(*self.strides[:axis], base * stride, base * dilation, *self.strides[axis + 1 :]),
        )

    def reshape(self, shape: Sequence[int]) -> View | None:
        """Return the same elements in C order under another shape, or None if that takes a copy."""
        if prod(shape) == 0:
            return None
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        merged = list(reversed(_merge(reversed(old))))
        strides: list[int] = []
        for size in reversed(shape):
            if size == 1:
                strides.append(0)
                continue
            if not merged:
                return None
            length, stride = merged.pop()
            if length % size:
                return None
            strides.append(stride)
            if length != size:
                merged.append((length // size, stride * size))
        if any(length != 1 for length, _ in merged):
            return None
        return replace(self, shape=tuple(shape), strides=tuple(reversed(strides)))


def _merge(axes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join axes that are contiguous to each other; innermost first."""
    merged: list[tuple[int, int]] = []
    for size, stride in axes:
        if merged and merged[-1][0] * merged[-1][1] == stride:
            merged[-1] = (merged[-1][0] * size, merged[-1][1])
        else:
            merged.append((size, stride))
    return merged


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of C order."""
    if not shape:
        return ()
    return tuple(accumulate(reversed(shape[1:]), lambda a, b: a * b, initial=1))[::-1]
