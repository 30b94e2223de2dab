"""Event data: columnar batches of collisions, and the files that they live in."""

from quickbeam.events.batch import IDENTITY, Column, Events
from quickbeam.events.writing import EventWriter, open_writer, write_events

__all__ = ["IDENTITY", "Column", "EventWriter", "Events", "open_writer", "write_events"]
