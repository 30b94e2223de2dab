"""A convolution takes about half of the multiply-adds when neighbouring outputs are made together.

Four neighbouring outputs of a kernel of three are a product of polynomials: six sums of the six inputs, times six sums of the
three weights, and four sums of the six products (Toom and Cook, Winograd). Over channels only the products are summed, so that

1. `y = contract(windows)` becomes: `v = sums of x`, once for each input; `m = contract(v)`, a group for each of the six;
   `y = sums of m`, and there is applied what was applied to the contraction's sums.
2. What is left of a row beyond its last whole tile stays a contraction.
3. This goes along the last axis. Other axes of a kernel are summed over as they are: an image's rows are channels to this.
4. Where the convolution strides, its input lies phase by phase: phases are channels, too, each with a shorter kernel.

It is left alone where the sums take as long as what they save: few channels, few outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from tamis.native.expression import Accumulator, Expression, Load, Number
from tamis.native.passes.tiling import TILINGS, Tiling, plain
from tamis.native.program import Contract, Maps, Program, Statement
from tamis.native.view import Buffer, View

SPREAD, COLLECT = 18, 35  # cycles for the sums of six inputs, and for those of six products
SIX = 6
WORTH = 0.85  # of the time
FEW = 40  # terms: then it takes long to write all products down


def winograd(program: Program, *, by_place: bool = False) -> Program:
    """Return the program with convolutions made tile by tile, where that is worth it.

    What is read for one tile lies together (`by_place`: where a vector holds events), or else what is read for neighbouring ones.
    """
    found = replace(program, statements=[])
    for statement in program.statements:
        windows = _windows(statement) if isinstance(statement, Contract) else None
        tiling = None if windows is None else _worth(windows)
        if windows is None or tiling is None:
            found.statements.append(statement)
        else:
            found.statements += _Tiles(windows, tiling, len(found.statements), by_place).statements()
    return found


@dataclass(frozen=True, eq=False)
class _Windows:
    """A contraction as a convolution along its last axis: the input without its windows, and the weights with them last."""

    statement: Contract
    x: View  # (groups, *terms, *positions)
    terms: int  # axes
    weights: np.ndarray  # (groups, terms, outputs, kernel)
    phases: int  # indices of the last axis of terms
    full: int  # of these, so many have the kernel's last weight

    @property
    def width(self) -> int:
        return self.x.shape[-1]

    @cached_property
    def shared(self) -> dict[int, tuple[int, int]]:
        """Return which axes of terms run along one of the rows, as windows do: where that is, and how many steps windows lie apart."""
        first, found = 1 + self.terms, {}
        taken: set[int] = set()
        for term in range(2, first):
            for row in range(first, len(self.x.shape) - 1):
                step, apart = self.x.strides[term], self.x.strides[row]
                if self.x.shape[term] > 1 and row not in taken and step and apart > 0 and apart % step == 0 and apart // step < self.x.shape[term]:  # fmt: skip
                    found[term] = (row, apart // step)
                    taken.add(row)
                    break
        return found

    @cached_property
    def spread(self) -> View:
        """Return every element of which sums are made, but for the last axis: shared axes are as long as the windows reach, and not repeated."""
        shape, strides = list(self.x.shape[:-1]), list(self.x.strides[:-1])
        for term, (row, apart) in self.shared.items():
            shape[term] += (shape[row] - 1) * apart
            shape[row] = 1
        return replace(self.x, shape=tuple(shape), strides=tuple(strides))


def _windows(statement: Contract) -> _Windows | None:
    """Return a contraction as a convolution along its last axis, or None where it is none."""
    x, reduced = statement.x, statement.reduced
    if len(x.shape) < reduced + 2 or reduced < 2 or statement.chains != 1 or x.step or statement.out.step:
        return None
    groups, _, outputs = statement.weights.shape
    kernel, step = x.shape[reduced], x.strides[-1]
    weights = statement.weights.reshape(groups, -1, kernel, outputs).swapaxes(2, 3)
    inner = x.at(reduced, 0)
    if not statement.taps:
        if x.strides[reduced] != step or step == 0:
            return None
        return _Windows(statement, inner, reduced - 1, weights, 1, 1)
    phases = statement.taps.index(step) if step in statement.taps else 0
    length = -(-kernel // phases) if phases else 0
    if phases < 2 or statement.taps != tuple(k % phases * statement.taps[1] + k // phases * step for k in range(kernel)):  # fmt: skip
        return None
    inner = replace(
        inner,
        shape=(*inner.shape[:reduced], phases, *inner.shape[reduced:]),
        strides=(*inner.strides[:reduced], statement.taps[1], *inner.strides[reduced:]),
    )
    filled = np.zeros((*weights.shape[:-1], length * phases), np.float32)
    filled[..., :kernel] = weights
    by_phase = filled.reshape(*weights.shape[:-1], length, phases)  # (groups, terms, outputs, kernel, phases)
    by_phase = np.moveaxis(by_phase, -1, 2).reshape(groups, -1, outputs, length)
    return _Windows(statement, inner, reduced, by_phase, phases, kernel - (length - 1) * phases)


def _worth(windows: _Windows) -> Tiling | None:
    """Return the tiling that takes least, if it takes less than the windows do."""
    statement = windows.statement
    _, all_terms, outputs = statement.weights.shape
    terms, kernel = windows.weights.shape[1], windows.weights.shape[3]
    rows = prod(windows.x.shape[1 + windows.terms : -1])
    own = prod(windows.spread.shape[1:]) / rows  # what sums are made of for a row of outputs
    best, least = None, WORTH * windows.width * all_terms * outputs
    for tiling in TILINGS:
        tiles, rest = divmod(windows.width, tiling.outputs)
        if tiling.kernel != kernel or not tiles:
            continue
        products = (tiling.size - 1 + windows.full / windows.phases) * terms * outputs
        sums = tiling.size / SIX * (SPREAD * own + COLLECT * outputs)
        takes = tiles * (products + sums) + rest * all_terms * outputs
        if takes < least:
            best, least = tiling, takes
    return best


@dataclass(frozen=True)
class _Part:
    """Some of the last positions."""

    first: int
    count: int
    step: int = 1

    def of(self, view: View) -> View:
        """Return these positions of a view."""
        return view.slice(len(view.shape) - 1, self.first, self.count, self.step)

    def finished(self, finish: Expression | None, value: Expression) -> Expression:
        """Return what is made of a value."""
        if finish is None or isinstance(finish, Accumulator):
            return value
        if isinstance(finish, Load):
            return Load(self.of(finish.view))
        if isinstance(finish, Number):
            return replace(finish, shape=value.shape)
        arguments = tuple(self.finished(one, value) for one in finish.arguments)
        return replace(finish, arguments=arguments, shape=value.shape)


class _Tiles:
    """The statements that stand for a convolution."""

    def __init__(self, windows: _Windows, tiling: Tiling, number: int, by_place: bool) -> None:
        self.windows, self.tiling, self.number = windows, tiling, number
        self.statement = windows.statement
        self.count = windows.width // tiling.outputs
        groups, _, outputs = self.statement.weights.shape
        shape = (tiling.size, *windows.spread.shape, self.count)
        few = windows.weights.shape[1] <= FEW
        if by_place and few and groups == 1 and windows.full == windows.phases:
            rows = 2 + windows.terms  # the places come first, then terms, then sums
            order = (1, *range(rows, len(shape)), *range(2, rows), 0)
            back = [order.index(axis) for axis in range(len(shape))]
            self.sums = self._scratch("sums", tuple(shape[axis] for axis in order)).permute(back)
        else:
            self.sums = self._scratch("sums", shape)
        self.products = self._scratch("products", (tiling.size, groups, outputs, *self._rows, self.count))

    @property
    def _rows(self) -> tuple[int, ...]:
        return self.windows.x.shape[1 + self.windows.terms : -1]

    def _scratch(self, name: str, shape: tuple[int, ...]) -> View:
        return View.whole(Buffer(f"{self.number}:{name}", prod(shape)), shape)

    def statements(self) -> list[Statement]:
        """Return them."""
        last = self.tiling.size - 1
        windows = self.windows
        found: list[Statement] = list(self._spread())
        if windows.full == windows.phases:
            found.append(self._multiplied(0, last + 1, windows.phases))
        else:
            found += [self._multiplied(0, last, windows.phases), self._multiplied(last, 1, windows.full)]
        found.append(self._collected())
        rest = windows.width - self.count * self.tiling.outputs
        if rest:
            found.append(self._left(_Part(windows.width - rest, rest)))
        return found

    def _spread(self) -> list[Maps]:
        """Sums of inputs; the last one where the kernel is as long as that."""
        windows, tiling = self.windows, self.tiling
        spread, step = windows.spread, windows.x.strides[-1]
        read = replace(
            spread, shape=(*spread.shape, self.count), strides=(*spread.strides, step * tiling.outputs)
        )
        found = []
        axis = windows.terms  # the one of phases
        for first, count, sums in (
            (0, windows.full, tiling.size),
            (windows.full, windows.phases - windows.full, tiling.size - 1),
        ):
            if not count:
                continue
            part = read if windows.phases == 1 else read.slice(axis, first, count)
            x = [Load(part.moved(j * step)) for j in range(tiling.size)]
            outs = [self.sums.at(0, i) for i in range(sums)]
            if windows.phases > 1:
                outs = [out.slice(axis, first, count) for out in outs]
            found.append(Maps(tiling.spread(x)[:sums], tuple(outs)))
        return found

    def _multiplied(self, first: int, count: int, phases: int) -> Contract:
        """Return some of the products, summed over the terms."""
        windows, statement = self.windows, self.statement
        groups, _, outputs = statement.weights.shape
        sums = self.sums.slice(0, first, count)
        weights = self.tiling.weights(windows.weights)[first : first + count]
        if phases < windows.phases:
            sums = sums.slice(1 + windows.terms, 0, phases)
            weights = weights.reshape(count, groups, -1, windows.phases, outputs)[:, :, :, :phases]
        shape = list(sums.shape)
        strides = list(sums.strides)
        for term, (row, apart) in windows.shared.items():
            shape[1 + term], shape[1 + row] = windows.x.shape[term], windows.x.shape[row]
            strides[1 + row] = strides[1 + term] * apart
        # groups lie one behind the other in each sum, and are one axis with it
        seen = replace(
            sums,
            shape=(count * groups, *shape[2:]),
            strides=(strides[1] if groups > 1 else strides[0], *strides[2:]),
        )
        weights = np.ascontiguousarray(weights.reshape(count * groups, -1, outputs))
        products = self.products.slice(0, first, count)
        out = products.reshape((count * groups, *products.shape[2:]))
        assert out is not None  # noqa: S101 - it lies in C order
        level = self.tiling.level()[first : first + count, None, None] * statement.bias
        bias = np.ascontiguousarray(level.reshape(count * groups, outputs), np.float32)
        chains = 1 if weights.shape[1] <= FEW else 2  # half as long each: rounding errors stay small
        return Contract(seen, windows.terms, weights, bias, out, chains=chains)

    def _collected(self) -> Maps:
        """Return the outputs as sums of products, with what is added and applied to them."""
        statement = self.statement
        values, outs = [], []
        products = [Load(self.products.at(0, i)) for i in range(self.tiling.size)]
        for output, summed in enumerate(self.tiling.collect(products)):
            part, value = _Part(output, self.count, self.tiling.outputs), summed
            if statement.start is not None:
                value = plain("add", value, Load(part.of(statement.start)))
            values.append(part.finished(statement.finish, value))
            outs.append(part.of(statement.out))
        return Maps(tuple(values), tuple(outs))

    def _left(self, part: _Part) -> Contract:
        """Return what tiles do not reach, as it was."""
        statement = self.statement
        out = part.of(statement.out)
        finish = statement.finish
        return replace(
            statement,
            x=part.of(statement.x),
            out=out,
            start=None if statement.start is None else part.of(statement.start),
            finish=None if finish is None else part.finished(finish, Accumulator(out.shape)),
        )
