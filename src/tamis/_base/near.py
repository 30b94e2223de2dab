"""Near misses: what the user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_misses(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known names closest to `name`, best first, ignoring case."""
    names = list(dict.fromkeys(known))
    folded = {n.casefold(): n for n in names}
    hits = difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=0.5)
    contained = [n for f, n in folded.items() if name.casefold() in f and f not in hits]
    return ([folded[hit] for hit in hits] + contained)[:most]


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return a clause that names the near misses, or all names where they are few, or nothing."""
    names = list(known)
    near = near_misses(name, names, most)
    if near:
        return f"did you mean {' or '.join(repr(n) for n in near)}?"
    if 0 < len(names) <= 12:
        return f"known: {', '.join(names)}"
    return ""
