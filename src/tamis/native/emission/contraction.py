"""Contractions in C: a block of sums is held in registers while the terms go by.

One factor of each multiply-add is a vector and the other one number for all its lanes. Where a vector holds events (wide) or
neighbouring positions of one event, the weight is the number; where it holds outputs, what comes in is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from tamis.native.emission.arithmetic import Arithmetic
from tamis.native.emission.blob import Blob
from tamis.native.emission.lanes import (
    STRAIGHT,
    Lanes,
    choose_lanes,
    positions_of,
    rows_together,
    views_of,
)
from tamis.native.emission.loops import Axis, joined, tiles
from tamis.native.emission.mode import Mode
from tamis.native.emission.packing import FLOATS, by_blocks, by_vectors, kind_of
from tamis.native.emission.writer import Writer
from tamis.native.expression import Load
from tamis.native.program import Contract
from tamis.native.view import Role, View

NEAR = 0.9  # of the nearest cache is what weights may take, beside what else is read
SWUNG = 4  # vectors of outputs at a time, where they are gone through forth and back
HALF = 8  # lanes: where vectors have twice as many, and the last one no more than these, half of its work is left out


@dataclass(frozen=True)
class Block:
    """The sums that are held at a time: outputs (or vectors of them) by positions (or vectors of them)."""

    outputs: int
    positions: int


class Contraction:
    """A contraction while it is written."""

    def __init__(self, writer: Writer, mode: Mode, blob: Blob, statement: Contract, *, turns: bool = False) -> None:  # fmt: skip
        """Choose lanes and blocks; `turns`: this is done at each turn t of a loop."""
        self.turns = turns
        self.writer, self.mode, self.blob, self.statement = writer, mode, blob, statement
        self.lanes = choose_lanes(mode, statement)
        self.views = views_of(statement)
        self.places = positions_of(mode, statement)
        self.groups, self.terms, self.outputs = statement.weights.shape
        self.rows = rows_together(mode, self.places) if self.lanes is Lanes.POSITIONS else 1
        self.row = self.places.pop() if self.rows > 1 else Axis(1, ())
        self.last = self.places.pop() if self.places else Axis(1, (0,) * len(self.views))
        x = statement.x
        factor = mode.factor(x)
        self.taps = tuple(tap * factor for tap in statement.taps)
        ranges = slice(1, 1 + statement.reduced - bool(self.taps))
        self.reduced = [
            Axis(axis.size, (axis.strides[0] * factor,))
            for axis in joined(x.shape[ranges], [x.strides[ranges]])
        ]
        if self.taps or not self.reduced:
            self.reduced.append(Axis(len(self.taps) or 1, (0,)))
        # Floats of weights of one output, or of one vector of outputs: there an odd number of vectors, so that those that are
        # read together lie in different places of the cache.
        self.column = (self.terms | 1) * mode.lanes if self._step() > 1 else self.terms
        self.kind = FLOATS
        self.counters: list[tuple[str, Axis]] = []
        # Where the block's first positions lie in each view, besides what counters add.
        self.start = (0,) * len(self.views)
        self._tail = 0  # lanes of the last positions, where they do not fill a vector
        self._half = (-1, -1)  # which outputs and which positions are half a vector
        # The block's first output, and how far those of the next turn of `o` are.
        self.first, self.apart = 0, 0

    def write(self) -> None:
        """Write all of it: groups, positions, outputs."""
        statement, mode = self.statement, self.mode
        views = self.views
        group = Axis(
            self.groups,
            tuple(view.strides[0] * mode.factor(view) if view.shape[0] > 1 else 0 for view in views),
        )
        with ExitStack() as stack:
            self._enter(stack, "g", group)
            for number, axis in enumerate(self.places):
                self._enter(stack, f"p{number}", axis)
            if self.lanes is Lanes.EVENTS and statement.chains > STRAIGHT:
                moves = tuple(0 if mode.is_constant(view) else mode.lanes for view in views)
                self._enter(stack, "v", Axis(mode.count, moves))
            self._blocks()

    def _enter(self, stack: ExitStack, counter: str, axis: Axis, *, swing: bool = False) -> None:
        stack.enter_context(self.writer.loop(f"{counter}_" if swing else counter, axis.size))
        if swing:
            self.writer.line(f"const long {counter} = t & 1 ? {axis.size - 1} - {counter}_ : {counter}_;")
        self.counters.append((counter, axis))

    def _limits(self) -> Block:
        """Return how many sums registers hold."""
        room = 24 if self.mode.target.registers >= 32 else 12
        chains = self.statement.chains
        lanes = self.mode.lanes
        if chains > STRAIGHT:
            return Block(1, 1)
        room //= chains
        if self.lanes is Lanes.EVENTS:
            vectors = self.mode.count
            together = min(self.last.size, max(1, 4 // vectors)) if self.mode.target.registers >= 32 else 1
            return Block(max(1, room // (vectors * together)), together)
        if self.lanes is Lanes.POSITIONS:
            vectors = _even(-(-self.last.size // self._width()), 6)
            return Block(max(1, room // vectors), vectors)
        vectors = -(-self.outputs // lanes)
        together = min(self.last.size, room)
        if together == 1:
            most = SWUNG if self._swings() else room
            return Block(_even(vectors, most), 1)
        most = max(1, min(vectors, 3 if together >= 6 else room // together))
        most = _even(vectors, most)
        return Block(most, max(1, min(together, room // most)))

    def _blocks(self) -> None:
        block = self._limits()
        size, step = self._width(), self._step()
        units = -(-self.last.size // size)
        vectors = -(-self.outputs // step)
        packed = self._pack(tiles(vectors, block.outputs), step)
        done = 0
        ragged = self.lanes is Lanes.POSITIONS and self.rows == 1 and self.last.size % size
        for count, positions in tiles(units, block.positions):
            start, done = done, done + count * positions
            strides = tuple(s * positions * size for s in self.last.strides)
            # Where the last vector is not full, the last round is written by itself.
            split = ragged and done == units and count > 1
            for begin, times in [(0, count - 1), (count - 1, 1)] if split else [(0, count)]:
                with ExitStack() as stack:
                    first = tuple(s * (start + begin * positions) * size for s in self.last.strides)
                    self._enter(stack, "q", Axis(times, strides))
                    self.start = first
                    last = bool(ragged) and done == units and begin + times == count
                    self._outputs(tiles(vectors, block.outputs), step, positions, packed, ragged=last)
                    self.counters.pop()

    def _outputs(
        self, cut: Sequence[tuple[int, int]], step: int, positions: int, packed: list[int], *, ragged: bool
    ) -> None:
        done = 0
        for (number, size), where in zip(cut, packed, strict=True):
            first, done = done, done + number * size
            partial = self.lanes is Lanes.OUTPUTS and done * step > self.outputs
            moves = tuple(self._output_stride(view) * size * step for view in self.views)
            for begin, times in (
                [(0, number - 1), (number - 1, 1)] if partial and number > 1 else [(0, number)]
            ):
                with ExitStack() as stack:
                    self._enter(stack, "o", Axis(times, moves), swing=self._swings() and times == number > 1)
                    self.first = (first + begin * size) * step
                    self.apart = size * step if times > 1 else 0
                    filled = self.outputs - self.first if partial and begin + times == number else size * step
                    place = where + begin * size * self.column
                    self._kernel(size, positions, place, filled, ragged, times)
                    self.counters.pop()

    def _swings(self) -> bool:
        """Tell whether outputs are gone through forth and back: where weights that are read at each turn are a little too many for a cache."""
        bytes_, near = 4 * self.statement.weights.size, self.mode.target.near
        return self.turns and self.lanes is Lanes.OUTPUTS and NEAR * near < bytes_ < 4 * near

    def _output_stride(self, view: View) -> int:
        return 0 if view is self.statement.x else view.strides[1] * self.mode.factor(view)

    def _pack(self, cut: Sequence[tuple[int, int]], step: int) -> list[int]:
        """Lay weights out in the order in which they are used; return where each kind of block begins."""
        weights = self.statement.weights
        if self.statement.chains > STRAIGHT:
            base = self.blob.add(weights.transpose(0, 2, 1))
            self.group_floats = self.outputs * self.terms
            return [base] * len(cut)
        if self.lanes is Lanes.OUTPUTS:
            self.kind = kind_of(weights)
            packed, starts = by_vectors(weights, cut, self.column, step)
        else:
            packed, starts = by_blocks(weights, cut)
        self.group_floats = packed.shape[1]
        base = self.blob.add(self.kind.kept(packed)) * self.kind.per_float
        return [base + start for start in starts]

    def _address(self, view: View, *more: str) -> str:
        place = self.views.index(view)
        terms = [self.mode.base(view)]
        fixed = self.start[place] + self._output_stride(view) * self.first
        if fixed:
            terms.append(str(fixed))
        for counter, axis in self.counters:
            stride = axis.strides[place]
            if stride and axis.size > 1:
                terms.append(f"{counter} * {stride}")
        return " + ".join((*terms, *more))

    def _kernel(
        self, outputs: int, positions: int, where: int, filled: int, ragged: bool, times: int
    ) -> None:
        """Write one block: begin, sum up, finish."""
        writer, statement = self.writer, self.statement
        vectors = self.mode.count if self.lanes is Lanes.EVENTS and statement.chains <= STRAIGHT else 1
        across = positions * vectors
        moving = f" + o * {outputs * self.column}" if times > 1 else ""
        group = f" + g * {self.group_floats}" if self.groups > 1 else ""
        writer.line(f"const float *x = {self._address(statement.x)};")
        seen = "w" if self.kind is FLOATS else f"(const {self.kind.type} *)w"
        writer.line(f"const {self.kind.type} *k = {seen} + {where}{group}{moving};")
        self._tail = self.last.size % self.mode.lanes if ragged else 0
        short = filled - (outputs - 1) * self.mode.lanes if self.lanes is Lanes.OUTPUTS else self.mode.lanes
        can = self.mode.lanes == 2 * HALF and statement.chains <= STRAIGHT
        self._half = (
            outputs - 1 if can and short <= HALF else -1,
            positions - 1 if can and 0 < self._tail <= HALF else -1,
        )
        chains = statement.chains
        if chains > STRAIGHT:
            writer.line(f"k = w + {where}{group} + ({self._output()}) * {self.terms};")
            self._dot(chains)
            return
        names = [[[f"a{i}_{j}_{c}" for c in range(chains)] for j in range(across)] for i in range(outputs)]
        self._begin(names, outputs, positions, vectors, filled)
        self._sum(names, outputs, positions, vectors)
        for i in range(outputs):
            for j in range(across):
                self._finish(
                    names[i][j], i, j, vectors, filled, last=ragged and j // vectors == positions - 1
                )

    def _width(self) -> int:
        """Return how many of the last positions a vector takes."""
        if self.lanes is not Lanes.POSITIONS:
            return 1
        return self.rows if self.rows > 1 else self.mode.lanes

    def _step(self) -> int:
        alone = self.lanes is not Lanes.OUTPUTS or self.statement.chains > STRAIGHT
        return 1 if alone else self.mode.lanes

    def _offset(self, view: View, i: int, j: int, vectors: int) -> int:
        """Return how far a view's element for sum (i, j) lies from that of (0, 0)."""
        place = self.views.index(view)
        size = self._width()
        found = (
            i * self._step() * self._output_stride(view) + (j // vectors) * size * self.last.strides[place]
        )
        if vectors > 1 and not self.mode.is_constant(view):
            found += (j % vectors) * self.mode.lanes
        return found

    def _read(self, view: View, i: int, j: int, vectors: int, filled: int, last: bool) -> str:
        """Return the C of a vector of a view at sum (i, j)."""
        address = f"{self._address(view)} + {self._offset(view, i, j, vectors)}"
        if self.lanes is Lanes.EVENTS:
            return f"all(*({address}))" if self.mode.is_constant(view) else f"ld({address})"
        if self.rows > 1:
            return self._read_rows(view, address)
        stride, count = self._lane(view, i, filled, last)
        if not stride:
            return f"all(*({address}))"
        if stride == 1:
            return f"ld({address})" if count == self.mode.lanes else f"ld_n({address}, {count})"
        return f"gather({address}, {stride}, {count})"

    def _read_rows(self, view: View, address: str) -> str:
        pitch = self.last.strides[self.views.index(view)]
        return f"ld_rows{self.row.size}({address}, {pitch})" if pitch else f"all(*({address}))"

    def _lane(self, view: View, i: int, filled: int, last: bool) -> tuple[int, int]:
        """Return how far lanes lie apart in a view, and how many of them count."""
        lanes = self.mode.lanes
        if self.lanes is Lanes.OUTPUTS:
            return self._output_stride(view), min(lanes, filled - i * lanes)
        place = self.views.index(view)
        return self.last.strides[place], self._tail if last and self._tail else lanes

    def _begin(
        self, names: list[list[list[str]]], outputs: int, positions: int, vectors: int, filled: int
    ) -> None:
        writer, statement = self.writer, self.statement
        bias = statement.bias
        where = None
        if statement.start is None and bias.any():
            width = -(-self.outputs // self._step()) * self._step()
            level = np.zeros((self.groups, width), np.float32)
            level[:, : self.outputs] = bias
            where = self.blob.add(level)
            group = f" + g * {width}" if self.groups > 1 else ""
            writer.line(f"const float *b = w + {where}{group} + {self._output()};")
        for i in range(outputs):
            for j, chains in enumerate(names[i]):
                last = bool(self._tail) and j // vectors == positions - 1
                for c, name in enumerate(chains):
                    value = "all(0.0f)"
                    if c == 0 and statement.start is not None:
                        value = self._read(statement.start, i, j, vectors, filled, last)
                    elif c == 0 and where is not None:
                        value = (
                            f"ld(b + {i * self.mode.lanes})"
                            if self.lanes is Lanes.OUTPUTS
                            else f"all(b[{i}])"
                        )
                    writer.line(
                        f"H {name} = half({value});" if self._is_half(i, j) else f"V {name} = {value};"
                    )

    def _is_half(self, i: int, j: int) -> bool:
        return i == self._half[0] or j == self._half[1]

    def _add(self, name: str, number: str, vector: str, i: int, j: int) -> None:
        """Write a multiply-add."""
        half = self._is_half(i, j)
        text = (
            f"fma_half(all_half({number}), {vector}, {name})"
            if half
            else f"fma_(all({number}), {vector}, {name})"
        )
        self.writer.line(f"{name} = {text};")

    def _output(self) -> str:
        """Return the number of the block's first output in C."""
        return f"{self.first} + o * {self.apart}" if self.apart else str(self.first)

    def _sum(self, names: list[list[list[str]]], outputs: int, positions: int, vectors: int) -> None:
        writer, reduced, chains = self.writer, self.reduced, self.statement.chains
        width = self.mode.lanes if self.lanes is Lanes.OUTPUTS else outputs
        inner = reduced[-1]
        with ExitStack() as stack:
            terms: list[str] = []
            for number, axis in enumerate(reduced[:-1]):
                stack.enter_context(writer.loop(f"r{number}", axis.size))
                if axis.strides[0] and axis.size > 1:
                    terms.append(f" + r{number} * {axis.strides[0]}")
            at = "x" + "".join(terms)
            if self.taps:
                for c, tap in enumerate(self.taps):
                    self._term(names, outputs, positions, vectors, f"{at} + {tap}", c * width, 0)
                writer.line(f"k += {len(self.taps) * width};")
                return
            straight = chains if chains > 1 else inner.size if inner.size <= STRAIGHT else 1
            whole, rest = inner.size // straight, inner.size % straight
            with writer.loop("r", whole * straight, straight):
                for c in range(straight):
                    place = f"{at} + (r + {c}) * {inner.strides[0]}" if inner.strides[0] else at
                    self._term(names, outputs, positions, vectors, place, c * width, c % chains)
                writer.line(f"k += {straight * width};")
            for c in range(rest):
                place = f"{at} + {(whole * straight + c) * inner.strides[0]}"
                self._term(names, outputs, positions, vectors, place, c * width, c % chains)
            if rest:
                writer.line(f"k += {rest * width};")

    def _term(self, names: list[list[list[str]]], outputs: int, positions: int, vectors: int, at: str, k: int, chain: int) -> None:  # fmt: skip
        """Write the multiply-adds of one term."""
        writer, view = self.writer, self.statement.x
        with writer.block():
            writer.line(f"const float *xr = {at};")
            if self.lanes is Lanes.OUTPUTS:
                for i in range(outputs):
                    value = f"{self.kind.read}(k + {k + i * self.column})"
                    writer.line(f"H v{i} = half({value});" if self._is_half(i, -2) else f"V v{i} = {value};")
                    if positions > 1:
                        writer.line(f"TAMIS_KEEP(v{i});")
                for j in range(positions):
                    number = f"xr[{self._offset(view, 0, j, 1)}]"
                    for i in range(outputs):
                        self._add(names[i][j][chain], number, f"v{i}", i, j)
                return
            for j in range(positions * vectors):
                offset = self._offset(view, 0, j, vectors)
                short = self._tail and j == positions - 1 and view.buffer.role is Role.INPUT
                value = (
                    f"ld_n(xr + {offset}, {self._tail})"
                    if short and not self.mode.wide
                    else f"ld(xr + {offset})"
                )
                if self.rows > 1:
                    value = self._read_rows(view, f"xr + {offset}")
                writer.line(f"H v{j} = half({value});" if self._is_half(-2, j) else f"V v{j} = {value};")
                if outputs > 1:
                    writer.line(f"TAMIS_KEEP(v{j});")
            for i in range(outputs):
                for j in range(positions * vectors):
                    self._add(names[i][j][chain], f"k[{k + i}]", f"v{j}", i, j)

    def _finish(self, chains: list[str], i: int, j: int, vectors: int, filled: int, *, last: bool) -> None:
        """Add chains in halves, apply what is to be applied, store."""
        writer = self.writer
        while len(chains) > 1:
            half = len(chains) // 2
            for c in range(half):
                writer.line(f"{chains[c]} = {chains[c]} + {chains[c + half]};")
            chains = chains[:half]
        self._store(chains[0], i, j, vectors, filled, last)

    def _store(self, given: str, i: int, j: int, vectors: int, filled: int, last: bool) -> None:
        writer, statement, view = self.writer, self.statement, self.statement.out
        with writer.block():
            value = name = given
            if self._is_half(i, j):
                value = name = writer.name("h")
                writer.line(f"const V {name} = whole({given});")
            if statement.finish is not None:

                def read(load: Load, _: int) -> str:
                    return self._read(load.view, i, j, vectors, filled, last)

                value = Arithmetic(writer, read, lambda _: 0, [name]).text(statement.finish)
            address = f"{self._address(view)} + {self._offset(view, i, j, vectors)}"
            if self.lanes is Lanes.EVENTS:
                writer.line(f"st({address}, {value});")
                return
            if self.rows > 1:
                pitch = self.last.strides[self.views.index(view)]
                writer.line(f"st_rows{self.row.size}({address}, {value}, {pitch});")
                return
            stride, count = self._lane(view, i, filled, last)
            if stride == 1 or count == 1:
                full = count == self.mode.lanes
                writer.line(f"st({address}, {value});" if full else f"st_n({address}, {value}, {count});")
            else:
                writer.line(f"scatter({address}, {value}, {stride}, {count});")

    def _dot(self, chains: int) -> None:
        """Sum one output in many chains: of an event as lanes where its numbers lie one behind the other."""
        writer, statement, mode = self.writer, self.statement, self.mode
        inner = self.reduced[-1]
        name = "a"
        begin = "0.0f"
        if statement.start is None and statement.bias.any():
            where = self.blob.add(statement.bias)
            group = f" + g * {self.outputs}" if self.groups > 1 else ""
            writer.line(f"const float *b = w + {where}{group} + {self._output()};")
            begin = "b[0]"
        if mode.wide:
            writer.line(f"V {name}[{chains}];")
            writer.line(f"for (int c = 0; c < {chains}; c++) {name}[c] = all(0.0f);")
            first = f"all({begin})"
            if statement.start is not None:
                first = self._read(statement.start, 0, 0, 1, 1, last=False)
            writer.line(f"{name}[0] = {first};")
            whole = self.terms // chains * chains
            body = f"{name}[c] = fma_(all(k[r + c]), ld(x + (r + c) * {inner.strides[0]}), {name}[c]);"
            writer.line(
                f"for (long r = 0; r < {whole}; r += {chains}) for (int c = 0; c < {chains}; c++) {body}"
            )
            if self.terms > whole:
                body = body.replace("r + c", f"{whole} + c")
                writer.line(f"for (int c = 0; c < {self.terms - whole}; c++) {body}")
            self._halve(name, chains)
            self._store(f"{name}[0]", 0, 0, 1, 1, last=False)
            return
        count = chains // mode.lanes
        if statement.start is not None:
            begin = f"*({self._address(statement.start)})"
        writer.line(f"V {name}[{count}];")
        writer.line(f"for (int c = 0; c < {count}; c++) {name}[c] = all(0.0f);")
        writer.line(f"{name}[0][0] = {begin};")
        whole = self.terms // chains * chains
        lanes = mode.lanes
        read = f"ld(x + r + c * {lanes})" if inner.strides[0] == 1 else f"gather(x + (r + c * {lanes}) * {inner.strides[0]}, {inner.strides[0]}, {lanes})"  # fmt: skip
        writer.line(
            f"for (long r = 0; r < {whole}; r += {chains}) for (int c = 0; c < {count}; c++) "
            f"{name}[c] = fma_(ld(k + r + c * {lanes}), {read}, {name}[c]);"
        )
        for c in range(-(-(self.terms - whole) // lanes)):
            left = min(lanes, self.terms - whole - c * lanes)
            place = whole + c * lanes
            value = f"gather(x + {place * inner.strides[0]}, {inner.strides[0]}, {left})"
            value = f"ld_n(x + {place}, {left})" if inner.strides[0] == 1 else value
            writer.line(f"{name}[{c}] = fma_(ld_n(k + {place}, {left}), {value}, {name}[{c}]);")
        writer.line(f"float f[{chains}];")
        writer.line(f"for (int c = 0; c < {count}; c++) st(f + c * {lanes}, {name}[c]);")
        self._halve("f", chains)
        writer.line("V sum = all(f[0]);")
        self._tail = 1
        self._store("sum", 0, 0, 1, 1, last=True)

    def _halve(self, name: str, count: int) -> None:
        half = count // 2
        while half:
            self.writer.line(f"for (int c = 0; c < {half}; c++) {name}[c] = {name}[c] + {name}[c + {half}];")
            half //= 2


def _even(units: int, most: int) -> int:
    """Return the size of blocks of at most so many that units are cut into evenly."""
    if units <= most:
        return units
    return -(-units // -(-units // most))
