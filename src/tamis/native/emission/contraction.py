"""Contractions in C: a block of accumulators is held in registers while the terms are added.

Each multiply-add takes one vector and one number for all its lanes. Where lanes are events (wide) or positions of one event, the
number is the weight; where they are outputs, it is the element of x.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from tamis.native.emission.arithmetic import Arithmetic
from tamis.native.emission.blocking import (
    Blocking,
    OutputTile,
    PositionTile,
    choose_blocks,
    output_tiles,
    position_tiles,
)
from tamis.native.emission.lanes import Lanes
from tamis.native.emission.loops import Axis
from tamis.native.emission.packing import FLOAT_WEIGHTS, PackedWeights, pack_weights, padded_outputs
from tamis.native.emission.tuning import NEAR_SHARE_OF_WEIGHTS, POSITION_CHUNK_BYTES, STRAIGHT_TERMS
from tamis.native.emission.writer import Emission, emit_statement
from tamis.native.expression import Load
from tamis.native.program import Contract
from tamis.native.sizes import is_fixed, typical
from tamis.native.view import Role, View

Counters = tuple[tuple[str, Axis], ...]  # the loops around a block


@dataclass(frozen=True)
class SumBlock:
    """One block: accumulator (i, j) belongs to output (or vector) i and position (or vector, of events too) j."""

    outputs: int
    positions: int
    vectors: int  # of events per position
    filled: int  # outputs that exist
    tail: int  # lanes of the last position that exist, if not all; else 0
    first: int  # output of the first turn of the loop over outputs
    apart: int  # outputs from turn to turn
    start: tuple[int, ...]  # of each view, in floats, besides the counters
    counters: Counters
    half_output: int = -1  # the vector of outputs that is half a vector, if any
    half_position: int = -1  # the vector of positions that is

    @property
    def across(self) -> int:
        """Return the vectors of positions and events."""
        return self.positions * self.vectors

    @property
    def output(self) -> str:
        """Return the number of the block's first output, in C."""
        return f"{self.first} + o * {self.apart}" if self.apart else str(self.first)

    def is_half(self, i: int, j: int) -> bool:
        """Return whether accumulator (output i, position vector j) is half a vector; i or j is -2 if it serves all of them."""
        return i == self.half_output or j == self.half_position

    def is_last(self, j: int) -> bool:
        """Return whether vector j is the last one along the positions and only partly filled."""
        return bool(self.tail) and j // self.vectors == self.positions - 1


@emit_statement.register
def emit_contraction(statement: Contract, emission: Emission) -> None:
    """Write a contraction."""
    plan = choose_blocks(emission.mode, statement, turns=emission.turns)
    _Contraction(emission, statement, plan).write()


class _Contraction:
    """Writes a contraction by its plan."""

    def __init__(self, emission: Emission, statement: Contract, plan: Blocking) -> None:
        self.writer, self.mode, self.statement, self.plan = emission.writer, emission.mode, statement, plan
        self.groups, self.terms, self.outputs = statement.weights.shape
        if plan.dot:
            base = emission.blob.add(statement.weights.transpose(0, 2, 1))
            starts = [base] * len(plan.output_tiles)
            self.weights = PackedWeights(FLOAT_WEIGHTS, starts, self.outputs * self.terms, self.terms, 1)
        else:
            step = plan.step if plan.lanes is Lanes.OUTPUTS else 0
            self.weights = pack_weights(
                emission.blob, statement.weights, plan.output_tiles, plan.column, step
            )
        self.bias: int | None = None
        self.bias_width = self.outputs if plan.dot else -(-self.outputs // plan.step) * plan.step
        if emission.blob.for_all_targets and not plan.dot:
            self.bias_width = padded_outputs(self.outputs)
        if statement.start is None and statement.bias.any():
            padded = np.zeros((self.groups, self.bias_width), np.float32)
            padded[:, : self.outputs] = statement.bias
            self.bias = emission.blob.add(padded)

    def write(self) -> None:
        """Write the loops over groups, positions and outputs, and a block in each."""
        mode, plan = self.mode, self.plan
        group = Axis(
            self.groups,
            tuple(view.strides[0] * mode.factor(view) if view.shape[0] > 1 else 0 for view in plan.views),
        )
        loops = [("g", group), *((f"p{number}", axis) for number, axis in enumerate(plan.outer))]
        if plan.lanes is Lanes.EVENTS and plan.dot:
            moves = tuple(0 if mode.is_constant(view) else mode.lanes for view in plan.views)
            loops.append(("v", Axis(mode.count, moves)))
        with ExitStack() as stack:
            for counter, axis in loops:
                stack.enter_context(self.writer.loop(counter, axis.size))
            for across in position_tiles(plan):
                turns = Axis(across.count, across.strides)
                with self.writer.where(across.tail):
                    if self._reuses_weights(across):
                        self._in_chunks(loops, across, turns)
                        continue
                    with self.writer.loop("q", across.count):
                        for along in output_tiles(plan, self.weights.starts, self.weights.column):
                            with self._output_loop(along) as axis:
                                self._block((*loops, ("q", turns), ("o", axis)), across, along)

    def _reuses_weights(self, across: PositionTile) -> bool:
        """Return whether blocks of positions take turns with the weights of some outputs, as all weights would not stay in the nearest cache."""
        plan, mode = self.plan, self.mode
        large = 4 * self.terms * self.outputs > NEAR_SHARE_OF_WEIGHTS * mode.target.near
        return (
            plan.lanes is Lanes.OUTPUTS
            and not plan.dot
            and not plan.alternates
            and large
            and typical(across.count) > 1
        )

    def _in_chunks(self, loops: list[tuple[str, Axis]], across: PositionTile, turns: Axis) -> None:
        """Write loops over chunks of positions, outputs, and the positions of the chunk."""
        writer, count = self.writer, across.count
        many = max(1, POSITION_CHUNK_BYTES // (4 * self.terms * across.positions))
        with writer.block(f"for (long first = 0; first < {count}; first += {many})"):
            writer.line(f"const long last = first + {many} < {count} ? first + {many} : {count};")
            for along in output_tiles(self.plan, self.weights.starts, self.weights.column):
                with self._output_loop(along) as axis, writer.block("for (long q = first; q < last; q++)"):
                    self._block((*loops, ("q", turns), ("o", axis)), across, along)

    @contextmanager
    def _output_loop(self, tile: OutputTile) -> Iterator[Axis]:
        writer = self.writer
        with writer.loop("o_" if tile.alternates else "o", tile.count):
            if tile.alternates:
                writer.line(f"const long o = t & 1 ? {tile.count - 1} - o_ : o_;")
            step = tile.outputs * self.plan.step
            yield Axis(tile.count, tuple(self._output_stride(view) * step for view in self.plan.views))

    def _block(self, counters: Counters, across: PositionTile, along: OutputTile) -> None:
        """Write one block: initialise, sum up, finish and store."""
        writer, mode, plan = self.writer, self.mode, self.plan
        half = mode.lanes // 2 if mode.target.halves and not plan.dot else 0
        short = along.filled - (along.outputs - 1) * mode.lanes if plan.lanes is Lanes.OUTPUTS else mode.lanes
        block = SumBlock(
            outputs=along.outputs,
            positions=across.positions,
            vectors=mode.count if plan.lanes is Lanes.EVENTS and not plan.dot else 1,
            filled=along.filled,
            tail=across.tail,
            first=along.first,
            apart=along.apart,
            start=across.start,
            counters=counters,
            half_output=along.outputs - 1 if short <= half else -1,
            half_position=across.positions - 1 if is_fixed(across.tail) and 0 < across.tail <= half else -1,
        )
        kind = self.weights.type
        moving = f" + o * {along.outputs * self.weights.column}" if along.count > 1 else ""
        group = f" + g * {self.weights.group}" if self.groups > 1 else ""
        writer.line(f"const float *x = {self._address(block, self.statement.x)};")
        base = "w" if kind is FLOAT_WEIGHTS else f"(const {kind.type} *)w"
        writer.line(f"const {kind.type} *k = {base} + {along.weights}{group}{moving};")
        if plan.dot:
            writer.line(f"k = w + {along.weights}{group} + ({block.output}) * {self.terms};")
            self._dot(block)
            return
        chains = range(self.statement.chains)
        names = [
            [[f"a{i}_{j}_{c}" for c in chains] for j in range(block.across)] for i in range(block.outputs)
        ]
        self._begin(names, block)
        self._sum(names, block)
        for i in range(block.outputs):
            for j in range(block.across):
                sums = names[i][j]
                while len(sums) > 1:  # the chains are added up in halves
                    count = len(sums) // 2
                    for one, other in zip(sums[:count], sums[count:], strict=True):
                        writer.line(f"{one} = {one} + {other};")
                    sums = sums[:count]
                self._store(sums[0], block, i, j)

    def _output_stride(self, view: View) -> int:
        return 0 if view is self.statement.x else view.strides[1] * self.mode.factor(view)

    def _address(self, block: SumBlock, view: View) -> str:
        """Return the address of a view's element for accumulator (0, 0)."""
        number = self.plan.views.index(view)
        terms = [self.mode.base(view)]
        fixed = block.start[number] + self._output_stride(view) * block.first
        if fixed:
            terms.append(str(fixed))
        for counter, axis in block.counters:
            stride = axis.strides[number]
            if stride and axis.size != 1:
                terms.append(f"{counter} * {stride}")
        return " + ".join(terms)

    def _offset(self, block: SumBlock, view: View, i: int, j: int) -> int:
        """Return how far a view's element for accumulator (i, j) is from that for (0, 0)."""
        plan = self.plan
        stride = plan.last.strides[plan.views.index(view)]
        offset = i * plan.step * self._output_stride(view) + j // block.vectors * plan.width * stride
        if block.vectors > 1 and not self.mode.is_constant(view):
            offset += j % block.vectors * self.mode.lanes
        return offset

    def _read(self, block: SumBlock, view: View, i: int, j: int) -> str:
        """Return the C of a vector of a view at accumulator (i, j)."""
        address = f"{self._address(block, view)} + {self._offset(block, view, i, j)}"
        if self.plan.lanes is Lanes.EVENTS:
            return f"all(*({address}))" if self.mode.is_constant(view) else f"ld({address})"
        if self.plan.rows > 1:
            return self._read_rows(view, address)
        stride, count = self._lane(block, view, i, j)
        if not stride:
            return f"all(*({address}))"
        if stride == 1:
            return f"ld({address})" if count == self.mode.lanes else f"ld_n({address}, {count})"
        return f"gather({address}, {stride}, {count})"

    def _read_rows(self, view: View, address: str) -> str:
        pitch = self.plan.last.strides[self.plan.views.index(view)]
        return f"ld_rows{self.plan.row.size}({address}, {pitch})" if pitch else f"all(*({address}))"

    def _lane(self, block: SumBlock, view: View, i: int, j: int) -> tuple[int, int]:
        """Return the stride from lane to lane in a view, in floats, and the number of lanes that exist."""
        lanes = self.mode.lanes
        if self.plan.lanes is Lanes.OUTPUTS:
            return self._output_stride(view), min(lanes, block.filled - i * lanes)
        stride = self.plan.last.strides[self.plan.views.index(view)]
        return stride, block.tail if block.is_last(j) else lanes

    def _begin(self, names: list[list[list[str]]], block: SumBlock) -> None:
        """Declare the accumulators; the first chain begins with the bias or the start value."""
        writer, start = self.writer, self.statement.start
        if self.bias is not None:
            self._declare_bias(block)
        for i in range(block.outputs):
            for j, chains in enumerate(names[i]):
                for c, name in enumerate(chains):
                    value = "all(0.0f)"
                    if c == 0 and start is not None:
                        value = self._read(block, start, i, j)
                    elif c == 0 and self.bias is not None:
                        outputs = self.plan.lanes is Lanes.OUTPUTS
                        value = f"ld(b + {i * self.mode.lanes})" if outputs else f"all(b[{i}])"
                    writer.line(
                        f"H {name} = half({value});" if block.is_half(i, j) else f"V {name} = {value};"
                    )

    def _declare_bias(self, block: SumBlock) -> None:
        group = f" + g * {self.bias_width}" if self.groups > 1 else ""
        self.writer.line(f"const float *b = w + {self.bias}{group} + {block.output};")

    def _sum(self, names: list[list[list[str]]], block: SumBlock) -> None:
        """Write the loops over the terms."""
        writer, plan, chains = self.writer, self.plan, self.statement.chains
        width = self.weights.term or block.outputs
        inner = plan.reduced[-1]
        with ExitStack() as stack:
            at = "x"
            for number, axis in enumerate(plan.reduced[:-1]):
                stack.enter_context(writer.loop(f"r{number}", axis.size))
                if axis.strides[0] and axis.size != 1:
                    at += f" + r{number} * {axis.strides[0]}"
            if plan.taps:
                for c, tap in enumerate(plan.taps):
                    self._term(names, block, f"{at} + {tap}", c * width, 0)
                writer.line(f"k += {len(plan.taps) * width};")
                return
            straight = chains if chains > 1 else inner.size if inner.size <= STRAIGHT_TERMS else 1
            whole, rest = inner.size // straight, inner.size % straight
            with writer.loop("r", whole * straight, straight):
                for c in range(straight):
                    address = f"{at} + (r + {c}) * {inner.strides[0]}" if inner.strides[0] else at
                    self._term(names, block, address, c * width, c % chains)
                writer.line(f"k += {straight * width};")
            for c in range(rest):
                address = f"{at} + {(whole * straight + c) * inner.strides[0]}"
                self._term(names, block, address, c * width, c % chains)
            if rest:
                writer.line(f"k += {rest * width};")

    def _term(self, names: list[list[list[str]]], block: SumBlock, at: str, k: int, chain: int) -> None:
        """Write the multiply-adds of one term."""
        writer, view = self.writer, self.statement.x
        with writer.block():
            writer.line(f"const float *xr = {at};")
            if self.plan.lanes is Lanes.OUTPUTS:
                for i in range(block.outputs):
                    value = f"{self.weights.type.read}(k + {k + i * self.weights.column})"
                    writer.line(f"H v{i} = half({value});" if block.is_half(i, -2) else f"V v{i} = {value};")
                    if block.positions > 1:
                        writer.line(f"TAMIS_KEEP(v{i});")
                for j in range(block.positions):
                    number = f"xr[{self._offset(block, view, 0, j)}]"
                    for i in range(block.outputs):
                        self._multiply_add(names[i][j][chain], number, f"v{i}", half=block.is_half(i, j))
                return
            for j in range(block.across):
                offset = self._offset(block, view, 0, j)
                value = f"ld(xr + {offset})"
                if self.plan.rows > 1:
                    value = self._read_rows(view, f"xr + {offset}")
                elif block.is_last(j) and view.buffer.role is Role.INPUT and not self.mode.wide:
                    value = f"ld_n(xr + {offset}, {block.tail})"  # nothing may be read beyond an input
                writer.line(f"H v{j} = half({value});" if block.is_half(-2, j) else f"V v{j} = {value};")
                if block.outputs > 1:
                    writer.line(f"TAMIS_KEEP(v{j});")
            for i in range(block.outputs):
                for j in range(block.across):
                    self._multiply_add(names[i][j][chain], f"k[{k + i}]", f"v{j}", half=block.is_half(i, j))

    def _multiply_add(self, name: str, number: str, vector: str, *, half: bool) -> None:
        if half:
            self.writer.line(f"{name} = fma_half(all_half({number}), {vector}, {name});")
        else:
            self.writer.line(f"{name} = fma_(all({number}), {vector}, {name});")

    def _store(self, total: str, block: SumBlock, i: int, j: int) -> None:
        """Apply the finish expression to a sum, and write it."""
        writer, statement, view = self.writer, self.statement, self.statement.out
        with writer.block():
            value = total
            if block.is_half(i, j):
                value = writer.name("h")
                writer.line(f"const V {value} = whole({total});")
            if statement.finish is not None:

                def read(load: Load, _: int) -> str:
                    return self._read(block, load.view, i, j)

                value = Arithmetic(writer, read, lambda _: 0, [value]).text(statement.finish)
            address = f"{self._address(block, view)} + {self._offset(block, view, i, j)}"
            if self.plan.lanes is Lanes.EVENTS:
                writer.line(f"st({address}, {value});")
                return
            if self.plan.rows > 1:
                pitch = self.plan.last.strides[self.plan.views.index(view)]
                writer.line(f"st_rows{self.plan.row.size}({address}, {value}, {pitch});")
                return
            stride, count = self._lane(block, view, i, j)
            if stride == 1 or count == 1:
                full = count == self.mode.lanes
                writer.line(f"st({address}, {value});" if full else f"st_n({address}, {value}, {count});")
            else:
                writer.line(f"scatter({address}, {value}, {stride}, {count});")

    def _dot(self, block: SumBlock) -> None:
        """Write the sum of one output in many chains."""
        begin = "0.0f"
        if self.bias is not None:
            self._declare_bias(block)
            begin = "b[0]"
        if self.mode.wide:
            self._wide_dot(block, begin)
        else:
            self._narrow_dot(block, begin)

    def _wide_dot(self, block: SumBlock, begin: str) -> None:
        """Lanes are events: an array of chains."""
        writer, chains, start = self.writer, self.statement.chains, self.statement.start
        stride = self.plan.reduced[-1].strides[0]
        writer.line(f"V a[{chains}];")
        writer.line(f"for (int c = 0; c < {chains}; c++) a[c] = all(0.0f);")
        first = self._read(block, start, 0, 0) if start is not None else f"all({begin})"
        writer.line(f"a[0] = {first};")
        whole = self.terms // chains * chains
        body = f"a[c] = fma_(all(k[r + c]), ld(x + (r + c) * {stride}), a[c]);"
        writer.line(f"for (long r = 0; r < {whole}; r += {chains}) for (int c = 0; c < {chains}; c++) {body}")
        if self.terms > whole:
            body = body.replace("r + c", f"{whole} + c")
            writer.line(f"for (int c = 0; c < {self.terms - whole}; c++) {body}")
        self._halve("a", chains)
        self._store("a[0]", block, 0, 0)

    def _narrow_dot(self, block: SumBlock, begin: str) -> None:
        """Lanes are chains."""
        writer, chains, lanes = self.writer, self.statement.chains, self.mode.lanes
        stride, count = self.plan.reduced[-1].strides[0], chains // lanes
        if self.statement.start is not None:
            begin = f"*({self._address(block, self.statement.start)})"
        writer.line(f"V a[{count}];")
        writer.line(f"for (int c = 0; c < {count}; c++) a[c] = all(0.0f);")
        writer.line(f"a[0][0] = {begin};")
        whole = self.terms // chains * chains
        read = f"gather(x + (r + c * {lanes}) * {stride}, {stride}, {lanes})"
        if stride == 1:
            read = f"ld(x + r + c * {lanes})"
        writer.line(
            f"for (long r = 0; r < {whole}; r += {chains}) for (int c = 0; c < {count}; c++) "
            f"a[c] = fma_(ld(k + r + c * {lanes}), {read}, a[c]);"
        )
        for c in range(-(-(self.terms - whole) // lanes)):
            left = min(lanes, self.terms - whole - c * lanes)
            start = whole + c * lanes
            value = f"gather(x + {start * stride}, {stride}, {left})"
            value = f"ld_n(x + {start}, {left})" if stride == 1 else value
            writer.line(f"a[{c}] = fma_(ld_n(k + {start}, {left}), {value}, a[{c}]);")
        writer.line(f"float f[{chains}];")
        writer.line(f"for (int c = 0; c < {count}; c++) st(f + c * {lanes}, a[c]);")
        self._halve("f", chains)
        writer.line("V sum = all(f[0]);")
        self._store("sum", block, 0, 0)

    def _halve(self, name: str, count: int) -> None:
        half = count // 2
        while half:
            self.writer.line(f"for (int c = 0; c < {half}; c++) {name}[c] = {name}[c] + {name}[c + {half}];")
            half //= 2
