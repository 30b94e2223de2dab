"""Sizing a farm of inference servers from records of loads, by formula and by simulation."""

from tamis.farm.calibrate import Calibration, calibrate
from tamis.farm.clock import Clock, MeasuredClock, SteadyClock
from tamis.farm.formula import PUBLISHED, PUBLISHED_CLIENTS, Workload, readings
from tamis.farm.outcome import SimulationResult
from tamis.farm.proposal import markdown, published_table, simulated_knee, table
from tamis.farm.published import published_steps, study_published
from tamis.farm.settings import Closed, Death, Farm, Network, Open, Patience, Policy, ServerSpec, ServiceTimes
from tamis.farm.simulation import simulate
from tamis.farm.sizing import FarmRequirements, rate_within, servers_needed, size_farm, steps_of

__all__ = [
    "PUBLISHED",
    "PUBLISHED_CLIENTS",
    "Calibration",
    "Clock",
    "Closed",
    "Death",
    "Farm",
    "FarmRequirements",
    "MeasuredClock",
    "Network",
    "Open",
    "Patience",
    "Policy",
    "ServerSpec",
    "ServiceTimes",
    "SimulationResult",
    "SteadyClock",
    "Workload",
    "calibrate",
    "markdown",
    "published_steps",
    "published_table",
    "rate_within",
    "readings",
    "servers_needed",
    "simulate",
    "simulated_knee",
    "size_farm",
    "steps_of",
    "study_published",
    "table",
]
