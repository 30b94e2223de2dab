"""The classification extension: the largest values of an output, in descending order, as `score:index[:label]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis.serve.protocol.messages import Fault, Refusal, RequestedOutput
from tamis.serve.protocol.tensors import datatype_of

_SCORES = frozenset([f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)] + ["FP32", "FP64"])


def class_counts(outputs: Sequence[RequestedOutput]) -> dict[str, int]:
    """Return the number of classes requested of each output; outputs without such a request are omitted."""
    counts = {}
    for one in outputs:
        count = one.parameters.get("classification")
        if count is None:
            continue
        if type(count) is not int or count < 1:
            raise Refusal(
                Fault.INVALID,
                f"the output {one.name!r} has classification {count!r}; it must be an integer of at least 1",
            )
        if "shared_memory_region" in one.parameters:
            raise Refusal(
                Fault.INVALID,
                f"the output {one.name!r} cannot be both classes and in shared memory; request only one of them",
            )
        counts[one.name] = count
    return counts


def classified(
    outputs: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
    *,
    has_rows: bool,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, np.ndarray]:
    """Return the outputs; one with a count becomes strings that name its highest classes, one row per row of the batch."""
    labels = labels or {}
    return {
        name: _classes(name, array, counts[name], has_rows, labels.get(name, ())) if name in counts else array
        for name, array in outputs.items()
    }


def _classes(name: str, array: np.ndarray, count: int, has_rows: bool, labels: Sequence[str]) -> np.ndarray:
    datatype = datatype_of(array.dtype)
    if datatype not in _SCORES:
        raise Refusal(Fault.INVALID, f"the output {name!r} is {datatype}, which has no classes")
    rows = array.reshape(len(array) if has_rows else 1, -1) if array.size else array.reshape(0, 0)
    count = min(count, rows.shape[1])
    classes = np.empty((len(rows), count), object)
    for index, row in enumerate(rows):
        # the largest values in descending order; ties in order of index, NaN last
        keys = np.where(np.isnan(row), -np.inf, row) if row.dtype.kind == "f" else row
        ascending = np.argsort(keys[::-1], kind="stable")
        for rank, best in enumerate(len(row) - 1 - ascending[::-1][:count]):
            value = f"{float(row[best]):f}" if row.dtype.kind == "f" else str(row[best])
            label = f":{labels[best]}" if best < len(labels) and labels[best] else ""
            classes[index, rank] = f"{value}:{best}{label}".encode()
    return classes if has_rows else classes.reshape(-1)
