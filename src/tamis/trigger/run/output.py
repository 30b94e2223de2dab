"""The columns that a run adds to the events it keeps: bits, prescales, scores; reasons in the debug stream."""

from __future__ import annotations

import awkward as ak
import numpy as np

from tamis.events import ColumnData, Jagged
from tamis.trigger.decide import Decisions, Reason
from tamis.trigger.menu import Program


def stream_columns(program: Program, found: Decisions, rows: np.ndarray) -> dict[str, object]:
    """Return what is added to accepted events."""
    columns: dict[str, object] = {}
    for index, (path, prescale) in enumerate(zip(program.paths, program.prescales, strict=True)):
        columns[f"HLT_{path}"] = found.paths[rows, index]
        columns[f"HLT_{path}_prescale"] = np.full(len(rows), prescale, np.int32)
    for name, column in found.added.items():
        columns[name] = _awkward(column, rows)
    return columns


def debug_columns(
    program: Program, found: Decisions, rows: np.ndarray, file: str, entries: np.ndarray
) -> dict[str, object]:
    """Return what is added to events of the debug stream: why, where, and what they were."""
    labels = [operation.label for operation in program.operations]
    return {
        "debug_reason": ak.Array([Reason(code).name.lower() for code in found.reason[rows]]),
        "debug_stage": ak.Array([labels[at] if at >= 0 else "" for at in found.stage[rows]]),
        "debug_message": ak.Array([found.message.get(int(row), "") for row in rows]),
        "debug_file": ak.Array([file] * len(rows)),
        "debug_entry": entries.astype(np.int64),
    }


def _awkward(column: ColumnData, rows: np.ndarray) -> object:
    if isinstance(column, Jagged):
        chosen = column.take(rows)
        index = ak.index.Index64(chosen.offsets.astype(np.int64))
        return ak.Array(
            ak.contents.ListOffsetArray(index, ak.contents.NumpyArray(np.ascontiguousarray(chosen.values)))
        )
    return column[rows]
