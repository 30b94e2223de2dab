"""Engines run bundles; a Session is an opened engine that has passed the gate."""

from tamis.engines.auto import fingerprint, plan_name, read_plan
from tamis.engines.chunking import choose_chunk
from tamis.engines.engine import ENGINE_GROUP, Engine, Options, Remote, Runner, engine_names, find_engine
from tamis.engines.gate import first_difference, out_of_tolerance, pass_gate, saturation
from tamis.engines.session import DEFAULT_ENGINE, Session, open  # noqa: A004 - tamis.open is the front door
from tamis.engines.stateful import NEXT, StatefulSession, check_step, states_of

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINE_GROUP",
    "NEXT",
    "Engine",
    "Options",
    "Remote",
    "Runner",
    "Session",
    "StatefulSession",
    "check_step",
    "choose_chunk",
    "engine_names",
    "find_engine",
    "fingerprint",
    "first_difference",
    "open",
    "out_of_tolerance",
    "pass_gate",
    "plan_name",
    "read_plan",
    "saturation",
    "states_of",
]
