"""The sizes of an event as C that computes them from those of its free dimensions, where a table of all combinations would be too long."""

from __future__ import annotations

import numpy as np

from tamis.native.emission.writer import Writer
from tamis.native.interpolate import Polynomial, fit
from tamis.native.sizes import Formula, SizeDependentError, SizeTable

C_OPERATORS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "floordiv": "tamis_divided({}, {})",
    "mod": "{0} - {1} * tamis_divided({0}, {1})",
    "min": "tamis_lesser({}, {})",
    "max": "tamis_greater({}, {})",
}
SIZE_HELPERS = """static inline long tamis_divided(long a, long b) { return b ? a / b - (a % b != 0 && (a < 0) != (b < 0)) : 0; }
static inline long tamis_lesser(long a, long b) { return a < b ? a : b; }
static inline long tamis_greater(long a, long b) { return a > b ? a : b; }
"""


def emit_sizes(writer: Writer, table: SizeTable) -> None:
    """Write `tamis_sizes`, which fills a row of the table; it returns 0 where a size is outside the range that code was made for."""
    for line in SIZE_HELPERS.splitlines():
        writer.line(line)
    with writer.block('__attribute__((visibility("default"))) int tamis_sizes(const long *f, long *d)'):
        formulas = _Formulas(writer, table)
        writer.line("int ok = 1;")
        for number, key in enumerate(table.columns):
            values = np.frombuffer(key, np.int64)
            name = formulas.name(key)
            writer.line(f"ok &= {name} >= {values.min()} && {name} <= {values.max()};")
            writer.line(f"d[{number}] = {name};")
        writer.line("return ok;")


class _Formulas:
    """Writes each size once, after those that it follows from."""

    def __init__(self, writer: Writer, table: SizeTable) -> None:
        assert table.free is not None  # noqa: S101
        self._writer, self._table, self._free = writer, table, table.free
        free = (np.ascontiguousarray(column).tobytes() for column in table.free.T)
        self._names = {key: f"f[{number}]" for number, key in enumerate(free)}

    def name(self, key: bytes) -> str:
        """Return the variable of a size, after writing it if necessary."""
        waiting = [key]
        while waiting:
            last = waiting[-1]
            formula = self._table.formulas.get(last)
            needed = [] if formula is None else [one for one in formula.operands if isinstance(one, bytes)]
            missing = [one for one in needed if one not in self._names]
            if last in self._names:
                waiting.pop()
            elif missing:
                waiting += missing
            else:
                self._write(last, formula)
                waiting.pop()
        return self._names[key]

    def _write(self, key: bytes, formula: Formula | None) -> None:
        name = self._writer.name("g")
        self._writer.line(f"const long {name} = {self._expression(key, formula)};")
        self._names[key] = name

    def _expression(self, key: bytes, formula: Formula | None) -> str:
        if formula is None:
            fitted = fit(self._free, np.frombuffer(key, np.int64))
            if fitted is None:
                raise SizeDependentError(
                    "the native engine cannot compile one code for all sizes: one of them is not a polynomial in those of the free dimensions"
                )
            return self._polynomial(fitted)
        operands = [self._names[one] if isinstance(one, bytes) else f"({one}L)" for one in formula.operands]
        expression = operands[0]
        for operand in operands[1:]:
            expression = f"({C_OPERATORS[formula.function].format(expression, operand)})"
        return expression

    def _polynomial(self, polynomial: Polynomial) -> str:
        terms = [
            " * ".join(
                [f"{factor}L", *(f"f[{place}]" for place, power in enumerate(powers) for _ in range(power))]
            )
            for powers, factor in polynomial.factors.items()
        ]
        found = f"tamis_divided({' + '.join(terms)}, {polynomial.divisor})"
        return found if polynomial.most is None else f"tamis_lesser({found}, {polynomial.most})"
