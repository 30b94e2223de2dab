"""Decide events with a compiled menu, in micro-batches or one by one; every event is accepted, rejected or sent to debug."""

from tamis.trigger.decide.batch import decide_batch
from tamis.trigger.decide.decisions import Decisions, Outcome, Reason
from tamis.trigger.decide.laps import Laps
from tamis.trigger.decide.loop import prepare_loop
from tamis.trigger.decide.single import EVENT, SETUP, decide_single

__all__ = [
    "EVENT",
    "SETUP",
    "Decisions",
    "Laps",
    "Outcome",
    "Reason",
    "decide_batch",
    "decide_single",
    "prepare_loop",
]
