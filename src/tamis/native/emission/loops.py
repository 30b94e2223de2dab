"""Which loops a statement takes: axes that lie one behind the other in all its views are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """An axis: its size, and how far each view moves along it."""

    size: int
    strides: tuple[int, ...]


def joined(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Axis]:
    """Return the axes of views that are gone through together; sizes of one are left out, neighbours joined where they can be."""
    axes: list[Axis] = []
    for place, size in enumerate(shape):
        if size == 1:
            continue
        moves = tuple(one[place] for one in strides)
        if axes and all(outer == inner * size for outer, inner in zip(axes[-1].strides, moves, strict=True)):
            axes[-1] = Axis(axes[-1].size * size, moves)
        else:
            axes.append(Axis(size, moves))
    return axes


def by_distance(axes: Sequence[Axis]) -> list[Axis]:
    """Return axes in the order in which the first view lies in memory, and joined again."""
    ordered = sorted(axes, key=lambda axis: -abs(axis.strides[0]))
    if not ordered:
        return []
    return joined(
        [axis.size for axis in ordered], list(zip(*(axis.strides for axis in ordered), strict=True))
    )


def tiles(size: int, most: int) -> list[tuple[int, int]]:
    """Cut a size into (how many, how large) tiles of nearly one size, none larger than `most`."""
    if size <= most:
        return [(1, size)]
    count = -(-size // most)
    small = size // count
    large = size - small * count
    return [(n, one) for n, one in ((large, small + 1), (count - large, small)) if n]
