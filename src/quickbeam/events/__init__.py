"""Event data: columnar batches of collisions, and the files that they live in."""

from quickbeam.events.array_writing import ArrayWriter, open_array_writer
from quickbeam.events.arrays import ArrayChunk, ArrayReader, read_arrays
from quickbeam.events.batch import IDENTITY, Column, Events, missing
from quickbeam.events.columns import ColumnData, Frame, Jagged, columns_of, plain_column
from quickbeam.events.failures import of_file
from quickbeam.events.inspecting import FileSummary, inspect_file
from quickbeam.events.locate import expand, holds_arrays, local_path
from quickbeam.events.ranges import BrokenRange, EventFile, Intact
from quickbeam.events.reading import Chunk, EventReader, read_events
from quickbeam.events.stream import SkippedFile
from quickbeam.events.writing import EventWriter, open_writer, write_events

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
    "open_writer",
    "plain_column",
    "read_arrays",
    "read_events",
    "write_events",
]
