"""Tracks from the cells of a silicon detector."""

from tamis.tracking.chain import Reconstruction, Tracks
from tamis.tracking.run import track_columns, track_file

__all__ = ["Reconstruction", "Tracks", "track_columns", "track_file"]
