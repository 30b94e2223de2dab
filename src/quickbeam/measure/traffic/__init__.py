"""Loading a server: requests as they come in real life, and what became of each."""

from quickbeam.measure.traffic.reading import read_traffic
from quickbeam.measure.traffic.scenarios import Scenario, Traffic, poisson_arrivals_ns
from quickbeam.measure.traffic.study import (
    Batches,
    BatchTime,
    LoadPoint,
    ServerTime,
    Target,
    TrafficRecord,
    study_traffic,
    write_traffic,
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
    "study_traffic",
    "write_traffic",
]
