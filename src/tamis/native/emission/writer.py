"""Lines of C, indented."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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
        if count <= step:
            with self.block():
                self.line(f"const long {counter} = 0; (void){counter};")
                yield
        else:
            more = f"{counter} += {step}" if step > 1 else f"{counter}++"
            with self.block(f"for (long {counter} = 0; {counter} < {count}; {more})"):
                yield

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self.lines) + "\n"
