"""Sizes that are known only when code runs: an integer for each number of particles that a model takes.

The compiler's integers (shapes, strides, offsets, counts) may be such sizes. Arithmetic takes all of them at once, so that any function of
the number of particles is as good as another: n, 3 n + 1, the smaller one of n and 16. In C each is a variable, which a function reads from the row of
a table that belongs to the number of particles of the call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis._base import ModelError

if TYPE_CHECKING:
    _Integer = int  # whatever takes an integer takes a size
else:
    _Integer = object

VARIABLE = "n_{}"  # of a size in C, by its column


class SizeDependentError(ModelError):
    """A decision of the compiler differs from size to size."""


@dataclass(frozen=True)
class Formula:
    """How a size follows from others, which are named by their integers in all rows."""

    function: str  # an operator of Python's module, or min, max
    operands: tuple[int | bytes, ...]


class SizeTable:
    """The integers of every size, a row for each number of particles.

    With `free`, the sizes of several free dimensions in each row, the rows are examples, and code computes others when it runs.
    """

    def __init__(self, rows: int, typical: int, free: np.ndarray | None = None) -> None:
        """Begin without columns; decisions that do not change results are taken for the row `typical`."""
        self.rows, self.typical, self.free = rows, typical, free
        self.formulas: dict[bytes, Formula | None] = {}  # None: it is known from the graph
        self._columns: dict[bytes, int] = {}

    def column(self, values: np.ndarray) -> int:
        """Return the column of some integers."""
        return self._columns.setdefault(values.tobytes(), len(self._columns))

    @property
    def columns(self) -> list[bytes]:
        """Return the integers of the columns that were asked for."""
        return list(self._columns)

    def array(self) -> np.ndarray:
        """Return all columns that were asked for, (rows, columns)."""
        columns = [np.frombuffer(one, np.int64) for one in self._columns]
        return np.stack(columns, axis=1) if columns else np.zeros((self.rows, 0), np.int64)

    def size(self, values: Sequence[int] | np.ndarray, formula: Formula | None = None) -> int:
        """Return a size, or a plain integer if it is the same in every row."""
        array = np.asarray(values, np.int64)
        if (array == array[0]).all():
            return int(array[0])
        if self.free is not None:
            self.formulas.setdefault(array.tobytes(), formula)
        return Size(self, array)

    def row(self) -> int:
        """Return the number of the row."""
        if self.free is not None:
            raise SizeDependentError(
                "the native engine cannot compile one code for all sizes of several free dimensions: numbers would be stored for each of them"
            )
        return self.size(np.arange(self.rows))


class Size(_Integer):
    """An integer of a table; it equals only what it equals in all rows, and comparisons raise SizeDependentError unless all rows agree."""

    __slots__ = ("table", "values")

    def __init__(self, table: SizeTable, values: np.ndarray) -> None:
        """Take the integer of each row."""
        self.table, self.values = table, values

    @property
    def typical(self) -> int:
        """Return the integer of the typical row."""
        return int(self.values[self.table.typical])

    @property
    def largest(self) -> int:
        """Return the largest integer of all rows."""
        return int(self.values.max())

    def __str__(self) -> str:
        """Return its variable in C."""
        return VARIABLE.format(self.table.column(self.values))

    def __format__(self, _: str) -> str:
        """Return its variable in C."""
        return str(self)

    def __repr__(self) -> str:
        """Return the typical integer."""
        return f"Size({self.typical})"

    def __hash__(self) -> int:
        """Return a hash of the integers of all rows."""
        return hash(self.values.tobytes())

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same in all rows."""
        return isinstance(other, Size) and bool((self.values == other.values).all())

    def __bool__(self) -> bool:
        """Return true: it is not 0 in every row."""
        return True

    def __index__(self) -> int:
        """Raise: it becomes an integer when code runs."""
        raise SizeDependentError(
            "the native engine cannot compile one code for all sizes: a size would have to be fixed"
        )

    __int__ = __index__

    def __float__(self) -> float:
        """Return the typical integer: for estimates."""
        return float(self.typical)

    def __neg__(self) -> int:
        """Return the negative of each row."""
        return 0 - self

    def __abs__(self) -> int:
        """Return the absolute value of each row."""
        return greatest(self, -self)

    def _with(self, other: object, name: str, *, reflected: bool = False) -> Any:
        """Return a function of two integers in each row; of the typical one for floats, which are estimates."""
        function = getattr(operator, name)
        if isinstance(other, float):
            pair: Any = float(self.typical), other
            return function(*(reversed(pair) if reflected else pair))
        if not isinstance(other, Size | int | np.integer):
            return NotImplemented
        pair = self.values, (other.values if isinstance(other, Size) else np.int64(other))
        operands: tuple[int | bytes, ...]
        operands = self.values.tobytes(), (pair[1].tobytes() if isinstance(other, Size) else int(other))
        if reflected:
            pair, operands = pair[::-1], operands[::-1]
        return self.table.size(function(*pair), Formula(name, operands))

    def _compared(self, other: object, function: Callable[[Any, Any], Any]) -> bool:
        if isinstance(other, float):
            return bool(function(float(self.typical), other))
        found = function(self.values, other.values if isinstance(other, Size) else other)
        if found.all() != found.any():
            raise SizeDependentError(
                f"the native engine cannot compile one code for all sizes: {self!r} compares with {other!r} in another way from size to size"
            )
        return bool(found.all())


def _divided(a: object, b: object) -> float:
    """Return a quotient of typical sizes."""
    return float(a) / float(b)  # type: ignore[arg-type] # sizes and numbers


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: function(b, a)


def _operator(name: str, *, reflected: bool = False) -> Callable[[Size, object], Any]:
    return lambda self, other: self._with(other, name, reflected=reflected)


def _comparison(function: Callable[[Any, Any], Any]) -> Callable[[Size, object], bool]:
    return lambda self, other: self._compared(other, function)


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    setattr(Size, f"__{_name}__", _operator(_name))
    setattr(Size, f"__r{_name}__", _operator(_name, reflected=True))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Size, f"__{_name}__", _comparison(getattr(operator, f"__{_name}__")))
setattr(Size, "__truediv__", _divided)  # noqa: B010 - as those above
setattr(Size, "__rtruediv__", _reflected(_divided))  # noqa: B010


def integer(value: Any) -> int:
    """Return a Python integer, or the size as it is."""
    return value if isinstance(value, Size) else int(value)


def typical(value: int) -> int:
    """Return the integer of the typical row: for decisions that do not change results."""
    return value.typical if isinstance(value, Size) else value


def largest(value: int) -> int:
    """Return the largest integer of all rows."""
    return value.largest if isinstance(value, Size) else value


def is_fixed(*values: int) -> bool:
    """Return whether no integer depends on the number of particles."""
    return not any(isinstance(one, Size) for one in values)


def row_by_row(function: Callable[..., int], *values: int, name: str = "") -> int:
    """Return a function of integers, computed in each row; its name is that of one that code can compute."""
    table = next((one.table for one in values if isinstance(one, Size)), None)
    if table is None:
        return function(*values)
    rows = [one.values if isinstance(one, Size) else np.full(table.rows, one) for one in values]
    operands = tuple(one.values.tobytes() if isinstance(one, Size) else one for one in values)
    found = [function(*map(int, row)) for row in zip(*rows, strict=True)]
    return table.size(found, Formula(name, operands) if name else None)


def least(*values: int) -> int:
    """Return the smallest integer in each row."""
    return row_by_row(lambda *row: min(row), *values, name="min")


def greatest(*values: int) -> int:
    """Return the largest integer in each row."""
    return row_by_row(lambda *row: max(row), *values, name="max")


def in_row(row: int, values: Sequence[int]) -> tuple[int, ...]:
    """Return the integers of a row."""
    return tuple(int(one.values[row]) if isinstance(one, Size) else one for one in values)
