"""Opening a file of events by what it is."""

from __future__ import annotations

from tamis._base import UsageError
from tamis.events.failures import reading
from tamis.events.locate import sniff
from tamis.events.table import Table


def open_table(url: str, tree: str | None = None) -> Table:
    """Open the events of a file, whatever its format."""
    kind = sniff(url)
    if kind == "root":
        from tamis.events.root import open_root

        return open_root(url, tree)
    if kind == "parquet":
        from tamis.events.parquet import ParquetTable

        with reading(url):
            return ParquetTable(url)
    raise UsageError(f"{url} ({kind}) holds arrays rather than events: read it with read_arrays")
