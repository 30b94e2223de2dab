"""What is applied to a contraction's sums element by element is applied before they are stored.

1. `t = contract(x); y = relu(t)` becomes one statement, and t is never written.
2. The same where y is laid out otherwise (with a border for the next convolution, transposed, or part of a whole).
3. A sum with something else of the same shape, as in a residual block, is read where the sum is finished.

It is left alone where t has other readers, where it has other writers, where functions are applied that take long (they would
be spelled out for every sum that is held), and where y takes t's elements in an order that no axis of the sums has.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from tamis.native.expression import Accumulator, Call, Expression, Load, cost, loads, replaced
from tamis.native.program import Contract, Map, Program, Statement, touched
from tamis.native.view import Role, View

EFFORT = 12  # instructions


def fuse_finish(program: Program) -> Program:
    """Return the program with maps moved into the contractions before them."""
    statements: list[Statement | None] = list(program.statements)
    readers, writers = touched(program.statements)
    for number, statement in enumerate(program.statements):
        if not isinstance(statement, Contract) or statement.finish is not None:
            continue
        buffer = statement.out.buffer
        if buffer.role is not Role.SCRATCH or len(writers[buffer]) > 1 or len(readers.get(buffer, ())) != 1:
            continue
        (place,) = readers[buffer]
        reader = statements[place]
        if isinstance(reader, Map) and place > number:
            joined = _fused(statement, reader)
            if joined is not None:
                statements[number], statements[place] = None, joined
    return replace(program, statements=[one for one in statements if one is not None])


def _fused(contract: Contract, reader: Map) -> Contract | None:
    views = {load.view for load in loads(reader.value) if load.view.buffer == contract.out.buffer}
    if len(views) != 1 or cost(reader.value) >= EFFORT or _turns(reader.value):
        return None
    (seen,) = views
    if seen.offset != contract.out.offset or seen.elements != contract.out.elements:
        return None
    plan = _match(contract.out, seen, reader)
    if plan is None:
        return None
    out = plan.moved(reader.out)
    accumulator = Accumulator(out.shape)

    def change(load: Load) -> Expression:
        return accumulator if load.view.buffer == contract.out.buffer else Load(plan.moved(load.view))

    finish = _shaped(replaced(reader.value, change), out.shape)
    lead = 1 + contract.reduced
    return replace(
        contract,
        x=plan.split_positions(contract.x, lead),
        start=None if contract.start is None else plan.split_positions(contract.start, 2),
        out=out,
        finish=None if isinstance(finish, Accumulator) else finish,
    )


def _turns(value: Expression) -> bool:
    """Tell whether a view in it moves on with the turns of a loop."""
    return any(load.view.step for load in loads(value))


def _shaped(value: Expression, shape: tuple[int, ...]) -> Expression:
    if isinstance(value, Call):
        return replace(value, arguments=tuple(_shaped(one, shape) for one in value.arguments), shape=shape)
    return value


@dataclass(frozen=True)
class _Plan:
    """For each axis of the sums, the axes of the map that it is; positions may be several."""

    axes: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[int, ...], ...]

    def moved(self, view: View) -> View:
        """Return a view of the map with the axes of the sums."""
        shape: list[int] = []
        strides: list[int] = []
        for number, (places, sizes) in enumerate(zip(self.axes, self.sizes, strict=True)):
            if number < 2:  # groups and outputs are one axis each
                shape.append(_product(sizes))
                strides.append(view.strides[places[-1]] if places else 0)
            else:
                shape += sizes
                strides += [view.strides[place] for place in places] if places else [0] * len(sizes)
        return replace(view, shape=tuple(shape), strides=tuple(strides))

    def split_positions(self, view: View, lead: int) -> View:
        """Return a view of the sums with its positions split as those of the map are."""
        shape, strides = list(view.shape[:lead]), list(view.strides[:lead])
        for sizes, stride in zip(self.sizes[2:], view.strides[lead:], strict=True):
            rest = _product(sizes)
            for size in sizes:
                rest //= size
                shape.append(size)
                strides.append(stride * rest)
        return replace(view, shape=tuple(shape), strides=tuple(strides))


def _match(sums: View, seen: View, reader: Map) -> _Plan | None:
    """Find each axis of the sums among those of the map, by where its elements lie."""
    left = {place for place, size in enumerate(seen.shape) if size != 1}
    axes: list[tuple[int, ...]] = []
    sizes: list[tuple[int, ...]] = []
    for number, (size, stride) in enumerate(zip(sums.shape, sums.strides, strict=True)):
        if size == 1:
            axes.append(())
            sizes.append((1,))
            continue
        inside = [place for place in left if stride <= seen.strides[place] < stride * size]
        inside.sort(key=lambda place: -seen.strides[place])
        reach = stride * size
        for place in inside:
            if seen.strides[place] * seen.shape[place] != reach:
                return None
            reach = seen.strides[place]
        if reach != stride or (number < 2 and not _joins(inside, seen, reader)):
            return None
        left -= set(inside)
        axes.append(tuple(inside))
        sizes.append(tuple(seen.shape[place] for place in inside))
    return None if left else _Plan(tuple(axes), tuple(sizes))


def _joins(places: list[int], seen: View, reader: Map) -> bool:
    """Tell whether axes are one in every view of the map."""
    views = [reader.out, *(load.view for load in loads(reader.value))]
    return all(
        view.strides[outer] == view.strides[inner] * seen.shape[inner]
        for view in views
        for outer, inner in itertools.pairwise(places)
    )


def _product(sizes: tuple[int, ...]) -> int:
    found = 1
    for size in sizes:
        found *= size
    return found
