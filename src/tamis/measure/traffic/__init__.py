"""Loading a server: requests as they come in real life, and what became of each."""

from tamis.measure.traffic.arrivals import poisson_arrivals_ns
from tamis.measure.traffic.reading import read_traffic
from tamis.measure.traffic.study import Target, study_together, study_traffic, write_traffic
from tamis.measure.traffic_record import (
    Batches,
    BatchTime,
    LoadPoint,
    Scenario,
    ServerTime,
    Traffic,
    TrafficRecord,
)

__all__ = [
    "BatchTime",
    "Batches",
    "LoadPoint",
    "Scenario",
    "ServerTime",
    "Target",
    "Traffic",
    "TrafficRecord",
    "poisson_arrivals_ns",
    "read_traffic",
    "study_together",
    "study_traffic",
    "write_traffic",
]
