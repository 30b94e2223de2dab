"""Units done by processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from quickbeam.trigger.run.documents import Plan, Unit, UnitResult
from quickbeam.trigger.stages import UserStage


def run_in_processes(
    plan: Plan, out: Path, units: Sequence[Unit], workers: int, plugged: dict[str, UserStage]
) -> Iterator[UnitResult]:
    """Do units on several processes."""
    raise NotImplementedError
