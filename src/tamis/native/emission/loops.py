"""The loops of a statement: axes that are contiguous in all its views are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tamis.native.sizes import is_fixed, typical


@dataclass(frozen=True)
class Axis:
    """An axis: its size, and the stride of each view along it."""

    size: int
    strides: tuple[int, ...]


def joined(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Axis]:
    """Return the axes of views of one shape, given the strides of each; axes of size 1 are dropped, contiguous ones merged."""
    axes: list[Axis] = []
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        moves = tuple(one[axis] for one in strides)
        if axes and all(outer == inner * size for outer, inner in zip(axes[-1].strides, moves, strict=True)):
            axes[-1] = Axis(axes[-1].size * size, moves)
        else:
            axes.append(Axis(size, moves))
    return axes


def by_distance(axes: Sequence[Axis]) -> list[Axis]:
    """Return axes in the memory order of the first view, the largest stride first, merged again."""
    ordered = sorted(axes, key=lambda axis: -abs(typical(axis.strides[0])))
    if not ordered:
        return []
    return joined(
        [axis.size for axis in ordered], list(zip(*(axis.strides for axis in ordered), strict=True))
    )


def tiles(size: int, most: int) -> list[tuple[int, int]]:
    """Cut a size into tiles of at most `most`, as even as possible: (how many, their size), the larger ones first."""
    if is_fixed(size) and size <= most:
        return [(1, size)]
    if not is_fixed(size):
        return _tiles_of_any(size, most)
    count = -(-size // most)
    small = size // count
    large = size - small * count
    return [(n, one) for n, one in ((large, small + 1), (count - large, small)) if n]


def _tiles_of_any(size: int, most: int) -> list[tuple[int, int]]:
    """Cut a size that is known only at run time: as many of the largest tiles as fit, then smaller ones."""
    found, left = [], size
    while most >= 1:
        count = left // most
        if not is_fixed(count) or count:  # none of this size at any number of particles
            found.append((count, most))
        left = left % most
        most = most // 2 if most > 1 else 0
        if left == 0:
            break
    return found
