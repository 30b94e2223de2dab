"""A cache of bounded size for results that are cheap to compute again."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
BOUNDED_CACHE_ENTRIES = 512


class BoundedCache(dict[K, V]):
    """A dict with at most `BOUNDED_CACHE_ENTRIES` entries; it is cleared when full, which is cheaper per access than LRU."""

    def __setitem__(self, key: K, value: V) -> None:
        """Store a value."""
        if len(self) >= BOUNDED_CACHE_ENTRIES:
            self.clear()
        super().__setitem__(key, value)
