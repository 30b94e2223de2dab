"""What was worked out before and is looked up now, within bounds."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
KNOWN_MOST = 512


class Known(dict[K, V]):
    """A mapping of so many keys at most: when it is full it forgets all, and learns those anew that come again."""

    def __setitem__(self, key: K, value: V) -> None:
        """Remember a value."""
        if len(self) >= KNOWN_MOST:
            self.clear()
        super().__setitem__(key, value)
