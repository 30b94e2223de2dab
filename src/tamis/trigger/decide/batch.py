"""Decide micro-batches: each operation runs once, for all events that at least one path still needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis._base import now_ns
from tamis.events import ColumnData, Frame, hold_missing
from tamis.trigger.decide.decisions import Decisions, Reason, not_finite, one_line, prescaled
from tamis.trigger.decide.laps import Laps
from tamis.trigger.decide.scatter import Piece, scatter
from tamis.trigger.menu import MenuProgram, Operation, format_ns
from tamis.trigger.stages import Added, per_event


def decide_batch(
    program: MenuProgram,
    columns: Mapping[str, ColumnData],
    events: int,
    laps: Laps,
    *,
    each_step: bool = False,
) -> Decisions:
    """Decide a micro-batch of events; with `each_step` also tell the share of each event in the time of each operation."""
    with np.errstate(all="ignore"):
        batch = _MicroBatch(program, columns, events, laps)
        if each_step:
            batch.decisions.step_ns = np.zeros((events, len(program.operations)))
        return batch.decide()


class _MicroBatch:
    def __init__(
        self, program: MenuProgram, columns: Mapping[str, ColumnData], events: int, laps: Laps
    ) -> None:
        self.program, self.events, self.laps = program, events, laps
        self.columns: dict[str, ColumnData] = dict(columns)
        self.whole = Frame(self.columns, events, may_miss=hold_missing(columns.values()))
        self.decisions = Decisions.empty(events, len(program.paths))
        self.alive = prescaled(program, self.whole)
        self.added: dict[str, ColumnData] = {}
        self.computed: dict[str, np.ndarray] = {}
        self.path_ns = np.zeros(self.alive.shape) if any(program.budgets_ns) else None

    def decide(self) -> Decisions:
        for index, operation in enumerate(self.program.operations):
            rows = np.flatnonzero(self.alive[:, operation.paths].any(axis=1))
            if not len(rows):
                continue
            frame = self.whole if len(rows) == self.events else self.whole.take(rows)
            if operation.stage is not None:
                self._compute(index, operation, rows, frame)
            else:
                self._test(index, operation, rows, frame)
        self.decisions.paths = self.alive
        self.decisions.added, self.decisions.computed = self.added, self.computed
        return self.decisions

    def _compute(self, index: int, operation: Operation, rows: np.ndarray, frame: Frame) -> None:
        stage = operation.stage
        assert stage is not None  # noqa: S101
        start = now_ns()
        try:
            added = stage.run(frame)
        except Exception as error:  # noqa: BLE001 - no exception of a stage may lose an event
            if len(rows) == 1:
                self._fault(rows, index, Reason.RAISED, one_line(error))
                self._spend(index, operation, rows, now_ns() - start)
                return
            self._one_by_one(index, operation, rows)
            return
        elapsed = now_ns() - start
        budget = self.program.budget_ns
        if len(rows) > 1 and budget is not None and elapsed / len(rows) > budget:
            self._one_by_one(index, operation, rows)
            return
        self._take(index, operation, [(rows, added)])
        for name in operation.drops:
            self.columns.pop(name, None)
        self._spend(index, operation, rows, elapsed)

    def _one_by_one(self, index: int, operation: Operation, rows: np.ndarray) -> None:
        """Run a stage event by event, to find those that raise or take too long."""
        pieces: list[tuple[np.ndarray, Added]] = []
        for row in rows:
            one = np.array([row])
            start = now_ns()
            try:
                added = operation.stage.run(self.whole.take(one))  # type: ignore[union-attr] # only stages come here
            except Exception as error:  # noqa: BLE001 - as above
                self._fault(one, index, Reason.RAISED, one_line(error))
            else:
                pieces.append((one, added))
            self._spend(index, operation, one, now_ns() - start)
        if pieces:
            self._take(index, operation, pieces)

    def _take(self, index: int, operation: Operation, pieces: list[tuple[np.ndarray, Added]]) -> None:
        stage = operation.stage
        assert stage is not None  # noqa: S101
        for rows, added in pieces:
            bad = not_finite(stage, added.columns)
            if bad is not None:
                self._fault(
                    rows[bad], index, Reason.NOT_FINITE, f"the stage {stage.name} returned NaN or infinity"
                )
            self.whole.may_miss |= added.may_miss
            if added.undecided is not None:
                self._fault(rows[added.undecided], index, Reason.UNDECIDED, "a comparison with NaN")
        computed = np.zeros(self.events, bool)
        for rows, _ in pieces:
            computed[rows] = True
        for name in stage.adds:
            parts: list[Piece] = [(rows, added.columns[name]) for rows, added in pieces]
            self.columns[name] = scatter(self.events, parts)
            if stage.kind != "features":
                self.added[name], self.computed[name] = self.columns[name], computed

    def _test(self, index: int, operation: Operation, rows: np.ndarray, frame: Frame) -> None:
        (path,) = operation.paths
        start = now_ns()
        try:
            assert operation.expression is not None  # noqa: S101 - conditions have one
            value, undecided = operation.expression.evaluate(frame)
            passed = per_event(operation.expression, value)
        except Exception as error:  # noqa: BLE001 - as above
            if len(rows) == 1:
                self._fault(rows, index, Reason.RAISED, one_line(error))
                self._spend(index, operation, rows, now_ns() - start)
            else:
                for row in rows:
                    self._test(index, operation, np.array([row]), self.whole.take(np.array([row])))
            return
        self.alive[rows, path] = passed
        if undecided is not None:
            self._fault(rows[undecided], index, Reason.UNDECIDED, "a comparison with NaN")
        self._spend(index, operation, rows, now_ns() - start)

    def _fault(self, rows: np.ndarray, index: int, reason: Reason, message: str) -> None:
        for row in rows:
            self.decisions.fault(int(row), reason, index, message)
        self.alive[rows] = False

    def _spend(self, index: int, operation: Operation, rows: np.ndarray, elapsed: int) -> None:
        """Record a time, and send the events that exceed a budget to debug."""
        self.laps.add(operation.label, elapsed, len(rows))
        share = elapsed / len(rows)
        self.decisions.spent_ns[rows] += share
        if self.decisions.step_ns is not None:
            self.decisions.step_ns[rows, index] += share
        budget = self.program.budget_ns
        if budget is not None:
            late = self.decisions.spent_ns[rows] > budget
            if late.any():
                self._fault(
                    rows[late], index, Reason.TIME_OUT, f"the event took more than {format_ns(budget)}"
                )
        if self.path_ns is not None:
            self._spend_on_paths(index, operation, rows, share)

    def _spend_on_paths(self, index: int, operation: Operation, rows: np.ndarray, share: float) -> None:
        assert self.path_ns is not None  # noqa: S101
        for path in operation.paths:
            alive = rows[self.alive[rows, path]] if operation.stage is not None else rows
            self.path_ns[alive, path] += share
            budget = self.program.budgets_ns[path]
            if budget is not None:
                late = alive[self.path_ns[alive, path] > budget]
                name = self.program.paths[path]
                self._fault(
                    late,
                    index,
                    Reason.TIME_OUT,
                    f"the event took more than {format_ns(budget)} on the path {name}",
                )
