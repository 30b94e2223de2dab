"""Rows for `tamis monitor`: what a run did with each event, in a folder that grows by one file for each unit of work."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis._base import UsageError, atomic_path
from tamis.events import ColumnData
from tamis.events.arrow import array_of_numbers
from tamis.trigger.decide import Decisions, Outcome
from tamis.trigger.menu import MenuProgram
from tamis.trigger.run import parts
from tamis.trigger.run.documents import RunPlan

MONITORED = "monitored.parquet"  # of a unit


class MonitoredFolder:
    """The folder that a monitor watches: it gets the rows of the units in their order, each once."""

    def __init__(self, plan: RunPlan, out: Path) -> None:
        """Begin with the first unit; what the folder has already is left as it is."""
        self._folder, self._out = Path(str(plan.monitor)), out.resolve()
        self._names = [unit.name for unit in plan.units()]
        self._committed: set[int] = set()
        self._next = 0

    def add(self, number: int) -> None:
        """Take a unit that was committed; it is handed on when all before it are, as a monitor judges blocks in order."""
        self._committed.add(number)
        while self._next in self._committed:
            self._committed.remove(self._next)
            name = self._names[self._next]
            rows = self._out / parts.UNITS / name / MONITORED
            target = self._folder / f"{self._out.name}-{name}.parquet"
            if rows.is_file() and not target.exists():
                with atomic_path(target) as path:
                    shutil.copyfile(rows, path)
            self._next += 1


def check_monitored(folder: Path, out: Path) -> None:
    """Check that a folder has no rows of another run of the same name."""
    own = re.compile(re.escape(out.resolve().name) + r"-\d+\.parquet")
    if folder.is_dir() and any(own.fullmatch(path.name) for path in folder.iterdir()):
        raise UsageError(
            f"{folder} has rows of another run whose output was called {out.resolve().name}: name the output or the folder of --monitor differently"
        )


def write_monitored(
    path: Path, columns: Mapping[str, ColumnData], decided: Mapping[str, np.ndarray], spent_ns: Mapping[str, np.ndarray], stored: Mapping[str, np.ndarray], kept: np.ndarray
) -> None:  # fmt: skip
    """Write the rows of a unit: identity, outcome, paths, times, bytes in streams, and the numbers of each event that the menu read."""
    if not kept.any():
        return
    flags = {name: decided[name] for name in decided if name.startswith("HLT_")}
    rows = {
        **{name: decided[name] for name in ("run", "luminosityBlock", "event")},
        "accepted": decided["outcome"] == Outcome.ACCEPTED,
        "debug": decided["outcome"] == Outcome.DEBUG,
        **flags,
        **{name: (spent / 1000).astype(np.float32) for name, spent in spent_ns.items()},
        "stored_bytes": sum(stored.values(), np.zeros(len(kept))).astype(np.float32),
        **{f"stored_bytes_{name}": size.astype(np.float32) for name, size in stored.items()},
    }
    for name, column in columns.items():
        if name not in rows and isinstance(column, np.ndarray) and column.ndim == 1:
            rows[name] = column
    table = pa.table({name: array_of_numbers(values[kept]) for name, values in rows.items()})
    pq.write_table(table, path, compression="zstd")


def times_of(found: Decisions, program: MenuProgram) -> dict[str, np.ndarray]:
    """Return the time of each event, in nanoseconds, by the name of its column: in all, in each stage, in the conditions of each path."""
    times = {"time_us": found.spent_ns}
    for at, operation in enumerate(program.operations):
        owner = (
            f"stage_us_{operation.label}"
            if operation.stage is not None
            else f"path_us_{program.paths[operation.paths[0]]}"
        )
        spent = found.step_ns[:, at] if found.step_ns is not None else np.zeros(len(found))
        times[owner] = times.get(owner, 0) + spent
    return times


def bytes_of_rows(table: pa.Table) -> np.ndarray:
    """Return the size of each row in bytes, before compression."""
    sizes = np.zeros(len(table))
    for column in table.columns:
        sizes += _bytes_of(column.combine_chunks())
    return sizes


def _bytes_of(array: pa.Array) -> np.ndarray | float:
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _bytes_of(array.flatten())
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        if not isinstance(inner, np.ndarray):
            return np.asarray(lengths * inner, np.float64)
        ends = np.cumsum(lengths)
        total = np.r_[0.0, np.cumsum(inner)]
        return np.asarray(total[ends] - total[ends - lengths])
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False), np.float64)
    try:
        return float(kind.bit_width) / 8
    except ValueError:  # records, which streams do not have
        return array.nbytes / max(1, len(array))
