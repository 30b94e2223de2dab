"""A contraction of what was gathered or repeated is computed before that, for each particle once.

1. The first convolution of an edge block, W [x_i, x_j - x_i] = (W1 - W2) x_i + W2 x_j: both products are computed for each particle, and the second is
   gathered by the indices of the neighbours j. With k neighbours this takes a k-th of the multiply-adds, and nothing of size particles x neighbours x
   channels is written before them.

The contraction stays where one of its terms is neither gathered nor repeated, where others read what it reads, and where its sums are not plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from tamis.native.expression import Call, Expression, Load, Number, call
from tamis.native.passes.base import Pass
from tamis.native.program import Choice, Contract, Map, Pick, Program, Statement, touched
from tamis.native.sizes import typical
from tamis.native.thresholds import SPLIT_GAIN
from tamis.native.view import Buffer, Role, View, row_major

Terms = list[tuple[float, View]]


class SplitGathered(Pass):
    """Contract before gathering."""

    name = "split-gathered"

    def apply(self, program: Program) -> Program:
        """Rewrite contractions, in the order in which they run; then drop what nothing reads any more."""
        statements: list[Statement | None] = list(program.statements)
        inserted: dict[int, list[Statement]] = {}
        for number, statement in enumerate(program.statements):
            if isinstance(statement, Contract):
                found = _Split(program.statements, number, statement).result()
                if found is not None:
                    inserted[number] = found.statements
                    for one in (number, *found.replaced):
                        statements[one] = None
        if not inserted:
            return program
        kept: list[Statement] = []
        for number, left in enumerate(statements):
            kept += inserted.get(number, [])
            if left is not None:
                kept.append(left)
        return replace(program, statements=_read(kept))


def _read(statements: list[Statement]) -> list[Statement]:
    """Return the statements without gathers that nothing reads."""
    readers, _ = touched(statements)
    return [one for one in statements if not isinstance(one, Pick) or readers.get(one.out.buffer) or one.out.buffer.role is not Role.SCRATCH]  # fmt: skip


@dataclass(frozen=True)
class _Found:
    statements: list[Statement]
    replaced: list[int]


class _Split:
    """One contraction, and what writes its input."""

    def __init__(self, statements: Sequence[Statement], number: int, contract: Contract) -> None:
        self.statements, self.number, self.contract = statements, number, contract
        self.readers, self.writers = touched(statements)
        self.outputs = contract.weights.shape[2]
        self.made = 0

    def result(self) -> _Found | None:
        """Return the statements in its place, and the numbers of those that they replace besides."""
        contract, buffer = self.contract, self.contract.x.buffer
        plain = contract.start is None and contract.finish is None and not contract.taps
        pointwise = prod(contract.x.shape[1 : 1 + contract.reduced]) == contract.x.shape[1]
        if contract.weights.shape[1] == 1 or not _positions(contract):
            return None
        if not plain or not pointwise or contract.weights.shape[0] != 1 or buffer.role is not Role.SCRATCH:
            return None
        writers = sorted(self.writers.get(buffer, ()))
        if self.readers.get(buffer) != {self.number} or not writers or writers[-1] > self.number:
            return None
        weights: dict[View, np.ndarray] = {}
        for writer in writers:
            terms = self._terms(writer, writers[0])
            if terms is None:
                return None
            for view, own in terms.items():
                weights[view] = weights.get(view, 0.0) + own
        rows = contract.weights.shape[1] * typical(prod(contract.positions))
        made = self._computed(weights)
        if made is None or SPLIT_GAIN * made[1] > rows:
            return None
        return _Found(made[0], writers)

    def _terms(self, writer: int, first: int) -> dict[View, np.ndarray] | None:
        """Return the weights of each view that a map adds up; views have the axes (channels, *positions)."""
        statement, contract = self.statements[writer], self.contract
        if not isinstance(statement, Map):
            return None
        x = contract.x
        own = View(
            x.buffer,
            (x.shape[1], *contract.positions),
            (x.strides[1], *x.strides[1 + contract.reduced :]),
            x.offset,
        )
        out = _without_ones(statement.out)
        if out.shape[1:] != _without_ones(own).shape[1:] or out.strides != _without_ones(own).strides:
            return None
        start, rest = divmod_of(out.offset - own.offset, own.strides[0])
        added = linear(statement.value)
        if rest or not isinstance(start, int) or not isinstance(out.shape[0], int) or added is None:
            return None
        part = contract.weights[0, start : start + out.shape[0]].astype(np.float64)
        found: dict[View, np.ndarray] = {}
        for sign, view in added:
            changed = self.writers.get(view.buffer, set())
            if any(first < one < self.number for one in changed) or view.step:
                return None
            kept = [axis for axis, size in enumerate(statement.out.shape) if size != 1]
            plain = replace(
                view, shape=tuple(view.shape[a] for a in kept), strides=tuple(view.strides[a] for a in kept)
            )
            found[plain] = found.get(plain, 0.0) + sign * part
        return found

    def _computed(self, weights: Mapping[View, np.ndarray]) -> tuple[list[Statement], int] | None:
        """Return the statements, and their multiply-adds for each output."""
        made: list[Statement] = []
        values: list[Expression] = []
        effort = 0
        bias = self.contract.bias
        for view, own in sorted(weights.items(), key=lambda item: self._gather_of(item[0]) is not None):
            gather = self._gather_of(view)
            if gather is not None:
                x = View(
                    gather.source.buffer, (view.shape[0], gather.choices[0].size),
                    (gather.source.strides[1], gather.choices[0].stride), gather.source.offset,
                )  # fmt: skip
                values.append(self._gathered(made, self._contracted(made, x, own, bias), gather))
            elif any(stride == 0 for stride in view.strides[1:]):
                shape = tuple(
                    1 if not stride else size for size, stride in zip(view.shape, view.strides, strict=True)
                )
                x = replace(view, shape=(view.shape[0], *shape[1:]))
                values.append(
                    Load(self._contracted(made, x, own, bias).expand((*view.shape[1:], self.outputs)))
                )
            else:
                return None
            effort += own.shape[0] * typical(prod(x.shape[1:]))
            bias = np.zeros_like(bias)
        value = values[0]
        for other in values[1:]:
            value = call("add", value, other)
        out = _without_ones(self.contract.out, first=True)
        last = len(out.shape) - 1
        order = (last, *range(last))
        made.append(Map(value.moved(lambda view: view.permute(order), out.shape), out))
        return made, effort

    def _contracted(self, made: list[Statement], x: View, weights: np.ndarray, bias: np.ndarray) -> View:
        """Contract (channels, *positions); return (*positions, outputs)."""
        shape = (*x.shape[1:], self.outputs)
        out = View.whole(self._buffer(prod(shape)), shape)
        last = len(shape) - 1
        made.append(
            Contract(
                x.insert(0), 1, np.ascontiguousarray(weights[None], np.float32), bias, out.permute((last, *range(last))).insert(0),
            )
        )  # fmt: skip
        return out

    def _gathered(self, made: list[Statement], source: View, gather: Pick) -> Expression:
        """Gather rows of products as those of the source were; return (*positions, outputs)."""
        choice, rows = gather.choices[0], gather.out.shape[0]
        shape = (rows, self.outputs)
        places = replace(choice.places, shape=shape, strides=(choice.places.strides[0], 0))
        out = View.whole(self._buffer(prod(shape)), shape)
        base = View(source.buffer, shape, (0, 1), source.offset)
        made.append(Pick(base, (Choice(places, choice.size, self.outputs),), out))
        positions = _positions(self.contract)
        return Load(View(out.buffer, (*positions, self.outputs), row_major((*positions, self.outputs))))

    def _gather_of(self, view: View) -> Pick | None:
        """Return the gather that wrote a view, if it chose rows and the view is all of them, (channels, *positions)."""
        writers = self.writers.get(view.buffer, set())
        statement = self.statements[next(iter(writers))] if len(writers) == 1 else None
        statement = _rows_first(statement) if isinstance(statement, Pick) else None
        if statement is None:
            return None
        out, choice = statement.out, statement.choices[0]
        rows, channels = out.shape
        row, channel = out.strides
        whole = (channel, *(row * one for one in row_major(view.shape[1:])))
        same = view.strides == whole and view.offset == out.offset and view.shape[0] == channels
        if (
            not same
            or prod(view.shape[1:]) != rows
            or choice.places.strides[1] != 0
            or statement.source.strides[0] != 0
        ):
            return None
        changed = self.writers.get(statement.source.buffer, set()) | self.writers.get(
            choice.places.buffer, set()
        )
        return None if any(next(iter(writers)) < one < self.number for one in changed) else statement

    def _buffer(self, elements: int) -> Buffer:
        self.made += 1
        return Buffer(f"{self.contract.out.buffer.name}/{self.made}", elements)


def _positions(contract: Contract) -> tuple[int, ...]:
    return tuple(size for size in contract.positions if size != 1)


def _without_ones(view: View, *, first: bool = False) -> View:
    """Return a view without axes of size 1; `first` drops only the first axis and those of positions."""
    kept = [axis for axis, size in enumerate(view.shape) if size != 1 or (first and axis == 1)]
    return replace(
        view, shape=tuple(view.shape[a] for a in kept), strides=tuple(view.strides[a] for a in kept)
    )


def _rows_first(pick: Pick) -> Pick | None:
    """Return a gather of rows as one of (rows, channels), whatever the order of its axes; None for other gathers."""
    if len(pick.choices) != 1:
        return None
    (choice,) = pick.choices
    kept = [axis for axis, size in enumerate(pick.out.shape) if size != 1]
    kept.sort(key=lambda axis: pick.source.strides[axis] != 0)
    if len(kept) != 2:
        return None

    def chosen(view: View) -> View:
        shape, strides = zip(*((view.shape[axis], view.strides[axis]) for axis in kept), strict=True)
        return replace(view, shape=shape, strides=strides)

    choices = (replace(choice, places=chosen(choice.places)),)
    return replace(pick, source=chosen(pick.source), choices=choices, out=chosen(pick.out))


def divmod_of(a: int, b: int) -> tuple[int, int]:
    """Return quotient and remainder, also of sizes."""
    return a // b, a % b


def linear(value: Expression) -> Terms | None:
    """Return the views that an expression adds up, each with its sign; None if it is anything else."""
    if isinstance(value, Load):
        return [(1.0, value.view)]
    if (
        isinstance(value, Number)
        or not isinstance(value, Call)
        or value.function not in ("add", "sub", "neg")
    ):
        return None
    parts = [linear(one) for one in value.arguments]
    found: Terms = []
    for place, part in enumerate(parts):
        if part is None:
            return None
        sign = -1.0 if value.function == "neg" or (value.function == "sub" and place == 1) else 1.0
        found += [(sign * one, view) for one, view in part]
    return found
