"""Loads on a server: requests with realistic arrivals, and their latencies."""

from tamis.measure.traffic.driver import poisson_arrivals_ns
from tamis.measure.traffic.study import LoadTarget, study_together, study_traffic, write_traffic

__all__ = [
    "LoadTarget",
    "poisson_arrivals_ns",
    "study_together",
    "study_traffic",
    "write_traffic",
]
