"""Where the number of particles is free, or rows of them are gathered, temporaries of channels by positions become positions by channels.

1. `t[channel, position]` is stored as `t[position, channel]`, in every view of it. The lanes of a contraction are then its outputs, which fill vectors for
   any number of particles, and a particle that is gathered is one contiguous row.

A temporary stays as it is where a view mixes channels and positions, as a flattened one does, and where a loop or tiles use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from math import prod
from typing import Any

from tamis.native.passes.base import Pass
from tamis.native.program import Contract, Map, Order, Pick, Product, Program, Put, Reduce, Statement
from tamis.native.sizes import SizeDependentError, is_fixed, typical
from tamis.native.thresholds import PARTICLE_CHANNELS
from tamis.native.view import Buffer, Role, View


class ParticleMajor(Pass):
    """Store temporaries particle by particle."""

    name = "particle-major"

    def apply(self, program: Program) -> Program:
        """Move the temporaries that contractions read and write; in programs of one size those that follow from gathered rows."""
        statements = list(program.statements)
        following = _after_gathers(statements) if program.table is None else set()
        for buffer, (channels, positions) in _candidates(statements).items():
            if is_fixed(positions) and buffer not in following:
                continue
            moved = _Transposed(buffer, channels, positions)
            try:
                changed = [moved.statement(one) for one in statements]
            except (_StaysError, SizeDependentError):
                continue
            statements = changed
        return replace(program, statements=statements)


class _StaysError(Exception):
    """A view cannot be expressed in the other order."""


def _after_gathers(statements: list[Statement]) -> set[Buffer]:
    """Return the temporaries that are computed from rows of channels that were gathered."""
    gathered = {
        one.out.buffer
        for one in statements
        if isinstance(one, Pick) and one.out.strides[-1:] == (1,) and not one.choices[0].places.strides[-1]
    }
    found: set[Buffer] = set()
    for one in statements:
        read = {view.buffer for view in one.reads()}
        starts = isinstance(one, Map) and read & gathered
        if starts or (isinstance(one, Map | Contract) and read & found):
            found |= {view.buffer for view in one.writes()}
    return found


def _candidates(statements: list[Statement]) -> dict[Buffer, tuple[int, int]]:
    """Return the channels and positions of the temporaries that contractions read or write."""
    found: dict[Buffer, tuple[int, int]] = {}
    multiplied = {
        view.buffer for one in statements if isinstance(one, Product | Order) for view in one.reads()
    }
    for one in statements:
        if isinstance(one, Map | Reduce) and one.out.buffer not in multiplied:
            channels, *others = [size for size in one.out.shape if size != 1] or [1]
            if others and _fits(one.out.buffer, channels, prod(others)):
                found.setdefault(one.out.buffer, (channels, prod(others)))
        if not isinstance(one, Contract) or one.weights.shape[0] != 1:
            continue
        out = one.out
        if _fits(out.buffer, out.shape[1], prod(out.shape[2:])):
            found[out.buffer] = out.shape[1], prod(out.shape[2:])
        x, places = one.x, one.x.shape[1 + one.reduced :]
        pointwise = prod(x.shape[1 : 1 + one.reduced]) == x.shape[1]
        if pointwise and _fits(x.buffer, x.shape[1], prod(places)):
            found.setdefault(x.buffer, (x.shape[1], prod(places)))
    return found


def _fits(buffer: Buffer, channels: int, positions: int) -> bool:
    whole = buffer.elements == channels * positions and buffer.role is Role.SCRATCH
    return whole and is_fixed(channels) and channels >= PARTICLE_CHANNELS and typical(positions) > 1


class _Transposed:
    """Views of one buffer, in the other order."""

    def __init__(self, buffer: Buffer, channels: int, positions: int) -> None:
        self.buffer, self.channels, self.positions = buffer, channels, positions

    def statement(self, statement: Statement) -> Statement:
        """Return a statement with its views of the buffer moved; _StaysError where one cannot be."""
        if all(view.buffer != self.buffer for view in (*statement.reads(), *statement.writes())):
            return statement
        if statement.nested() or (isinstance(statement, Contract) and statement.taps):
            raise _StaysError
        if isinstance(statement, Pick | Put):
            chosen = statement.source if isinstance(statement, Pick) else statement.out
            if chosen.buffer == self.buffer:
                choices = tuple(
                    replace(one, stride=self._choice(chosen, one.stride, one.size))
                    for one in statement.choices
                )
                statement = replace(statement, choices=choices)
        changed = _rebuilt(statement, self._view)
        assert isinstance(changed, Statement)  # noqa: S101 - as it was before
        return changed

    def _choice(self, view: View, stride: int, size: int) -> int:
        """Return the stride of a choice along the axis that `view` is moved in."""
        del view
        channel, position = self._split(stride)
        if not channel and not position * (size - 1) < self.positions:
            raise _StaysError
        return channel + position * self.channels

    def _split(self, stride: int) -> tuple[int, int]:
        """Return a distance as channels and positions, of which one is 0."""
        times = typical(stride) // typical(self.positions)
        if times and stride == self.positions * times:
            return times, 0
        return 0, stride

    def _view(self, view: View) -> View:
        if view.buffer != self.buffer:
            return view
        if view.step:
            raise _StaysError
        first = typical(view.offset) // typical(self.positions)
        begin = view.offset - self.positions * first
        if not begin >= 0:
            raise _StaysError
        strides, reach = [], begin
        for size, stride in zip(view.shape, view.strides, strict=True):
            channel, position = (0, 0) if size == 1 else self._split(stride)
            if typical(channel) < 0 or typical(position) < 0:
                raise _StaysError
            reach = reach + position * (size - 1)
            strides.append(channel + position * self.channels)
        if not reach < self.positions:
            raise _StaysError
        return replace(view, strides=tuple(strides), offset=first + begin * self.channels)


def _rebuilt(value: Any, change: Callable[[View], View]) -> Any:
    """Return a statement, or a part of it, with every view changed."""
    if isinstance(value, View):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_rebuilt(one, change) for one in value)
    if is_dataclass(value) and not isinstance(value, type | Buffer):
        return replace(value, **dict(_changed(value, change)))
    return value


def _changed(value: Any, change: Callable[[View], View]) -> Iterator[tuple[str, Any]]:
    for one in fields(value):
        before = getattr(value, one.name)
        after = _rebuilt(before, change)
        if after is not before:
            yield one.name, after
