"""Expressions in C: each value is computed in the outermost loop in which it is known, and once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tamis.native.emission.writer import Writer
from tamis.native.expression import Accumulator, Call, Expression, Load, Number


def number(value: float) -> str:
    """Return a float as C writes it, exactly."""
    if value != value:
        return "NAN"
    if value in (float("inf"), float("-inf")):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{value.hex() if value else '0.0'}f"


class Arithmetic:
    """Writes expressions; `read` gives the C of a view's value, `depth` the loop in which it is known.

    What takes long is written for several elements side by side (`copies`), so that a processor finds independent work nearby;
    what is known outside of the innermost loop is the same for all of them.
    """

    def __init__(
        self,
        writer: Writer,
        read: Callable[[Load, int], str],
        depth: Callable[[Load], int],
        accumulators: Sequence[str] = (),
    ) -> None:
        """Begin with nothing known."""
        self._writer, self._read, self._depth = writer, read, depth
        self._accumulators = accumulators
        self._known: dict[tuple[Expression, int], str] = {}
        self._depths: dict[Expression, int] = {}
        self.innermost = -1  # the loop whose elements are written side by side

    def level(self, expression: Expression) -> int:
        """Return the loop, counted from outside, in which an expression is known; -1 outside of all."""
        found = self._depths.get(expression)
        if found is None:
            if isinstance(expression, Load):
                found = self._depth(expression)
            elif isinstance(expression, Call):
                found = max(self.level(one) for one in expression.arguments)
            else:
                found = -1
            self._depths[expression] = found
        return found

    def prepare(self, expression: Expression, depth: int, copies: int = 1) -> None:
        """Write down what of an expression is known in this loop, and no further outside; so many elements side by side."""
        if isinstance(expression, Number | Accumulator):
            return
        if self.level(expression) <= depth:
            self.texts(expression, copies)
        elif isinstance(expression, Call):
            for one in expression.arguments:
                self.prepare(one, depth, copies)

    def text(self, expression: Expression, copies: int = 1) -> str:
        """Return the name of an expression's value for the first element, after writing down those of all copies."""
        return self.texts(expression, copies)[0]

    def texts(self, expression: Expression, copies: int) -> list[str]:
        """Return the names of an expression's values, one for each copy."""
        if isinstance(expression, Number):
            return [f"all({number(expression.value)})"] * copies
        if isinstance(expression, Accumulator):
            return [self._accumulators[expression.number]] * copies
        different = copies if self.level(expression) >= self.innermost else 1
        if (expression, 0) not in self._known:
            given = []
            if isinstance(expression, Call):
                given = [self.texts(one, copies) for one in expression.arguments]
            for copy in range(different):
                if isinstance(expression, Load):
                    value = self._read(expression, copy)
                else:
                    value = f"f_{expression.function}({', '.join(one[copy] for one in given)})"
                name = self._writer.name("e")
                self._writer.line(f"const V {name} = {value};")
                self._known[expression, copy] = name
        names = [self._known[expression, copy] for copy in range(different)]
        return names if different == copies else names * copies

    def forget(self, names: Mapping[tuple[Expression, int], str]) -> None:
        """Go back to what was known before."""
        self._known = dict(names)

    @property
    def known(self) -> dict[tuple[Expression, int], str]:
        """Return what is known now."""
        return dict(self._known)
