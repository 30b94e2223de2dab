"""Data-quality monitoring: blocks of a stream are summed up, judged, and explained."""

from tamis.monitor.model import MonitorModel, monitor_of
from tamis.monitor.watch import Watch, lar_watch, read_watch

__all__ = ["MonitorModel", "Watch", "lar_watch", "monitor_of", "read_watch"]
