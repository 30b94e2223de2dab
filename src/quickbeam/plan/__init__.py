"""Sizing a farm: the closed formula, and a simulation by discrete events that records calibrate."""

from quickbeam.plan.calibrate import Calibration, calibrate
from quickbeam.plan.clock import Clock, MeasuredClock, SteadyClock
from quickbeam.plan.formula import PUBLISHED, PUBLISHED_CLIENTS, Workload, readings
from quickbeam.plan.outcome import Latency, Outcome
from quickbeam.plan.policy import Policy
from quickbeam.plan.settings import (
    Closed,
    Death,
    Farm,
    Network,
    Open,
    Patience,
    Server,
    ServiceTimes,
)
from quickbeam.plan.simulation import simulate

__all__ = [
    "PUBLISHED",
    "PUBLISHED_CLIENTS",
    "Calibration",
    "Clock",
    "Closed",
    "Death",
    "Farm",
    "Latency",
    "MeasuredClock",
    "Network",
    "Open",
    "Outcome",
    "Patience",
    "Policy",
    "Server",
    "ServiceTimes",
    "SteadyClock",
    "Workload",
    "calibrate",
    "readings",
    "simulate",
]
