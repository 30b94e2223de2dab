"""The sizes of free dimensions that code is compiled for: a range by default, and those that are named."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from tamis._base import ModelError, UsageError
from tamis.bundle import Signature, draw_inputs, free_sizes, inner_dims

MAX_FIXED_SIZES = 32  # sets of sizes of free dimensions per session, where each needs code of its own
MAX_SIZES = 1024  # sets of sizes that one code is for
LARGEST_SIZE = 128  # of a free dimension, if nothing larger is named
CHECKED_PARTS = 4  # of a range, at whose ends it is compared with another engine

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class SizeRange:
    """Sizes of the free dimensions within an event, with an example event of each."""

    sizes: tuple[Sizes, ...]
    events: tuple[Mapping[str, np.ndarray], ...]
    typical: int  # the number of the one that code is tuned for

    @classmethod
    def of(
        cls,
        signature: Signature,
        dims: Mapping[str, Sequence[int]],
        example: Mapping[str, np.ndarray] | None = None,
    ) -> SizeRange:
        """Return the sizes from 1 to the default bound and those that are named; ModelError for several free dimensions without names."""
        names = inner_dims(signature)
        used = {} if example is None else sizes_of(signature, example)
        chosen = {name: set(dims.get(name, ())) | {used.get(name, 0)} - {0} for name in names}
        if len(names) == 1:
            chosen[names[0]] |= set(range(1, LARGEST_SIZE + 1))
        elif not all(chosen.values()):
            raise ModelError("it has several free dimensions: name their sizes in dims")
        combinations = [
            dict(zip(names, sizes, strict=True))
            for sizes in itertools.product(*(sorted(chosen[name]) for name in names))
        ]
        if len(combinations) > MAX_SIZES:
            raise ModelError(
                f"it has {len(combinations)} combinations of sizes; at most {MAX_SIZES} are compiled"
            )
        typical = combinations.index(dict(used)) if used in combinations else len(combinations) // 2
        events = [drawn(signature, free_sizes(signature, sizes, 1)) for sizes in combinations]
        return cls(tuple(combinations), tuple(events), typical)

    @property
    def free(self) -> np.ndarray | None:
        """Return the size of each event, (events, 1), if there is one free dimension."""
        return np.array([list(one.values()) for one in self.sizes]) if len(self.sizes[0]) == 1 else None

    def only(self, shapes: AbstractSet[tuple[tuple[int, ...], ...]]) -> SizeRange:
        """Return the sizes whose inputs have some shapes."""
        kept = [
            (sizes, event)
            for sizes, event in zip(self.sizes, self.events, strict=True)
            if tuple(one.shape for one in event.values()) in shapes
        ]
        return SizeRange(
            tuple(sizes for sizes, _ in kept),
            tuple(event for _, event in kept),
            min(self.typical, len(kept) - 1),
        )

    def checked(self) -> list[Mapping[str, np.ndarray]]:
        """Return events of some sizes: the smallest and the largest among them."""
        last = len(self.events) - 1
        places = {0, min(1, last), *(last * part // CHECKED_PARTS for part in range(1, CHECKED_PARTS + 1))}
        return [self.events[place] for place in sorted(places)]

    def __str__(self) -> str:
        """Return the sizes in words."""
        names = list(self.sizes[0])
        return " and ".join(f"{name} {_listed([one[name] for one in self.sizes])}" for name in names)


def sizes_of(signature: Signature, event: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return the sizes of the free dimensions in an event."""
    lead = 0 if signature.rows == "none" else 1
    return {
        name: size
        for spec in signature.inputs
        for name, size in zip(spec.shape[lead:], event[spec.name].shape[lead:], strict=True)
        if isinstance(name, str)
    }


def _listed(sizes: Sequence[int]) -> str:
    """Return sizes as ranges and single ones, such as `1 to 128, 200`."""
    runs: list[list[int]] = []
    for size in sorted(set(sizes)):
        if runs and size == runs[-1][-1] + 1:
            runs[-1].append(size)
        else:
            runs.append([size])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def chosen_sizes(
    signature: Signature, dims: Mapping[str, Sequence[int]], most: int = MAX_FIXED_SIZES
) -> list[dict[str, int]]:
    """Return each combination of the sizes in `dims`; a dimension that is not in it has its default size."""
    for name, sizes in dims.items():
        if not sizes or any(type(size) is not int or size < 1 for size in sizes):
            raise UsageError(f"dims has {name}={list(sizes)}; name integers of at least 1")
    default = free_sizes(signature, {name: sizes[0] for name, sizes in dims.items()}, 1)
    leading = (
        {str(spec.shape[0]) for spec in signature.inputs if spec.shape} if signature.rows == "free" else set()
    )
    for name in leading & set(dims):
        raise UsageError(
            f"dims has {name!r}, the number of events, which is free anyway; name sizes within an event"
        )
    combinations = [
        {**default, **dict(zip(dims, sizes, strict=True))} for sizes in itertools.product(*dims.values())
    ]
    if len(combinations) > most:
        raise UsageError(
            f"dims has {len(combinations)} combinations of sizes; at most {most} are compiled: name fewer"
        )
    return combinations


def drawn(signature: Signature, sizes: Sizes) -> dict[str, np.ndarray]:
    """Return a random event of some sizes."""
    return draw_inputs(signature, dict(sizes) or free_sizes(signature, {}, 1), np.random.default_rng(0))


def redrawn(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return another array of the same shape and type: its elements in another order, floats with noise."""
    moved = rng.permutation(array.ravel()).reshape(array.shape)
    if array.dtype.kind != "f":
        return moved
    return (moved + rng.normal(size=array.shape) / 8).astype(array.dtype)
