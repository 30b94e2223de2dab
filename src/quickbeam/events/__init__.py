"""Event data: columnar batches of collisions, and the files that they live in."""

from quickbeam.events.batch import IDENTITY, Column, Events

__all__ = ["IDENTITY", "Column", "Events"]
