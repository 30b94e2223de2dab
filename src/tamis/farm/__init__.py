"""Sizing a farm of inference servers from records of loads, by formula and by simulation."""

from tamis.farm.calibrate import Calibration, calibrate
from tamis.farm.clock import Clock, MeasuredClock, SteadyClock
from tamis.farm.formula import PUBLISHED, PUBLISHED_CLIENTS, Workload, readings
from tamis.farm.gpu_times import PUBLISHED_GPU_TIMES, GpuTimesFile, parse_gpu_times, read_gpu_times
from tamis.farm.outcome import SimulationResult
from tamis.farm.placement import PlacementResources
from tamis.farm.placement_inputs import read_tracking
from tamis.farm.placement_links import LINKS, parse_link
from tamis.farm.placement_study import PlacementRequest, study_placements
from tamis.farm.proposal import markdown, published_table, simulated_knee, table
from tamis.farm.published import published_steps, study_published
from tamis.farm.settings import Closed, Death, Farm, Network, Open, Patience, Policy, ServerSpec, ServiceTimes
from tamis.farm.simulation import simulate
from tamis.farm.sizing import FarmRequirements, rate_within, servers_needed, size_farm, steps_of

__all__ = [
    "LINKS",
    "PUBLISHED",
    "PUBLISHED_CLIENTS",
    "PUBLISHED_GPU_TIMES",
    "Calibration",
    "Clock",
    "Closed",
    "Death",
    "Farm",
    "FarmRequirements",
    "GpuTimesFile",
    "MeasuredClock",
    "Network",
    "Open",
    "Patience",
    "PlacementRequest",
    "PlacementResources",
    "Policy",
    "ServerSpec",
    "ServiceTimes",
    "SimulationResult",
    "SteadyClock",
    "Workload",
    "calibrate",
    "markdown",
    "parse_gpu_times",
    "parse_link",
    "published_steps",
    "published_table",
    "rate_within",
    "read_gpu_times",
    "read_tracking",
    "readings",
    "servers_needed",
    "simulate",
    "simulated_knee",
    "size_farm",
    "steps_of",
    "study_placements",
    "study_published",
    "table",
]
