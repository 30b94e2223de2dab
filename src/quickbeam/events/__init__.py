"""Event data: columnar batches of collisions, and the files that they live in."""

from quickbeam.events.batch import IDENTITY, Column, Events
from quickbeam.events.reading import Chunk, EventReader, SkippedFile, read_events
from quickbeam.events.writing import EventWriter, open_writer, write_events

__all__ = [
    "IDENTITY",
    "Chunk",
    "Column",
    "EventReader",
    "EventWriter",
    "Events",
    "SkippedFile",
    "open_writer",
    "read_events",
    "write_events",
]
