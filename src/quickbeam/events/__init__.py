"""Event data: columnar batches of collisions, and the files that they live in."""

from quickbeam.events.arrays import ArrayChunk, ArrayReader, read_arrays
from quickbeam.events.batch import IDENTITY, Column, Events
from quickbeam.events.failures import of_file
from quickbeam.events.columns import ColumnData, Frame, Jagged, columns_of
from quickbeam.events.inspecting import FileSummary, inspect_file
from quickbeam.events.jets import JET_COLUMNS, Jets, leading_jets
from quickbeam.events.locate import holds_arrays, local_path
from quickbeam.events.reading import Chunk, EventReader, read_events
from quickbeam.events.stream import SkippedFile
from quickbeam.events.writing import EventWriter, open_writer, write_events

__all__ = [
    "IDENTITY",
    "JET_COLUMNS",
    "ArrayChunk",
    "ArrayReader",
    "Chunk",
    "Column",
    "ColumnData",
    "EventReader",
    "EventWriter",
    "Events",
    "FileSummary",
    "Frame",
    "Jagged",
    "Jets",
    "SkippedFile",
    "columns_of",
    "holds_arrays",
    "inspect_file",
    "leading_jets",
    "local_path",
    "of_file",
    "open_writer",
    "read_arrays",
    "read_events",
    "write_events",
]
