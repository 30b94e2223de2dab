"""The order of work: one line of operations for all paths, each stage as late as it can be and for as few events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tamis.trigger.menu.documents import Menu
from tamis.trigger.stages import Expression, Stage

EVENTS_TOGETHER, ROWS_BYTES = 256, 16_000_000


@dataclass(frozen=True)
class Condition:
    """A selection that an event has to pass on one path."""

    text: str
    expression: Expression
    path: str


Step = str | Condition  # the name of a stage, or a condition


@dataclass(frozen=True)
class Operation:
    """One thing to do: run a stage for the events that some of `paths` still want, or test a path's condition."""

    label: str
    paths: tuple[int, ...]
    stage: Stage | None = None
    expression: Expression | None = None
    drops: tuple[str, ...] = ()  # rows of features that nobody reads after this

    @property
    def mask(self) -> int:
        """Return the paths as bits."""
        return sum(1 << path for path in self.paths)


@dataclass(frozen=True)
class Program:
    """What is done to every event, in order."""

    paths: tuple[str, ...]
    prescales: tuple[int, ...]
    budgets_ns: tuple[int | None, ...]
    budget_ns: int | None
    micro_batch: int
    operations: tuple[Operation, ...]
    reads: tuple[str, ...]  # columns of the input
    watched: tuple[str, ...]  # columns that stages add and that are wanted of every event, for histograms
    histograms: Mapping[str, Expression]


def order(
    paths: Mapping[str, Sequence[Step]],
    stages: Mapping[str, Stage],
    menu: Menu,
    histograms: Mapping[str, Expression],
) -> Program:
    """Merge the steps of all paths into one line.

    Conditions are tested as soon as a path comes to them. Of the stages that paths wait for, one is taken that no
    other path still has beyond a condition, so that it runs once and for those events alone that need it.
    """
    names = tuple(paths)
    left = {name: list(steps) for name, steps in paths.items()}
    done: set[str] = set()
    operations: list[Operation] = []
    while any(left.values()):
        for index, name in enumerate(names):
            while left[name] and (isinstance(left[name][0], Condition) or left[name][0] in done):
                step = left[name].pop(0)
                if isinstance(step, Condition):
                    operations.append(Operation(step.text, (index,), expression=step.expression))
        waiting = [steps[0] for steps in left.values() if steps]
        if not waiting:
            break
        chosen = _choose([step for step in waiting if isinstance(step, str)], left)
        users = tuple(i for i, name in enumerate(names) if chosen in left[name])
        operations.append(Operation(chosen, users, stage=stages[chosen]))
        done.add(chosen)
    added = {column for stage in stages.values() for column in stage.adds}
    reads = [c for op in operations for c in (op.stage or op.expression).reads if c not in added]  # type: ignore[union-attr] # one of both
    drawn = dict.fromkeys(column for expression in histograms.values() for column in expression.reads)
    reads += [column for column in drawn if column not in added]
    return Program(
        names,
        tuple(menu.paths[name].prescale for name in names),
        tuple(menu.paths[name].budget for name in names),
        menu.budget,
        menu.micro_batch or micro_batch(stages),
        _dropping(operations),
        tuple(dict.fromkeys(reads)),
        tuple(column for column in drawn if column in added),
        histograms,
    )


def _dropping(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Note with each operation the features that it is the last to read: they are large, and go as early as they can."""
    last: dict[str, int] = {}
    for index, operation in enumerate(operations):
        stage = operation.stage
        if stage is not None and stage.kind == "features":
            last.update(dict.fromkeys(stage.adds, index))
        reads = (
            stage.reads if stage is not None else operation.expression.reads if operation.expression else ()
        )
        last.update({name: index for name in reads if name in last})
    return tuple(
        replace(operation, drops=tuple(name for name, at in last.items() if at == index))
        for index, operation in enumerate(operations)
    )


def _choose(waiting: Sequence[str], left: Mapping[str, Sequence[Step]]) -> str:
    def later(stage: str) -> int:
        return sum(stage in steps[1:] for steps in left.values())

    return min(dict.fromkeys(waiting), key=later)


def micro_batch(stages: Mapping[str, Stage]) -> int:
    """Return how many events are decided together: fewer where models read images, so that they fit in a cache."""
    largest = max((stage.row_bytes for stage in stages.values()), default=0)
    return max(8, min(EVENTS_TOGETHER, ROWS_BYTES // max(1, largest)))
