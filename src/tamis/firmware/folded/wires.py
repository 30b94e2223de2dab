"""Elements on a bundle of wires, and expressions in Verilog for elements in other formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tamis.fixedpoint import FixedGrid

LINE = 110  # characters after which a list in Verilog is continued in a new line
BitPlace = tuple[int, int, int, bool]  # the lowest bit, the width, the fraction bits and whether it is signed
BitRange = (
    str | tuple[str, int, int]
)  # a literal, or bits of a bundle from the lowest to the one after the highest


@dataclass(frozen=True)
class Wires:
    """A bundle: elements by their numbers in the program, in the order of their bits."""

    elements: np.ndarray
    grid: FixedGrid

    @property
    def width(self) -> int:
        """The number of bits."""
        return int(self.grid.widths.sum())

    @cached_property
    def places(self) -> dict[int, BitPlace]:
        """Where each element is."""
        widths = self.grid.widths
        columns = (np.cumsum(widths) - widths, widths, self.grid.fractions, self.grid.signed)
        formats = zip(*(column.tolist() for column in columns), strict=True)
        return dict(zip(self.elements.tolist(), formats, strict=True))

    def place(self, source: ElementSource) -> BitPlace | None:
        """Return where an element is; None for a constant."""
        return None if source.element < 0 else self.places[source.element]

    def only(self, chosen: np.ndarray) -> Wires:
        """Return the bundle of some of the elements, by a mask."""
        grid = FixedGrid(self.grid.low[chosen], self.grid.high[chosen], self.grid.fraction[chosen])
        return Wires(self.elements[chosen], grid)


@dataclass(frozen=True)
class ElementSource:
    """An element of a bundle times 2^`exponent`, or a constant where `element` is -1."""

    element: int
    exponent: int
    constant: float


def bits_of(
    source: ElementSource, place: BitPlace | None, bundle: str, width: int, fraction: int
) -> list[BitRange]:
    """Return a number at a place of a bundle in another format, which has to hold it: its bits from the lowest on."""
    if place is None:
        return [literal(source.constant, width, fraction)] if width else []
    first, size, own_fraction, signed = place
    zeros = fraction - (own_fraction - source.exponent)
    missing = width - zeros - size
    if zeros < 0 or missing < 0:
        raise AssertionError(
            f"{width} bits with {fraction} of a fraction do not hold {source} of {size} bits"
        )
    parts: list[BitRange] = [f"{zeros}'d0"] if zeros else []
    parts.append((bundle, first, first + size))
    if missing:
        top = first + size - 1
        parts.append(f"{{{missing}{{{bundle}[{top}]}}}}" if signed else f"{missing}'d0")
    return parts


def fitted_bits(
    source: ElementSource, place: BitPlace | None, bundle: str, width: int, fraction: int
) -> list[BitRange]:
    """Return a number in a format that holds its value, though perhaps not all bits at its place: low ones that are zero, high copies of the sign."""
    if place is None:
        return [literal(source.constant, width, fraction)]
    first, size, own_fraction, signed = place
    low = max(0, own_fraction - source.exponent - fraction)
    first, size, own_fraction = first + low, size - low, own_fraction - low
    zeros = fraction - (own_fraction - source.exponent)
    return bits_of(source, (first, min(size, width - zeros), own_fraction, signed), bundle, width, fraction)


def literal(number: float, width: int, fraction: int) -> str:
    """Return the bits of a constant."""
    return f"{width}'d{int(np.rint(np.ldexp(number, fraction))) & ((1 << width) - 1)}"


def joined_bits(parts: Iterable[BitRange]) -> str:
    """Return bits from the lowest on as one expression; neighbours become one slice."""
    merged: list[BitRange] = []
    for part in parts:
        last = merged[-1] if merged else ""
        if isinstance(part, tuple) and isinstance(last, tuple) and last[0] == part[0] and last[2] == part[1]:
            merged[-1] = (part[0], last[1], part[2])
        else:
            merged.append(part)
    texts = [
        part if isinstance(part, str) else f"{part[0]}[{part[2] - 1}:{part[1]}]" for part in reversed(merged)
    ]
    return texts[0] if len(texts) == 1 else f"{{{listed(texts)}}}"


def listed(texts: Sequence[str], indent: int = 16) -> str:
    """Return a list of expressions in lines of bounded length."""
    lines, line = [], ""
    for text in texts:
        if line and len(line) + len(text) > LINE:
            lines.append(line.rstrip())
            line = ""
        line += f"{text}, "
    return f"\n{' ' * indent}".join([*lines, line.rstrip(", ")])


def bits_for(count: int) -> int:
    """Return the bits of a counter from 0 to count - 1."""
    return max(1, (count - 1).bit_length())
