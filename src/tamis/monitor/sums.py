"""Sums over the steps of blocks: integers, so that parts may be merged in any order with the same result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import awkward as ak
import numpy as np

from tamis._base import DataError
from tamis.events import Events
from tamis.monitor.watch import STEP_S, Watch, WatchedQuantity

LARGEST = 1 << 20  # of a value in units of its resolution: a million squares of it still fit into 64 bits
CONDITION_UNITS, CONDITION_MOST = 1 << 20, 1e5  # ten million of the largest ones still fit into 64 bits
EVENT_GROUPS = 10
BlockKey = tuple[int, int]  # run and luminosity block


@dataclass(frozen=True)
class BlockSums:
    """The sums of one block: a row for each step of a second, in the order of time."""

    key: BlockKey
    step: np.ndarray
    events: np.ndarray
    sums: (
        np.ndarray
    )  # (steps, quantities, 4): values, their sum, the sum of their squares, values that are not numbers
    most: np.ndarray  # (steps, counts)
    rows: int
    condition_sum: int  # over the rows, in units of 1 / CONDITION_UNITS
    luminosity: float
    mode: int

    @property
    def condition(self) -> float:
        """Return the mean condition of the rows."""
        return self.condition_sum / self.rows / CONDITION_UNITS

    def digest(self) -> bytes:
        """Return what tells equal sums."""
        hasher = hashlib.blake2b(
            repr((self.key, self.rows, self.condition_sum, self.luminosity, self.mode)).encode(),
            digest_size=16,
        )
        for array in (self.step, self.events, self.sums, self.most):
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.digest()

    def merged(self, other: BlockSums) -> BlockSums:
        """Return the sums of both parts."""
        step = np.union1d(self.step, other.step)
        events = np.zeros(len(step), np.int64)
        sums = np.zeros((len(step), *self.sums.shape[1:]), np.int64)
        most = np.zeros((len(step), self.most.shape[1]), np.int64)
        for part in (self, other):
            at = np.searchsorted(step, part.step)
            events[at] += part.events
            sums[at] += part.sums
            most[at] = np.maximum(most[at], part.most)
        return replace(
            self, step=step, events=events, sums=sums, most=most, rows=self.rows + other.rows, condition_sum=self.condition_sum + other.condition_sum,
            luminosity=max(self.luminosity, other.luminosity), mode=max(self.mode, other.mode),
        )  # fmt: skip


def columns_of(watch: Watch, known: set[str]) -> list[str]:
    """Return the columns to read; raise DataError for one that the stream does not have."""
    wanted = ["run", "luminosityBlock", watch.condition]
    wanted += [name for name in (watch.second, watch.luminosity, watch.mode) if name is not None]
    for one in watch.quantities:
        wanted += [one.values] if one.values is not None else list(one.sums or ())
    for count in watch.counts:
        wanted.append(count.most if count.most in known and count.most is not None else count.column)
    for name in wanted:
        if name not in known:
            raise DataError(
                f"the stream has no column {name}, which the watch {watch.name} names; it has {', '.join(sorted(known)[:20])}"
            )
    if watch.events in known and watch.events is not None:
        wanted.append(watch.events)
    return list(dict.fromkeys(wanted))


def block_sums(rows: Events, watch: Watch) -> Iterator[BlockSums]:
    """Yield the sums of the blocks of some rows, in the order of runs and blocks."""
    if len(rows) == 0:
        return
    run, block = (ak.to_numpy(rows[name]) for name in ("run", "luminosityBlock"))
    step = _steps_of(rows, watch)
    order = np.lexsort((step, block, run))
    run, block, step = run[order], block[order], step[order]
    is_new = np.r_[True, (np.diff(run) != 0) | (np.diff(block) != 0) | (np.diff(step) != 0)]
    begins = np.flatnonzero(is_new)
    events = np.add.reduceat(_whole(rows, watch.events, order), begins)
    sums = np.stack([np.add.reduceat(_sums_of(rows, one)[order], begins) for one in watch.quantities], axis=1)
    most = [
        np.maximum.reduceat(_counts_of(rows, one.most, one.column)[order], begins) for one in watch.counts
    ]
    highest = np.stack(most, axis=1) if most else np.zeros((len(begins), 0), np.int64)
    conditions = [
        np.maximum.reduceat(_floats(rows, name, default)[order], begins)
        for name, default in ((watch.luminosity, 1.0), (watch.mode, 1.0))
    ]
    number = np.add.reduceat(np.ones(len(order), np.int64), begins)
    condition = np.add.reduceat(_condition_units(rows, watch)[order], begins)
    run, block, step = run[begins], block[begins], step[begins]
    edges = np.flatnonzero(np.r_[True, (np.diff(run) != 0) | (np.diff(block) != 0), True])
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        luminosity, mode = (float(one[a:b].max()) for one in conditions)
        yield BlockSums(
            (int(run[a]), int(block[a])), step[a:b], events[a:b], sums[a:b], highest[a:b], int(number[a:b].sum()), int(condition[a:b].sum()), luminosity, int(mode)
        )  # fmt: skip


def _steps_of(rows: Events, watch: Watch) -> np.ndarray:
    """Return the second of each row; without a time, one of some groups of events by their number, as good as any."""
    if watch.second is None:
        groups: np.ndarray = ak.to_numpy(rows["event"]).astype(np.int64) % EVENT_GROUPS
        return groups
    second = ak.to_numpy(rows[watch.second])
    if not np.isfinite(second).all():
        raise DataError(
            f"the column {watch.second} has a value that is not a number: it is the seconds since the begin of a block"
        )
    return np.floor(second / STEP_S).astype(np.int64)


def _condition_units(rows: Events, watch: Watch) -> np.ndarray:
    values = ak.to_numpy(rows[watch.condition]).astype(np.float64)
    if not (np.abs(values) < CONDITION_MOST).all():
        raise DataError(
            f"the column {watch.condition}, the condition of the watch {watch.name}, has a value that is not a number below {CONDITION_MOST:g}"
        )
    return np.rint(values * CONDITION_UNITS).astype(np.int64)


def _whole(rows: Events, name: str | None, order: np.ndarray) -> np.ndarray:
    if name is None or name not in rows:
        return np.ones(len(order), np.int64)
    return ak.to_numpy(rows[name]).astype(np.int64)[order]


def _floats(rows: Events, name: str | None, default: float) -> np.ndarray:
    return np.full(len(rows), default) if name is None else ak.to_numpy(rows[name]).astype(np.float64)


def _counts_of(rows: Events, most: str | None, column: str) -> np.ndarray:
    return ak.to_numpy(rows[most if most is not None and most in rows else column]).astype(np.int64)


def _sums_of(rows: Events, quantity: WatchedQuantity) -> np.ndarray:
    """Return values, sum, sum of squares and values that are not numbers of each row."""
    if quantity.sums is not None:
        parts = [ak.to_numpy(rows[name]).astype(np.int64) for name in quantity.sums]
        return np.stack([*parts, np.zeros(len(rows), np.int64)], axis=1)
    column = rows[str(quantity.values)]
    if column.ndim == 1:
        flat, ends = ak.to_numpy(column), np.arange(1, len(rows) + 1)
    else:
        flat, ends = ak.to_numpy(ak.flatten(column)), np.cumsum(ak.to_numpy(ak.num(column)))
    scaled = flat.astype(np.float64) / quantity.resolution
    good = np.isfinite(scaled)
    whole = np.rint(np.clip(np.where(good, scaled, 0), -LARGEST, LARGEST)).astype(np.int64)
    each = np.stack([good, whole, whole * whole, ~good], axis=1).astype(np.int64)
    summed = np.concatenate(
        [np.zeros((1, 4), np.int64), np.cumsum(each, axis=0)]
    )  # modulo 2^64, which differences undo
    return np.diff(summed[np.r_[0, ends]], axis=0)
