"""Expressions in C: each value is computed once, in the outermost loop in which its operands are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatchmethod

from tamis.native.emission.writer import Writer
from tamis.native.expression import Accumulator, Call, Expression, Load, Number


def number(value: float) -> str:
    """Return a float as an exact C literal."""
    if value != value:
        return "NAN"
    if value in (float("inf"), float("-inf")):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{value.hex() if value else '0.0'}f"


class Arithmetic:
    """Writes expressions; `read` returns the C of a load, `depth` the number of the innermost loop that it moves in.

    Long expressions are written for several elements at once (`copies`), interleaved, so that the processor finds independent
    instructions. Values that are known outside of the innermost loop are shared by all copies.
    """

    def __init__(
        self,
        writer: Writer,
        read: Callable[[Load, int], str],
        depth: Callable[[Load], int],
        accumulators: Sequence[str] = (),
    ) -> None:
        """Begin with no values."""
        self._writer, self._read, self._depth = writer, read, depth
        self._accumulators = accumulators
        self._names: dict[tuple[Expression, int], str] = {}
        self._depths: dict[Expression, int] = {}
        self.innermost = -1  # the loop whose elements are interleaved

    def level(self, expression: Expression) -> int:
        """Return the loop, counted from the outermost, in which an expression's value is known; -1 outside of all loops."""
        found = self._depths.get(expression)
        if found is None:
            found = self._depths[expression] = self._level(expression)
        return found

    @singledispatchmethod
    def _level(self, _expression: Expression) -> int:
        return -1

    @_level.register
    def _(self, expression: Load) -> int:
        return self._depth(expression)

    @_level.register
    def _(self, expression: Call) -> int:
        return max(self.level(one) for one in expression.arguments)

    def prepare(self, expression: Expression, depth: int, copies: int = 1) -> None:
        """Write the parts of an expression whose values are known in this loop."""
        if isinstance(expression, Number | Accumulator):
            return  # never written to a variable
        if self.level(expression) <= depth:
            self.texts(expression, copies)
        elif isinstance(expression, Call):
            for one in expression.arguments:
                self.prepare(one, depth, copies)

    def text(self, expression: Expression, copies: int = 1) -> str:
        """Write an expression for all copies; return the C name of the first copy's value."""
        return self.texts(expression, copies)[0]

    @singledispatchmethod
    def texts(self, expression: Expression, copies: int) -> list[str]:
        """Write an expression; return the C names of its values, one for each copy."""
        raise TypeError(f"{type(expression).__name__} cannot be written in C, {copies} times")

    @texts.register
    def _(self, expression: Number, copies: int) -> list[str]:
        return [f"all({number(expression.value)})"] * copies

    @texts.register
    def _(self, expression: Accumulator, copies: int) -> list[str]:
        return [self._accumulators[expression.number]] * copies

    @texts.register
    def _(self, expression: Load, copies: int) -> list[str]:
        return self._named(expression, copies, lambda copy: self._read(expression, copy))

    @texts.register
    def _(self, expression: Call, copies: int) -> list[str]:
        known = (expression, 0) in self._names
        arguments = [] if known else [self.texts(one, copies) for one in expression.arguments]

        def value(copy: int) -> str:
            return f"f_{expression.function}({', '.join(one[copy] for one in arguments)})"

        return self._named(expression, copies, value)

    def _named(self, expression: Expression, copies: int, value: Callable[[int], str]) -> list[str]:
        """Return the variables of an expression, declared with its values if they are new."""
        different = copies if self.level(expression) >= self.innermost else 1
        if (expression, 0) not in self._names:
            for copy in range(different):
                text = value(copy)
                name = self._names[expression, copy] = self._writer.name("e")
                self._writer.line(f"const V {name} = {text};")
        names = [self._names[expression, copy] for copy in range(different)]
        return names if different == copies else names * copies

    def restore(self, names: Mapping[tuple[Expression, int], str]) -> None:
        """Return to earlier variables, when the block ends in which later ones were declared."""
        self._names = dict(names)

    @property
    def variables(self) -> dict[tuple[Expression, int], str]:
        """Return the variable of each value so far, by expression and copy."""
        return dict(self._names)
