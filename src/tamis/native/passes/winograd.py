"""Neighbouring outputs of a convolution are computed together, which takes about half of the multiply-adds.

Four neighbouring outputs of a kernel of three are a product of polynomials (Toom and Cook; S. Winograd, Arithmetic Complexity of
Computations, SIAM 1980): six sums of the six inputs, times six sums of the three weights, then four sums of the six products. Only
the products are summed over channels, so that

1. `y = contract(windows)` becomes: `v = sums of x`, once per input; `m = contract(v)`, one group for each of the six;
   `y = sums of m`, with the function that was applied to the contraction's sums.
2. The rest of a row beyond its last full tile stays a contraction.
3. Tiles are along the last axis. Other axes of a kernel are summed over as before: the rows of an image act as channels.
4. For a strided convolution, whose input is stored phase by phase, the phases act as channels, too, each with a shorter kernel.

A convolution stays as it is where the sums would take as long as what they save: few channels, few outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from tamis.native.expression import Accumulator, Expression, Leaf, Load, mapped
from tamis.native.passes.base import Pass
from tamis.native.passes.conditions import NOT_TILED
from tamis.native.passes.tiling import TILINGS, Tiling, plain_call
from tamis.native.program import Contract, Maps, Program, Statement
from tamis.native.thresholds import SHORT_SUM, TILE_INPUT_CYCLES, TILE_OUTPUT_CYCLES, TILE_SIZE, TILED_TIME
from tamis.native.view import Buffer, View


@dataclass(frozen=True)
class Winograd(Pass):
    """Compute convolutions by tiles where that is faster.

    With `by_place` (wide mode) the elements of one tile are contiguous, else those of neighbouring tiles.
    """

    by_place: bool = False
    name = "winograd"
    requires = (NOT_TILED,)

    def apply(self, program: Program) -> Program:
        """Rewrite the contractions outside of loops."""
        statements: list[Statement] = []
        for statement in program.statements:
            windows = _windows(statement) if isinstance(statement, Contract) else None
            tiling = None if windows is None else _fastest_tiling(windows)
            if windows is None or tiling is None:
                statements.append(statement)
            else:
                statements += _Tiles(windows, tiling, len(statements), self.by_place).statements()
        return replace(program, statements=statements)


@dataclass(frozen=True, eq=False)
class _Windows:
    """A contraction seen as a convolution along its last axis: the input without windows, and weights with the kernel as last axis."""

    statement: Contract
    x: View  # (groups, *terms, *positions)
    terms: int  # number of axes of terms
    weights: np.ndarray  # (groups, terms, outputs, kernel)
    phases: int  # size of the last axis of terms
    full: int  # number of phases that have a last weight; the kernels of the others are one shorter

    @property
    def width(self) -> int:
        return self.x.shape[-1]

    @cached_property
    def shared(self) -> dict[int, tuple[int, int]]:
        """Return the axes of terms that run along an axis of rows, as windows do: term -> (row, distance of windows in steps)."""
        first, pairs = 1 + self.terms, {}
        taken: set[int] = set()
        for term in range(2, first):
            for row in range(first, len(self.x.shape) - 1):
                step, apart = self.x.strides[term], self.x.strides[row]
                if self.x.shape[term] > 1 and row not in taken and step and apart > 0 and apart % step == 0 and apart // step < self.x.shape[term]:  # fmt: skip
                    pairs[term] = (row, apart // step)
                    taken.add(row)
                    break
        return pairs

    @cached_property
    def spread(self) -> View:
        """Return the input without its last axis; where windows overlap, each element appears once and the row axis has size 1."""
        shape, strides = list(self.x.shape[:-1]), list(self.x.strides[:-1])
        for term, (row, apart) in self.shared.items():
            shape[term] += (shape[row] - 1) * apart
            shape[row] = 1
        return replace(self.x, shape=tuple(shape), strides=tuple(strides))


def _windows(statement: Contract) -> _Windows | None:
    """Return a contraction as a convolution along its last axis, or None where it is something else."""
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


def _fastest_tiling(windows: _Windows) -> Tiling | None:
    """Return the fastest tiling, or None where the plain convolution is faster; in multiply-adds, at one per cycle."""
    statement = windows.statement
    _, all_terms, outputs = statement.weights.shape
    terms, kernel = windows.weights.shape[1], windows.weights.shape[3]
    rows = prod(windows.x.shape[1 + windows.terms : -1])
    inputs = prod(windows.spread.shape[1:]) / rows  # per position of a row
    best, least = None, TILED_TIME * windows.width * all_terms * outputs
    for tiling in TILINGS:
        tiles, rest = divmod(windows.width, tiling.outputs)
        if tiling.kernel != kernel or not tiles:
            continue
        products = (tiling.size - 1 + windows.full / windows.phases) * terms * outputs
        sums = tiling.size / TILE_SIZE * (TILE_INPUT_CYCLES * inputs + TILE_OUTPUT_CYCLES * outputs)
        time = tiles * (products + sums) + rest * all_terms * outputs
        if time < least:
            best, least = tiling, time
    return best


@dataclass(frozen=True)
class _LastPositions:
    """Some of the positions along the last axis."""

    first: int
    count: int
    step: int = 1

    def of(self, view: View) -> View:
        """Return these positions of a view."""
        return view.slice(len(view.shape) - 1, self.first, self.count, self.step)

    def finished(self, finish: Expression | None, value: Expression) -> Expression:
        """Return `finish` at these positions, with `value` in place of its accumulator."""
        if finish is None:
            return value

        def change(leaf: Leaf) -> Expression:
            return value if isinstance(leaf, Accumulator) else leaf.moved(self.of, value.shape)

        return mapped(finish, change, value.shape)


class _Tiles:
    """The statements that replace a convolution."""

    def __init__(self, windows: _Windows, tiling: Tiling, number: int, by_place: bool) -> None:
        self.windows, self.tiling, self.number = windows, tiling, number
        self.statement = windows.statement
        self.count = windows.width // tiling.outputs
        self.rows = windows.x.shape[1 + windows.terms : -1]
        groups, _, outputs = self.statement.weights.shape
        shape = (tiling.size, *windows.spread.shape, self.count)
        short = windows.weights.shape[1] <= SHORT_SUM
        if by_place and short and groups == 1 and windows.full == windows.phases:
            rows = 2 + windows.terms  # axes are stored in the order: places, terms, sums
            order = (1, *range(rows, len(shape)), *range(2, rows), 0)
            back = [order.index(axis) for axis in range(len(shape))]
            self.sums = self._scratch("sums", tuple(shape[axis] for axis in order)).permute(back)
        else:
            self.sums = self._scratch("sums", shape)
        self.products = self._scratch("products", (tiling.size, groups, outputs, *self.rows, self.count))

    def _scratch(self, name: str, shape: tuple[int, ...]) -> View:
        return View.whole(Buffer(f"{self.number}:{name}", prod(shape)), shape)

    def statements(self) -> list[Statement]:
        """Return sums of inputs, products, outputs, and the rest of each row."""
        last = self.tiling.size - 1
        windows = self.windows
        statements: list[Statement] = list(self._input_sums())
        if windows.full == windows.phases:
            statements.append(self._products(0, last + 1, windows.phases))
        else:
            statements += [self._products(0, last, windows.phases), self._products(last, 1, windows.full)]
        statements.append(self._outputs())
        rest = windows.width - self.count * self.tiling.outputs
        if rest:
            statements.append(self._rest(_LastPositions(windows.width - rest, rest)))
        return statements

    def _input_sums(self) -> Iterator[Maps]:
        """Yield the sums of inputs; phases with a shorter kernel have no part in the last sum."""
        windows, tiling = self.windows, self.tiling
        spread, step = windows.spread, windows.x.strides[-1]
        read = replace(
            spread, shape=(*spread.shape, self.count), strides=(*spread.strides, step * tiling.outputs)
        )
        axis = windows.terms  # the axis of phases
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
            yield Maps(tiling.input_sums(x)[:sums], tuple(outs))

    def _products(self, first: int, count: int, phases: int) -> Contract:
        """Return `count` of the products, summed over the terms of that many phases."""
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
        # the groups of each sum are contiguous and form one axis with it
        x = replace(
            sums,
            shape=(count * groups, *shape[2:]),
            strides=(strides[1] if groups > 1 else strides[0], *strides[2:]),
        )
        weights = np.ascontiguousarray(weights.reshape(count * groups, -1, outputs))
        products = self.products.slice(0, first, count)
        out = products.reshape((count * groups, *products.shape[2:]))
        assert out is not None  # noqa: S101 - contiguous
        start = self.tiling.product_bias()[first : first + count, None, None] * statement.bias
        bias = np.ascontiguousarray(start.reshape(count * groups, outputs), np.float32)
        chains = (
            1 if weights.shape[1] <= SHORT_SUM else 2
        )  # chains of half the length keep rounding errors small
        return Contract(x, windows.terms, weights, bias, out, chains=chains)

    def _outputs(self) -> Maps:
        """Return the outputs as sums of products, added to `start` and with `finish` applied."""
        statement = self.statement
        values, outs = [], []
        products = [Load(self.products.at(0, i)) for i in range(self.tiling.size)]
        for output, summed in enumerate(self.tiling.outputs_of(products)):
            part, value = _LastPositions(output, self.count, self.tiling.outputs), summed
            if statement.start is not None:
                value = plain_call("add", value, Load(part.of(statement.start)))
            values.append(part.finished(statement.finish, value))
            outs.append(part.of(statement.out))
        return Maps(tuple(values), tuple(outs))

    def _rest(self, part: _LastPositions) -> Contract:
        """Return the positions beyond the last full tile as a plain convolution."""
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
