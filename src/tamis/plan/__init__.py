"""Deciding from records: which engine does which batch size; how large a farm has to be, by formula and by simulation."""

from tamis.plan.calibrate import Calibration, calibrate
from tamis.plan.clock import Clock, MeasuredClock, SteadyClock
from tamis.plan.engines import choose_engines
from tamis.plan.formula import PUBLISHED, PUBLISHED_CLIENTS, Workload, readings
from tamis.plan.outcome import Latency, Outcome
from tamis.plan.policy import Policy
from tamis.plan.proposal import markdown, published_table, simulated_knee, table
from tamis.plan.published import published_steps, study_published
from tamis.plan.record import Assumptions, Delay, FarmRecord, Knee, KneePoint, Point, PublishedRecord
from tamis.plan.settings import Closed, Death, Farm, Network, Open, Patience, Server, ServiceTimes
from tamis.plan.simulation import simulate
from tamis.plan.sizing import Question, rate_within, size_farm, steps_of

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
