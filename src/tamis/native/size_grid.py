"""The sizes of several free dimensions: code is made from examples of them, and computes what follows from others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tamis._base import ModelError
from tamis.bundle import Signature, free_sizes, inner_dims
from tamis.native.size_range import LARGEST_SIZE, drawn, sizes_of

GRID_EXAMPLES = 160  # at least, combinations of sizes that the decisions of the compiler are taken for
EVERY_REST = 16  # sizes from the smallest and from the largest one on that are among them: every rest that blocks and vectors leave
LONGEST_FRONTIER = 256  # steps along the smallest sizes that a model takes
CHECKED = 8  # combinations that are compared with another engine

Combination = tuple[int, ...]
Admits = Callable[[Mapping[str, np.ndarray]], bool]


@dataclass(frozen=True)
class SizeGrid:
    """Examples of combinations of sizes, from the smallest that a model takes to the bounds."""

    names: tuple[str, ...]
    bounds: Combination
    smallest: tuple[
        Combination, ...
    ]  # of those that the model takes; it takes all that are as large in each dimension
    examples: tuple[Combination, ...]  # in rising order
    events: tuple[Mapping[str, np.ndarray], ...]
    typical: int  # the number of the example that code is tuned for

    @classmethod
    def of(
        cls,
        signature: Signature,
        dims: Mapping[str, Sequence[int]],
        event: Mapping[str, np.ndarray] | None,
        admits: Admits,
    ) -> SizeGrid:
        """Return combinations of sizes from 1 to the default bounds, or to the largest ones that are named; ModelError if the model takes none."""
        names = tuple(inner_dims(signature))
        used = {} if event is None else sizes_of(signature, event)
        bounds = tuple(max(LARGEST_SIZE, used.get(name, 0), *dims.get(name, ())) for name in names)

        def example(sizes: Combination) -> Mapping[str, np.ndarray]:
            return drawn(signature, free_sizes(signature, dict(zip(names, sizes, strict=True)), 1))

        smallest = _smallest(bounds, lambda sizes: admits(example(sizes)))
        usual = tuple(used.get(name, bound // 4) for name, bound in zip(names, bounds, strict=True))
        drawn_ones = {
            usual,
            *_drawn(bounds, [smallest[0], smallest[len(smallest) // 2], smallest[-1], usual]),
        }
        found = {*smallest, *(one for one in drawn_ones if _covers(smallest, one)), bounds}
        examples = tuple(sorted(found, key=lambda one: (prod(one), one)))
        typical = examples.index(usual if usual in found else bounds)
        return cls(names, bounds, smallest, examples, tuple(map(example, examples)), typical)

    @property
    def free(self) -> np.ndarray:
        """Return the sizes of each example, (examples, dimensions)."""
        return np.array(self.examples, np.int64)

    def admits(self, sizes: Combination) -> bool:
        """Return whether the model takes a combination within the bounds."""
        within = all(one <= bound for one, bound in zip(sizes, self.bounds, strict=True))
        return within and _covers(self.smallest, sizes)

    def checked(self, signature: Signature) -> list[Mapping[str, np.ndarray]]:
        """Return events of some combinations: the smallest and the largest, and some that are not among the examples."""
        rng = np.random.default_rng(1)
        others = [tuple(int(rng.integers(1, bound + 1)) for bound in self.bounds) for _ in range(CHECKED)]
        chosen = [*self.smallest[:2], *(one for one in others if self.admits(one)), self.bounds]
        return [
            drawn(signature, free_sizes(signature, dict(zip(self.names, one, strict=True)), 1))
            for one in chosen
        ]

    def __str__(self) -> str:
        """Return the sizes in words."""
        lowest = [min(axis) for axis in zip(*self.smallest, strict=True)]
        return " and ".join(
            f"{name} {low} to {high}" for name, low, high in zip(self.names, lowest, self.bounds, strict=True)
        )


def _covers(smallest: Sequence[Combination], sizes: Combination) -> bool:
    return any(all(a <= b for a, b in zip(one, sizes, strict=True)) for one in smallest)


def _drawn(bounds: Combination, anchors: Sequence[Combination]) -> set[Combination]:
    """Return combinations of small, middle and large sizes: of one dimension with the others small or large, and random ones."""
    rng = np.random.default_rng(0)
    axes = [
        sorted({*range(1, EVERY_REST + 1), bound // 3, bound // 2, *range(bound - EVERY_REST, bound + 1)})
        for bound in bounds
    ]
    found = set(itertools.product(*((1, bound) for bound in bounds))) if len(bounds) <= 6 else set()
    for place, axis in enumerate(axes):
        for anchor in [*anchors, tuple(1 for _ in bounds), bounds]:
            found |= {(*anchor[:place], one, *anchor[place + 1 :]) for one in axis}
    while len(found) < GRID_EXAMPLES:
        found.add(tuple(int(rng.choice(axis)) for axis in axes))
    return {one for one in found if min(one) >= 1}


def _smallest(bounds: Combination, admits: Callable[[Combination], bool]) -> tuple[Combination, ...]:
    """Return the smallest combinations that are admitted, where larger ones are as well."""
    ones = tuple(1 for _ in bounds)
    if admits(ones):
        return (ones,)
    if not admits(bounds):
        raise ModelError(f"the model takes no event of the sizes {' x '.join(map(str, bounds))}")
    found: list[Combination] = []
    for one, other in itertools.combinations(range(len(bounds)), 2):
        found += _frontier(bounds, one, other, admits)
    minimal = {one for one in found if not any(a != one and _covers([a], one) for a in found)}
    return tuple(sorted(minimal))


def _frontier(
    bounds: Combination, one: int, other: int, admits: Callable[[Combination], bool]
) -> list[Combination]:
    """Return the smallest combinations of two dimensions; the others are as small as they can be for some of them."""
    for rest in (tuple(1 for _ in bounds), bounds):
        pair = _Pair(rest, one, other, admits)
        if pair.admits(bounds[one], bounds[other]):
            return pair.smallest(bounds[one], bounds[other])
    return []


@dataclass(frozen=True)
class _Pair:
    """Two dimensions of a combination, with the others fixed."""

    rest: Combination
    one: int
    other: int
    admitted: Callable[[Combination], bool]

    def at(self, a: int, b: int) -> Combination:
        sizes = list(self.rest)
        sizes[self.one], sizes[self.other] = a, b
        return tuple(sizes)

    def admits(self, a: int, b: int) -> bool:
        return self.admitted(self.at(a, b))

    def smallest(self, most: int, limit: int) -> list[Combination]:
        """Return the smallest second size for each first one, as long as it falls."""
        found: list[Combination] = []
        first = _first(1, most, lambda a: self.admits(a, limit))
        for a in range(first, min(most, first + LONGEST_FRONTIER) + 1):
            limit = _least_second(self, a, limit)
            found.append(self.at(a, limit))
            if limit == 1:
                break
        return found


def _least_second(pair: _Pair, a: int, limit: int) -> int:
    """Return the smallest second size that goes with a first one; often it falls by one where that rises by one."""
    for least in (limit, limit - 1):
        if least == 1 or not pair.admits(a, least - 1):
            return least
    return _first(1, limit - 2, lambda b: pair.admits(a, b))


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the smallest integer for which something holds, which holds for `high`."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
