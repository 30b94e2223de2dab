"""Convolutions by tiles, in wide kernels: several sums per tile, from which the outputs are combined."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod

import numpy as np

from tamis.native.emission.arithmetic import Arithmetic
from tamis.native.emission.loops import Axis, joined, tiles
from tamis.native.emission.tuning import TILE_POSITIONS, TILE_TERMS
from tamis.native.emission.writer import Emission, emit_statement
from tamis.native.expression import Load, loads
from tamis.native.program import Tiled
from tamis.native.view import View


@emit_statement.register
def emit_tiled(statement: Tiled, emission: Emission) -> None:
    """Write outs[i] = values[i] of several sums over the terms."""
    _TiledSums(emission, statement).write()


class _TiledSums:
    """Writes a tiled contraction: blocks of all sums of some outputs at some positions."""

    def __init__(self, emission: Emission, statement: Tiled) -> None:
        self.writer, self.mode, self.blob = emission.writer, emission.mode, emission.blob
        self.statement, mode = statement, emission.mode
        self.size, self.groups, self.terms, self.outputs = statement.weights.shape
        more = [load.view for value in statement.values for load in loads(value)]
        self.views = list(dict.fromkeys([statement.x, *statement.outs, *more]))
        room = max(1, mode.target.sums // self.size)
        last = statement.outs[0].shape[-1]
        self.positions = 1 if mode.count > 1 else min(TILE_POSITIONS, last, room)
        self.block = max(1, room // (self.positions * mode.count))
        self.in_rows = self.blob.for_all_targets  # weights in an order that suits blocks of any size

    def write(self) -> None:
        """Write the loops over groups, positions and outputs."""
        statement, x = self.statement, self.statement.x
        shape = statement.outs[0].shape
        lead = 2 + statement.reduced
        counters: list[tuple[str, Axis]] = []
        moving = joined(shape[2:-1], [self._strides(view, lead)[:-1] for view in self.views])
        last = tuple(self._strides(view, lead)[-1] * self.mode.factor(view) for view in self.views)
        base = self.blob.add(self._packed(statement.weights))
        self.bias = self.blob.add(self._packed(statement.bias[:, :, None]))
        with ExitStack() as stack:
            group = tuple(view.strides[1 if view is x else 0] * self.mode.factor(view) for view in self.views)
            self._enter(stack, counters, "g", Axis(self.groups, group))
            for number, axis in enumerate(moving):
                strides = tuple(
                    s * self.mode.factor(v) for s, v in zip(axis.strides, self.views, strict=True)
                )
                self._enter(stack, counters, f"p{number}", Axis(axis.size, strides))
            done = 0
            for count, positions in tiles(shape[-1], self.positions):
                start = tuple(stride * done for stride in last)
                done += count * positions
                with self.writer.loop("q", count):
                    turns = Axis(count, tuple(stride * positions for stride in last))
                    self._outputs([*counters, ("q", turns)], start, last, positions, base)

    def _strides(self, view: View, lead: int) -> tuple[int, ...]:
        return view.strides[lead if view is self.statement.x else 2 :]

    def _enter(self, stack: ExitStack, counters: list[tuple[str, Axis]], counter: str, axis: Axis) -> None:
        stack.enter_context(self.writer.loop(counter, axis.size))
        counters.append((counter, axis))

    def _packed(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights in the order in which they are read: block by block, term by term, sum by sum."""
        ordered = weights.transpose(1, 2, 0, 3)  # (groups, terms, size, outputs)
        if self.in_rows:
            return ordered
        pieces, done = [], 0
        for count, size in tiles(self.outputs, self.block):
            for _ in range(count):
                pieces.append(ordered[..., done : done + size].reshape(self.groups, -1))
                done += size
        return np.concatenate(pieces, axis=1)

    def _outputs(self, counters: list[tuple[str, Axis]], start: tuple[int, ...], last: tuple[int, ...], positions: int, base: int) -> None:  # fmt: skip
        done = 0
        floats = self.size * self.terms
        for count, size in tiles(self.outputs, self.block):
            moves = tuple(
                0 if view is self.statement.x else view.strides[1] * self.mode.factor(view) * size
                for view in self.views
            )
            first = tuple(s + m // size * done for s, m in zip(start, moves, strict=True))
            with self.writer.loop("o", count):
                apart, apart_bias = (1, 1) if self.in_rows else (floats, self.size)
                k = f"w + {base + done * apart} + g * {self.outputs * floats} + o * {size * apart}"
                b = f"w + {self.bias + done * apart_bias} + g * {self.outputs * self.size} + o * {size * apart_bias}"
                self._kernel([*counters, ("o", Axis(count, moves))], first, last, positions, size, k, b)
            done += count * size

    def _pitch(self, block: int) -> int:
        """Return the floats from the weights of a sum to those of the next, given the outputs of a block."""
        return self.outputs if self.in_rows else block

    def _kernel(self, counters: list[tuple[str, Axis]], start: tuple[int, ...], last: tuple[int, ...],
                positions: int, outputs: int, k: str, b: str) -> None:  # fmt: skip
        writer, mode, views = self.writer, self.mode, self.views

        def address(view: View, i: int = 0, j: int = 0) -> str:
            number = views.index(view)
            output = 0 if view is self.statement.x else view.strides[1] * mode.factor(view)
            fixed = start[number] + i * output + j // mode.count * last[number]
            fixed += 0 if mode.is_constant(view) else j % mode.count * mode.lanes
            terms = [mode.base(view), str(fixed)]
            terms += [f"{counter} * {axis.strides[number]}" for counter, axis in counters if axis.strides[number] and axis.size != 1]  # fmt: skip
            return " + ".join(terms)

        across = positions * mode.count
        writer.line(f"const float *x = {address(self.statement.x)};")
        writer.line(f"const float *k = {k};")
        if self.statement.bias.any():
            writer.line(f"const float *b = {b};")
        for f in range(self.size):
            for i in range(outputs):
                first = (
                    f"all(b[{f * self._pitch(outputs) + i}])" if self.statement.bias.any() else "all(0.0f)"
                )
                for j in range(across):
                    writer.line(f"V a{f}_{i}_{j} = {first};")
        self._sum(outputs, across, last[0])
        for i in range(outputs):
            for j in range(across):
                with writer.block():

                    def read(load: Load, _: int, i: int = i, j: int = j) -> str:
                        where = address(load.view, i, j)
                        return f"all(*({where}))" if mode.is_constant(load.view) else f"ld({where})"

                    sums = [f"a{f}_{i}_{j}" for f in range(self.size)]
                    arithmetic = Arithmetic(writer, read, lambda _: 0, sums)
                    for value, out in zip(self.statement.values, self.statement.outs, strict=True):
                        writer.line(f"st({address(out, i, j)}, {arithmetic.text(value)});")

    def _sum(self, outputs: int, across: int, apart: int) -> None:
        """Write the multiply-adds: for each term and sum, one vector per position and one number per output."""
        writer, mode, x = self.writer, self.mode, self.statement.x
        factor = mode.factor(x)
        axes = slice(2, 2 + self.statement.reduced)
        reduced = joined(x.shape[axes], [x.strides[axes]]) or [Axis(1, (0,))]
        assert prod(axis.size for axis in reduced) == self.terms  # noqa: S101 - the shape of the weights
        width = self.size * self._pitch(outputs)
        with ExitStack() as stack:
            terms = []
            for number, axis in enumerate(reduced[:-1]):
                stack.enter_context(writer.loop(f"r{number}", axis.size))
                terms.append(f" + r{number} * {axis.strides[0] * factor}")
            inner = reduced[-1]
            step = inner.strides[0] * factor
            together = min(TILE_TERMS, inner.size)
            whole = inner.size // together * together
            with writer.loop("r", whole, together):
                for c in range(together):
                    self._term(f"x{''.join(terms)} + (r + {c}) * {step}", c * width, outputs, across, apart)
                writer.line(f"k += {together * width};")
            for c in range(inner.size - whole):
                self._term(f"x{''.join(terms)} + {(whole + c) * step}", c * width, outputs, across, apart)
            if inner.size > whole:
                writer.line(f"k += {(inner.size - whole) * width};")

    def _term(self, at: str, k: int, outputs: int, across: int, apart: int) -> None:
        writer, mode, x = self.writer, self.mode, self.statement.x
        far = x.strides[0] * mode.factor(x)
        with writer.block():
            writer.line(f"const float *xr = {at};")
            for f in range(self.size):
                with writer.block():
                    for j in range(across):
                        offset = f * far + j // mode.count * apart + j % mode.count * mode.lanes
                        writer.line(f"V v{j} = ld(xr + {offset});")
                        if outputs > 1:
                            writer.line(f"TAMIS_KEEP(v{j});")
                    for i in range(outputs):
                        writer.line(f"const V u{i} = all(k[{k + f * self._pitch(outputs) + i}]);")
                        for j in range(across):
                            writer.line(f"a{f}_{i}_{j} = fma_(u{i}, v{j}, a{f}_{i}_{j});")
