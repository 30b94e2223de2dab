"""Opening a file of events by what it is."""

from __future__ import annotations

from quickbeam._base import UsageError
from quickbeam.events.failures import reading
from quickbeam.events.locate import sniff
from quickbeam.events.table import Table


def open_table(url: str, tree: str | None = None) -> Table:
    """Open the events of a file, whatever its format."""
    kind = sniff(url)
    if kind == "root":
        from quickbeam.events.root import open_root

        return open_root(url, tree)
    if kind == "parquet":
        from quickbeam.events.parquet import ParquetTable

        with reading(url):
            return ParquetTable(url)
    raise UsageError(f"{url} ({kind}) holds arrays rather than events: read it with read_arrays")
