"""Deciding from records: which engine does which batch size; how large a farm has to be, by formula and by simulation."""

from quickbeam.plan.calibrate import Calibration, calibrate
from quickbeam.plan.clock import Clock, MeasuredClock, SteadyClock
from quickbeam.plan.engines import choose_engines
from quickbeam.plan.formula import PUBLISHED, PUBLISHED_CLIENTS, Workload, readings
from quickbeam.plan.outcome import Latency, Outcome
from quickbeam.plan.policy import Policy
from quickbeam.plan.proposal import markdown, published_table, simulated_knee, table
from quickbeam.plan.published import published_steps, study_published
from quickbeam.plan.record import Assumptions, Delay, FarmRecord, Knee, KneePoint, Point, PublishedRecord
from quickbeam.plan.settings import Closed, Death, Farm, Network, Open, Patience, Server, ServiceTimes
from quickbeam.plan.simulation import simulate
from quickbeam.plan.sizing import Question, rate_within, size_farm, steps_of

__all__ = [
    "PUBLISHED",
    "PUBLISHED_CLIENTS",
    "Assumptions",
    "Calibration",
    "Clock",
    "Closed",
    "Death",
    "Delay",
    "Farm",
    "FarmRecord",
    "Knee",
    "KneePoint",
    "Latency",
    "MeasuredClock",
    "Network",
    "Open",
    "Outcome",
    "Patience",
    "Point",
    "Policy",
    "PublishedRecord",
    "Question",
    "Server",
    "ServiceTimes",
    "SteadyClock",
    "Workload",
    "calibrate",
    "choose_engines",
    "markdown",
    "published_steps",
    "published_table",
    "rate_within",
    "readings",
    "simulate",
    "simulated_knee",
    "size_farm",
    "steps_of",
    "study_published",
    "table",
]
