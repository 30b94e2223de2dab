"""The trees beside the events that a skimmed file must keep: sums of weights per run, and the luminosity blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import awkward as ak
import pyarrow as pa

from tamis._base import TamisError
from tamis.events.arrow import columns_of_schema, with_columns
from tamis.events.locate import sniff
from tamis.events.reading import read_checked
from tamis.events.table import Table

SIDE_TREES = ("Runs", "LuminosityBlocks")  # as in NanoAOD


@dataclass
class SideTrees:
    """The joined side trees of some files, and what could not be read or joined."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_side_trees(urls: Sequence[str], besides: str | None = None) -> SideTrees:
    """Read the side trees of all ROOT files, in order, unless one of them is read as events.

    Every row is kept, as a luminosity block may be in several files.
    """
    found = SideTrees()
    parts: dict[str, list[tuple[str, pa.Table]]] = {}
    for url in urls if besides not in SIDE_TREES else ():
        try:
            if sniff(url) == "root":
                for name, table in _read(url, found.problems).items():
                    parts.setdefault(name, []).append((url, table))
        except TamisError as error:
            found.problems.append(f"the trees {' and '.join(SIDE_TREES)} of {url} are lost: {error}")
    for name, tables in parts.items():
        found.tables[name] = _joined(name, tables, found.problems)
    return found


def _read(url: str, problems: list[str]) -> dict[str, pa.Table]:
    from tamis.events.root import open_file, open_tree, trees_of

    tables = {}
    with contextlib.closing(open_file(url)) as file:
        kinds = trees_of(file, url)
        for name in SIDE_TREES:
            if name in kinds:
                tree = open_tree(file, url, name, kinds[name])
                tables[name] = with_columns(pa.table({}), _columns(tree, problems))
    return tables


def _columns(tree: Table, problems: list[str]) -> dict[str, ak.Array]:
    """Return the columns that a ROOT tree can hold again."""
    from tamis.events.root_writer import tree_holds

    names = [name for name in tree.columns if name not in tree.unsupported(list(tree.columns))]
    data = read_checked(tree, names, 0, tree.entries)
    table = with_columns(pa.table({}), data)
    lost = [column.name for column in columns_of_schema(table.schema) if not tree_holds(column)]
    lost += [*tree.opaque]
    if lost:
        problems.append(f"{tree.url}: the tree {tree.name} is kept without {', '.join(lost)}")
    return {name: values for name, values in data.items() if name not in lost}


def _joined(name: str, tables: Sequence[tuple[str, pa.Table]], problems: list[str]) -> pa.Table:
    """Join the tables of one name; a column that some file lacks, or has as another type, cannot be kept."""
    fields = list(tables[0][1].schema)
    for url, table in tables[1:]:
        lost = [f for f in fields if f.name not in table.schema.names or table.schema.field(f.name) != f]
        lost += [f for f in table.schema if f.name not in tables[0][1].schema.names]
        if lost:
            named = ", ".join(f.name for f in lost)
            problems.append(f"the tree {name} is kept without {named}: {url} and {tables[0][0]} differ there")
        fields = [f for f in fields if f not in lost]
    schema = pa.schema(fields)
    return pa.concat_tables([table.select(schema.names).cast(schema) for _, table in tables]).combine_chunks()
