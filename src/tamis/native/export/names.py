"""What a bundle, its inputs and its outputs are called in C."""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool class
namespace new this template private public main events scratch batches
"""
TAKEN = frozenset(WORDS.split())


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """Return a name as C takes it, and as nothing else is called."""
    found = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "model"
    if found[0].isdigit():
        found = f"m{found}"
    known = TAKEN | set(taken)
    chosen, count = found, 1
    while chosen in known:
        count += 1
        chosen = f"{found}_{count}"
    return chosen


def identifiers(names: Iterable[str]) -> list[str]:
    """Return different names in C for each of several."""
    found: list[str] = []
    for name in names:
        found.append(identifier(name, found))
    return found
