"""Event data: columnar batches of collisions, and reading and writing their files."""

from tamis.events.aliases import check_aliases, parse_aliases
from tamis.events.array_writing import ArrayWriter, open_array_writer
from tamis.events.arrays import ArrayChunk, ArrayReader, open_arrays, read_arrays
from tamis.events.batch import IDENTITY, Column, Events, rows_without_value
from tamis.events.columns import ColumnData, Frame, Jagged, columns_of, plain_column
from tamis.events.failures import of_file
from tamis.events.inspecting import FileSummary, inspect_file
from tamis.events.locate import expand, holds_arrays, local_path
from tamis.events.lumi_mask import read_lumi_mask
from tamis.events.missing_values import MISSING, hold_missing, is_missing, with_missing
from tamis.events.ranges import BrokenRange, EventFile, Intact
from tamis.events.reading import Aliases, Chunk, EventReader, open_table, read_events
from tamis.events.stream import SkippedFile
from tamis.events.writing import EventWriter, open_writer, write_events

__all__ = [
    "IDENTITY",
    "MISSING",
    "Aliases",
    "ArrayChunk",
    "ArrayReader",
    "ArrayWriter",
    "BrokenRange",
    "Chunk",
    "Column",
    "ColumnData",
    "EventFile",
    "EventReader",
    "EventWriter",
    "Events",
    "FileSummary",
    "Frame",
    "Intact",
    "Jagged",
    "SkippedFile",
    "check_aliases",
    "columns_of",
    "expand",
    "hold_missing",
    "holds_arrays",
    "inspect_file",
    "is_missing",
    "local_path",
    "of_file",
    "open_array_writer",
    "open_arrays",
    "open_table",
    "open_writer",
    "parse_aliases",
    "plain_column",
    "read_arrays",
    "read_events",
    "read_lumi_mask",
    "rows_without_value",
    "with_missing",
    "write_events",
]
