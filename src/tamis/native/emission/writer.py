"""Lines of C, indented."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Writer:
    """Lines so far, and how far the next one is moved in."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.lines: list[str] = []
        self._depth = 0
        self._names = 0

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append("  " * self._depth + text)

    def name(self, prefix: str) -> str:
        """Return a name that is not taken."""
        self._names += 1
        return f"{prefix}{self._names}"

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """Put lines into braces."""
        self.line(f"{head} {{".strip())
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    @contextmanager
    def loop(self, counter: str, count: int, step: int = 1) -> Iterator[None]:
        """Repeat lines; a loop of one is none."""
        if count <= step:
            with self.block():
                self.line(f"const long {counter} = 0; (void){counter};")
                yield
        else:
            more = f"{counter} += {step}" if step > 1 else f"{counter}++"
            with self.block(f"for (long {counter} = 0; {counter} < {count}; {more})"):
                yield

    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self.lines) + "\n"
