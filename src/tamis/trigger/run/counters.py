"""Choose the counter branches of lists in a ROOT tree: one per collection, unless its lists differ in length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from tamis.events.arrow import numbers_of_array
from tamis.trigger.menu import CompiledMenu


def counters_of(compiled: CompiledMenu) -> dict[str, str]:
    """Return the counter of each list that stages add: one per model, that of the collection for tracks, and one per other column."""
    return {
        column: f"n{stage.name if stage.kind == 'model' else column}"
        for stage in compiled.stages.values()
        if stage.kind != "tracking"
        for column in stage.adds
    }


def separate_lists(table: pa.Table, counters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the lists that need a counter of their own, as their lengths differ from those of their collection."""
    from tamis.events.root_writer import counter_name

    offsets: dict[str, np.ndarray] = {}
    separate = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_list(column.type) or column.null_count:
            continue
        counter = counters.get(name) or counter_name(name)
        found: np.ndarray = numbers_of_array(column.combine_chunks().offsets)
        found = found - found[0]
        first = offsets.get(counter)
        if first is None:
            first = found
            if counter in table.column_names:  # must match the lengths of its lists
                counts = table.column(counter)
                if pa.types.is_integer(counts.type) and not counts.null_count:
                    first = np.concatenate([[0], np.cumsum(numbers_of_array(counts))])
                else:
                    first = np.empty(0, np.int64)
            offsets[counter] = first
        if len(first) != len(found) or (first is not found and not np.array_equal(first, found)):
            separate.append(name)
    return tuple(separate)


def counters_in_file(schema: pa.Schema, counters: Mapping[str, str], alone: Sequence[str]) -> dict[str, str]:
    """Return the counter of each list that does not use that of its collection; lists in `alone` get one of their own."""
    from tamis.events.root_writer import counter_name

    lists = [field.name for field in schema if pa.types.is_list(field.type)]
    shared = {counters.get(name) or counter_name(name) for name in lists if name not in alone}
    taken = shared | set(schema.names)
    found = dict(counters)
    for name in alone:
        counter = f"n{name}"
        while counter in taken:
            counter += "_"
        taken.add(counter)
        found[name] = counter
    return found
