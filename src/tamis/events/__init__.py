"""Event data: columnar batches of collisions, and reading and writing their files."""

from tamis.events.array_writing import ArrayWriter, open_array_writer
from tamis.events.arrays import ArrayChunk, ArrayReader, open_arrays, read_arrays
from tamis.events.batch import IDENTITY, Column, Events, missing
from tamis.events.columns import ColumnData, Frame, Jagged, columns_of, plain_column
from tamis.events.failures import of_file
from tamis.events.inspecting import FileSummary, inspect_file
from tamis.events.locate import expand, holds_arrays, local_path
from tamis.events.ranges import BrokenRange, EventFile, Intact
from tamis.events.reading import Chunk, EventReader, open_table, read_events
from tamis.events.stream import SkippedFile
from tamis.events.writing import EventWriter, open_writer, write_events

__all__ = [
    "IDENTITY",
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
    "columns_of",
    "expand",
    "holds_arrays",
    "inspect_file",
    "local_path",
    "missing",
    "of_file",
    "open_array_writer",
    "open_arrays",
    "open_table",
    "open_writer",
    "plain_column",
    "read_arrays",
    "read_events",
    "write_events",
]
