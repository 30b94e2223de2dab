"""An elementwise function of a contraction's result is applied to the sums before they are stored (an epilogue).

1. `t = contract(x); y = relu(t)` becomes one statement, and t is never written.
2. The same where y has another layout: with a border for the next convolution, transposed, or part of a larger buffer.
3. Another term of the same shape, as in a residual block, is read where the sum is finished.

The map stays where t has other readers or writers, where it calls a costly function (which would be repeated for every sum in
registers), and where no axis of the sums corresponds to the order in which y takes t's elements.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from math import prod

from tamis.native.expression import Accumulator, Expression, Load, cost, loads, mapped
from tamis.native.passes.base import Pass
from tamis.native.program import Contract, Map, Program, Statement, touched
from tamis.native.sizes import typical
from tamis.native.thresholds import FINISH_COST
from tamis.native.view import Role, View


class FuseFinish(Pass):
    """Join contractions with the map that alone reads their result."""

    name = "fuse-finish"

    def apply(self, program: Program) -> Program:
        """Join contractions with maps, in the order in which they run."""
        statements: list[Statement | None] = list(program.statements)
        readers, writers = touched(program.statements)
        for number, statement in enumerate(program.statements):
            if not isinstance(statement, Contract) or statement.finish is not None:
                continue
            buffer = statement.out.buffer
            if (
                buffer.role is not Role.SCRATCH
                or len(writers[buffer]) > 1
                or len(readers.get(buffer, ())) != 1
            ):
                continue
            (place,) = readers[buffer]
            reader = statements[place]
            if isinstance(reader, Map) and place > number:
                joined = _joined(statement, reader)
                if joined is not None:
                    statements[number], statements[place] = None, joined
        return replace(program, statements=[one for one in statements if one is not None])


def _joined(contract: Contract, reader: Map) -> Contract | None:
    """Return both statements as one, or None where that is not possible or not worth it."""
    views = {load.view for load in loads(reader.value) if load.view.buffer == contract.out.buffer}
    advances = any(load.view.step for load in loads(reader.value))
    if len(views) != 1 or cost(reader.value) >= FINISH_COST or advances:
        return None
    (view,) = views
    if view.offset != contract.out.offset or view.elements != contract.out.elements:
        return None
    axes = _match(contract.out, view, reader)
    if axes is None:
        return None
    out = axes.arranged(reader.out)
    accumulator = Accumulator(out.shape)

    def finished(leaf: Expression) -> Expression:
        if not isinstance(leaf, Load):
            return leaf
        return accumulator if leaf.view.buffer == contract.out.buffer else Load(axes.arranged(leaf.view))

    finish = mapped(reader.value, finished, out.shape)
    return replace(
        contract,
        x=axes.split_positions(contract.x, 1 + contract.reduced),
        start=None if contract.start is None else axes.split_positions(contract.start, 2),
        out=out,
        finish=None if finish == accumulator else finish,
    )


@dataclass(frozen=True)
class _AxisMatch:
    """For each axis of the sums, the axes of the map that it corresponds to; an axis of positions may be split into several."""

    axes: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[int, ...], ...]

    def arranged(self, view: View) -> View:
        """Return a view of the map with the axes of the sums."""
        shape: list[int] = []
        strides: list[int] = []
        for number, (places, sizes) in enumerate(zip(self.axes, self.sizes, strict=True)):
            if number < 2:  # groups and outputs are one axis each
                shape.append(prod(sizes))
                strides.append(view.strides[places[-1]] if places else 0)
            else:
                shape += sizes
                strides += [view.strides[place] for place in places] if places else [0] * len(sizes)
        return replace(view, shape=tuple(shape), strides=tuple(strides))

    def split_positions(self, view: View, lead: int) -> View:
        """Return a view of the sums with its positions, after `lead` axes, split as those of the map are."""
        shape, strides = list(view.shape[:lead]), list(view.strides[:lead])
        for sizes, stride in zip(self.sizes[2:], view.strides[lead:], strict=True):
            rest = prod(sizes)
            for size in sizes:
                rest //= size
                shape.append(size)
                strides.append(stride * rest)
        return replace(view, shape=tuple(shape), strides=tuple(strides))


def _match(sums: View, view: View, reader: Map) -> _AxisMatch | None:
    """Find each axis of the sums among those of the map, by the strides of both in the result; None where one is not found."""
    views = [reader.out, *(load.view for load in loads(reader.value))]
    remaining = {place for place, size in enumerate(view.shape) if size != 1}
    axes: list[tuple[int, ...]] = []
    sizes: list[tuple[int, ...]] = []
    for number, (size, stride) in enumerate(zip(sums.shape, sums.strides, strict=True)):
        if size == 1:
            axes.append(())
            sizes.append((1,))
            continue
        # Decided by the typical size; that the axes fill this one is checked for all sizes.
        near, far = typical(stride), typical(stride * size)
        inside = [place for place in remaining if near <= typical(view.strides[place]) < far]
        inside.sort(key=lambda place: -typical(view.strides[place]))
        reach = stride * size
        for place in inside:
            if view.strides[place] * view.shape[place] != reach:
                return None
            reach = view.strides[place]
        if reach != stride:
            return None
        if number < 2 and any(  # axes of groups and outputs must be contiguous in every view of the map
            one.strides[outer] != one.strides[inner] * view.shape[inner]
            for one in views
            for outer, inner in itertools.pairwise(inside)
        ):
            return None
        remaining -= set(inside)
        axes.append(tuple(inside))
        sizes.append(tuple(view.shape[place] for place in inside))
    return None if remaining else _AxisMatch(tuple(axes), tuple(sizes))
