"""An estimate of the LUTs of a design before synthesis: its logic bit by bit, covered greedily by tables of six inputs.

A carry chain takes one LUT wherever both operands have a bit, and none where one of them is constant; inverters are free. What lies
between chains and registers (masks, multiplexers, comparisons of few bits, trees) is covered by LUTs of six inputs. This is what
`synth_xilinx` of yosys makes of it, to a few per cent; `COEFFICIENTS` holds the little that is fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LUT_INPUTS = 6
DSP_BITS = 9  # yosys takes a DSP for products of that many bits or more
# LUTs for each that the structure counts. Fitted: `table_after_logic` to the training designs of benchmarks/lut_estimate, `table` to single
# tables. yosys makes of tables wider functions where logic is in front of them; of ten bits and more, sometimes a block memory.
COEFFICIENTS = {"chain": 1.0, "logic": 1.0, "table": 1.2, "table_after_logic": 2.6, "product": 1.0}

Bit = int  # twice a node's number, plus 1 if inverted
ZERO, ONE = 0, 1


@dataclass
class Lut:
    """A function of bits that a LUT could compute; `leaves` are those of the LUT that it ends up in."""

    inputs: tuple[Bit, ...]
    leaves: frozenset[int] = frozenset()


@dataclass
class Chain:
    """A carry chain: its results from the lowest on depend on the operands' bits up to theirs."""

    direct: list[Bit] = field(default_factory=list)  # carry inputs, which have to be signals
    select: list[Bit] = field(default_factory=list)  # functions of both operands


@dataclass
class LutCount:
    """LUTs by what they are for."""

    chain: float = 0.0
    logic: float = 0.0
    table: float = 0.0
    table_after_logic: float = 0.0
    product: float = 0.0

    @property
    def lut(self) -> float:
        """The estimate."""
        return sum(factor * getattr(self, name) for name, factor in COEFFICIENTS.items())


def count_luts(stages: Sequence[Any]) -> LutCount:
    """Estimate the LUTs of the pipeline stages of a layer, as alkaid's logic; unused bits are followed back through registers."""
    total = LutCount()
    wanted: list[set[int]] | None = None  # bits of every output that the next stage reads
    for stage in reversed(stages):
        bits = Bits(stage)
        wanted = bits.count(wanted, total)
    return total


class Bits:
    """The bits of a combinational stage, and what makes them."""

    def __init__(self, comb: Any) -> None:
        """Build the network."""
        self.comb = comb
        self.nodes: list[Any] = [
            None
        ]  # a Lut; (chain, place); ("input", index, place); ("table", inputs, LUTs); ...
        self.known: dict[tuple[Any, ...], Bit] = {}
        self.formats = [tuple(int(part) for part in op.qint.kif) for op in comb.ops]
        self.values: list[list[Bit]] = []
        self.set_or_reset: dict[
            int, tuple[Bit, list[Bit]]
        ] = {}  # choices of a constant, which registers make themselves
        for index, op in enumerate(comb.ops):
            self.values.append(self._operation(op, index))

    def count(self, wanted: list[set[int]] | None, total: LutCount) -> list[set[int]]:
        """Add the LUTs that the wanted outputs need; return the wanted bits of the inputs."""
        roots: list[Bit] = []
        for place, value in enumerate(self.comb.out_idxs):
            if value >= 0:
                bits = self.values[value]
                chosen = range(len(bits)) if wanted is None or place >= len(wanted) else wanted[place]
                if value in self.set_or_reset:
                    key, bits = self.set_or_reset[value]
                    roots.append(key)
                roots += [bits[i] for i in chosen if i < len(bits)]
        self._cover(roots)
        found: list[set[int]] = [set() for _ in range(self.comb.shape[0])]
        seen: set[int] = set()
        reached: dict[int, int] = {}  # of chains: how far they are needed
        waiting = [bit >> 1 for bit in roots]
        while waiting:
            number = waiting.pop()
            node = self.nodes[number]
            if node is None or number in seen:
                continue
            seen.add(number)
            if isinstance(node, Lut):
                total.logic += 1
                waiting += node.leaves
            elif isinstance(node[0], Chain):
                chain, place = node
                for i in range(reached.get(id(chain), 0), place + 1):
                    waiting.append(chain.direct[i] >> 1)
                    select = self.nodes[chain.select[i] >> 1]
                    if isinstance(select, Lut) and chain.select[i] >> 1 not in seen:
                        seen.add(chain.select[i] >> 1)
                        total.chain += 1
                        waiting += select.leaves
                    else:
                        waiting.append(chain.select[i] >> 1)
                reached[id(chain)] = max(reached.get(id(chain), 0), place + 1)
            elif node[0] == "input":
                found[node[1]].add(node[2])
            else:
                kind, inputs, luts = node
                setattr(total, kind, getattr(total, kind) + luts)
                waiting += [bit >> 1 for bit in inputs]
        return found

    def _cover(self, roots: Iterable[Bit]) -> None:
        """Choose the leaves of every LUT: those of its inputs' LUTs as far as they fit."""
        fixed = {bit >> 1 for bit in roots}
        for node in self.nodes:
            if isinstance(node, tuple) and isinstance(node[0], Chain):
                fixed |= {bit >> 1 for bit in node[0].direct}
            elif isinstance(node, tuple) and node[0] != "input":
                fixed |= {bit >> 1 for bit in node[1]}
        for node in self.nodes:
            if not isinstance(node, Lut):
                continue
            parts = {}
            for bit in node.inputs:
                source = self.nodes[bit >> 1]
                is_open = isinstance(source, Lut) and bit >> 1 not in fixed
                parts[bit >> 1] = source.leaves if is_open else frozenset([bit >> 1])
            while len(leaves := frozenset[int]().union(*parts.values())) > LUT_INPUTS:
                largest = max(parts, key=lambda one: len(parts[one]))
                parts[largest] = frozenset([largest])
            node.leaves = leaves

    def _new(self, node: Any) -> Bit:
        self.nodes.append(node)
        return 2 * (len(self.nodes) - 1)

    def _lut(self, kind: Any, *inputs: Bit) -> Bit:
        """Return a function of bits, which exists once."""
        key = (kind, *inputs)
        if key not in self.known:
            self.known[key] = self._new(Lut(inputs))
        return self.known[key]

    def _and(self, first: Bit, second: Bit) -> Bit:
        first, second = sorted((first, second))
        if first == ZERO or first == second ^ 1:
            return ZERO
        if first in (ONE, second):
            return second
        return self._lut("and", first, second)

    def _xor(self, first: Bit, second: Bit) -> Bit:
        if first < 2 or second < 2:
            return first ^ second
        flip = (first ^ second) & 1
        first, second = sorted((first & ~1, second & ~1))
        return ZERO ^ flip if first == second else self._lut("xor", first, second) ^ flip

    def _mux(self, key: Bit, yes: Bit, no: Bit) -> Bit:
        if key & 1:
            key, yes, no = key ^ 1, no, yes
        if yes == no or key == ZERO:
            return no
        if yes < 2 and no < 2:
            return key if yes else key ^ 1
        if yes == ZERO:
            return self._and(key ^ 1, no)
        if no == ZERO:
            return self._and(key, yes)
        if yes == ONE:
            return self._and(key ^ 1, no ^ 1) ^ 1
        if no == ONE:
            return self._and(key, yes ^ 1) ^ 1
        return self._lut("mux", key, yes, no)

    def _aligned(self, value: int, places: range, shift: int = 0) -> list[Bit]:
        """Return a value's bits, times 2^shift, at places counted from the binary point, with its sign or zeros beyond."""
        bits, (signed, _, fraction) = self.values[value], self.formats[value]
        low = shift - fraction
        beyond = bits[-1] if signed and bits else ZERO
        return [
            ZERO if place < low else bits[place - low] if place - low < len(bits) else beyond
            for place in places
        ]

    def _sum(self, first: list[Bit], second: list[Bit], negate: bool) -> list[Bit]:
        """Return the bits of a sum or difference."""
        chain: Chain | None = None
        result = []
        for a, b in zip(first, second, strict=True):
            if chain is None and b == ZERO:
                result.append(a)
            elif chain is None and a == ZERO and not negate:
                result.append(b)
            else:
                chain = chain or Chain()
                chain.direct.append(a)
                chain.select.append(self._xor(a, b))
                result.append(self._new((chain, len(chain.direct) - 1)))
        return result

    def _all(self, bits: Sequence[Bit]) -> Bit:
        """Return whether all bits are 1."""
        result = ONE
        for bit in bits:
            result = self._and(result, bit)
        return result

    def _operation(self, op: Any, index: int) -> list[Bit]:
        """Return the bits of an operation of alkaid; its codes are explained in alkaid's specification."""
        signed, integer, fraction = self.formats[index]
        width = signed + integer + fraction
        places = range(-fraction, width - fraction)
        match op.opcode:
            case -1:
                return [self._new(("input", op.data[0], place)) for place in range(width)]
            case 5:
                return [(op.data[0] >> place) & 1 for place in range(width)]
            case 3:
                return self._aligned(op.addr[0], places, op.data[0])
            case -2 | 0 | 1 | 4 | 7:
                return self._arithmetic(op, places)
            case 6:
                return self._choice(op, places, index)
            case 8:
                return self._table(op, width)
        return self._logic(op, places)

    def _arithmetic(self, op: Any, places: range) -> list[Bit]:
        """Return the bits of a sum, a sum with a constant, a negation or a product."""
        first = op.addr[0]
        if op.opcode == 7:
            sizes = [len(self.values[value]) for value in op.addr]
            luts = float(np.prod(sizes)) if sum(sizes) < DSP_BITS or min(sizes) < 2 else 0.0
            operands = [bit for value in op.addr for bit in self.values[value]]
            source = self._new(("product", operands, luts))
            return [self._new(("product", [source], 0.0)) for _ in places]
        shift = op.data[0] if op.opcode in (0, 1) else 0
        low = min(places.start, -self.formats[first][2])
        if op.opcode == 4:
            number, fraction = op.data
            low = min(low, -fraction)
            span = range(low, places.stop)
            operands = [
                (number >> max(place + fraction, 0)) & 1 if place >= -fraction else ZERO for place in span
            ]
            result = self._sum(self._aligned(first, span), operands, negate=False)
        elif op.opcode == -2:
            span = range(low, places.stop)
            result = self._sum([ZERO] * len(span), self._aligned(first, span), negate=True)
        else:
            second = op.addr[1]
            span = range(min(low, shift - self.formats[second][2]), places.stop)
            pair = self._aligned(first, span), self._aligned(second, span, shift)
            result = self._sum(*pair, negate=op.opcode == 1)
        return result[places.start - span.start :]

    def _choice(self, op: Any, places: range, index: int) -> list[Bit]:
        """Return the bits of one of two numbers."""
        yes, no, key = op.addr
        choices = self._aligned(yes, places), self._aligned(no, places, op.data[0])
        for constant, other in (choices, choices[::-1]):
            if max(constant, default=0) < 2:
                self.set_or_reset[index] = self.values[key][-1], other
        return [self._mux(self.values[key][-1], *pair) for pair in zip(*choices, strict=True)]

    def _logic(self, op: Any, places: range) -> list[Bit]:
        """Return the bits of a mask by the sign (2), of functions of one number (9) and of two (10)."""
        first = op.addr[0]
        bits = self.values[first]
        match op.opcode:
            case 2:
                sign = bits[-1] if self.formats[first][0] else ZERO
                return [self._and(bit, sign ^ 1) for bit in self._aligned(first, places)]
            case 9 if op.data[0] == 0:
                return [bit ^ 1 for bit in bits]
            case 9:
                inverted = int(op.data[0] == 1)  # any bit: not all are zero
                return [self._all([bit ^ inverted for bit in bits]) ^ inverted]
            case 10:
                shift, kind = op.data
                pairs = zip(
                    self._aligned(first, places), self._aligned(op.addr[1], places, shift), strict=True
                )
                functions = (self._and, lambda a, b: self._and(a ^ 1, b ^ 1) ^ 1, self._xor)
                return [functions[kind](*pair) for pair in pairs]
        raise NotImplementedError(f"operation {op.opcode} of alkaid")

    def _table(self, op: Any, width: int) -> list[Bit]:
        """Return the bits of a table: LUTs, and beyond six inputs multiplexers of the part, which take none."""
        source = op.addr[0]
        entries = np.nan_to_num(self.comb.lookup_tables[op.data[0]].padded_table(self.comb.ops[source].qint))
        inputs = self.values[source]
        direct = not any(isinstance(self.nodes[bit >> 1], Lut) for bit in inputs)
        result = []
        for place in range(width):
            ones = (entries.astype(np.int64) >> place) & 1
            blocks = {
                block.tobytes()
                for block in ones.reshape(-1, min(len(ones), 2**LUT_INPUTS))
                if 0 < block.sum() < len(block)
            }
            if (ones == ones[0]).all():
                result.append(int(ones[0]))
            elif len(inputs) <= LUT_INPUTS and direct:
                result.append(self._lut(("table", ones.tobytes()), *inputs))
            else:
                result.append(
                    self._new(("table" if direct else "table_after_logic", inputs, float(len(blocks))))
                )
        return result
