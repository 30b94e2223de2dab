"""Stages of expressions: new columns (`define`) and named selections (`keep`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis.events import ColumnData, Frame
from tamis.trigger.stages.expression import Expression, KindOf, per_event
from tamis.trigger.stages.kinds import Kind
from tamis.trigger.stages.stage import Added, Stage


def define_stage(name: str, expressions: Mapping[str, Expression]) -> Stage:
    """Return a stage that adds a column per expression; an expression may read the columns of earlier ones."""
    adds = tuple(expressions)
    defined: set[str] = set()
    reads: dict[str, None] = {}
    for column, expression in expressions.items():
        reads.update(dict.fromkeys(r for r in expression.reads if r not in defined))
        defined.add(column)

    def run(frame: Frame) -> Added:
        added: dict[str, ColumnData] = {}
        undecided: np.ndarray | None = None
        for column, expression in expressions.items():
            added[column], nan = expression.evaluate(frame.with_columns(added))
            if nan is not None:
                undecided = nan if undecided is None else undecided | nan
        return Added(added, undecided, frame.may_miss)

    def kinds(kind_of: KindOf) -> dict[str, Kind]:
        known: dict[str, Kind] = {}
        for column, expression in expressions.items():
            known[column] = expression.kind(lambda name: known[name] if name in known else kind_of(name))
        return known

    return Stage(name, "filter", tuple(reads), adds, run, kinds=kinds)


def keep_stage(name: str, expression: Expression) -> Stage:
    """Return a stage that adds a boolean column with the name of the stage."""

    def run(frame: Frame) -> Added:
        passed, undecided = expression.evaluate(frame)
        return Added({name: per_event(expression, passed).astype(bool, copy=False)}, undecided)

    def kinds(kind_of: KindOf) -> dict[str, Kind]:
        expression.check_condition(kind_of)
        return {name: Kind(False, None, np.ones(1, bool))}

    return Stage(name, "filter", expression.reads, (name,), run, kinds=kinds)
