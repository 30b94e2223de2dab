"""Run a menu over files, such that every event is accounted for even after errors, kills and full disks."""

from tamis.trigger.run.account import TimeLine, account, concurrent_times
from tamis.trigger.run.documents import (
    Counts,
    HistogramSum,
    RunPlan,
    RunSummary,
    RunUnit,
    UnitResult,
    Unreadable,
)
from tamis.trigger.run.finish import read_summary
from tamis.trigger.run.parts import read_decisions
from tamis.trigger.run.planning import check_files
from tamis.trigger.run.run import process_start_ns, run_menu
from tamis.trigger.run.times import TimeSum

__all__ = [
    "Counts",
    "HistogramSum",
    "RunPlan",
    "RunSummary",
    "RunUnit",
    "TimeLine",
    "TimeSum",
    "UnitResult",
    "Unreadable",
    "account",
    "check_files",
    "concurrent_times",
    "process_start_ns",
    "read_decisions",
    "read_summary",
    "run_menu",
]
