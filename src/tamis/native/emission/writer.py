"""Lines of C, indented, and the dispatch from a statement to the function that writes it; each kind registers its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch

from tamis.native.emission.memory import Blob
from tamis.native.emission.mode import Mode
from tamis.native.sizes import VARIABLE, is_fixed

SIZE_VARIABLES = re.compile(rf"\b{VARIABLE.format('([0-9]+)')}\b")


class Writer:
    """The lines written so far, and the indentation of the next one."""

    def __init__(self) -> None:
        """Begin without lines."""
        self.lines: list[str] = []
        self._depth = 0
        self._names = 0

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append("  " * self._depth + text)

    def name(self, prefix: str) -> str:
        """Return an unused name."""
        self._names += 1
        return f"{prefix}{self._names}"

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """Write lines in braces."""
        self.line(f"{head} {{".strip())
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    @contextmanager
    def loop(self, counter: str, count: int, step: int = 1) -> Iterator[None]:
        """Write lines in a loop; a block with a constant counter, if there is one turn."""
        if is_fixed(count) and count <= step:
            with self.block("" if count else "if (0)"):
                self.line(f"const long {counter} = 0; (void){counter};")
                yield
        else:
            more = f"{counter} += {step}" if step > 1 else f"{counter}++"
            with self.block(f"for (long {counter} = 0; {counter} < {count}; {more})"):
                yield

    @contextmanager
    def where(self, count: int, more_than: int = 0) -> Iterator[None]:
        """Write lines that run if a count is larger than a number; without a condition if that is known."""
        if is_fixed(count):
            yield
        else:
            with self.block(f"if ({count} > {more_than})"):
                yield

    def declare(self, first: int, row: str) -> None:
        """Declare the sizes that are read from line `first` on, at the begin of that line's block."""
        used = sorted({int(one) for line in self.lines[first:] for one in SIZE_VARIABLES.findall(line)})
        self.lines[first:first] = [f"  const long {VARIABLE.format(one)} = {row}[{one}];" for one in used]

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self.lines) + "\n"


@dataclass(frozen=True)
class Emission:
    """Where a statement is written to: the lines and constants so far, the kernel, and whether a loop with the counter t is around."""

    writer: Writer
    mode: Mode
    blob: Blob
    turns: bool = False


@singledispatch
def emit_statement(statement: object, emission: Emission) -> None:
    """Write the C of a statement."""
    kernel = "wide" if emission.mode.wide else "narrow"
    raise TypeError(f"no emission to a {kernel} kernel is registered for {type(statement).__name__}")
