"""The run of a menu over files: nothing lost, whatever happens."""

from tamis.trigger.run.account import TimeLine, account, beside
from tamis.trigger.run.documents import (
    Counts,
    HistogramSum,
    Plan,
    RunSummary,
    Unit,
    UnitResult,
    Unreadable,
)
from tamis.trigger.run.finish import read_summary
from tamis.trigger.run.parts import read_decisions
from tamis.trigger.run.run import process_start_ns, run_menu
from tamis.trigger.run.times import TimeSum

__all__ = [
    "Counts",
    "HistogramSum",
    "Plan",
    "RunSummary",
    "TimeLine",
    "TimeSum",
    "Unit",
    "UnitResult",
    "Unreadable",
    "account",
    "beside",
    "process_start_ns",
    "read_decisions",
    "read_summary",
    "run_menu",
]
