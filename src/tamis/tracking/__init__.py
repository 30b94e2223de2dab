"""Tracks from the cells of a silicon detector."""

from tamis.tracking.chain import Reconstruction, Tracks
from tamis.tracking.comparison import compare_track_files
from tamis.tracking.run import track_columns, track_file

__all__ = ["Reconstruction", "Tracks", "compare_track_files", "track_columns", "track_file"]
