"""Order the operations of all paths, each stage as late as possible and for as few events as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tamis.trigger.menu.documents import Menu
from tamis.trigger.stages import Expression, Stage

EVENTS_TOGETHER, ROWS_BYTES = 256, 16_000_000  # upper limits of a micro-batch


@dataclass(frozen=True)
class Condition:
    """A selection that an event must pass on one path."""

    text: str
    expression: Expression
    path: str


PathStep = str | Condition  # the name of a stage, or a condition


@dataclass(frozen=True)
class Operation:
    """Run a stage for the events that any of `paths` still needs, or test the condition of a path."""

    label: str
    paths: tuple[int, ...]
    stage: Stage | None = None
    expression: Expression | None = None
    drops: tuple[str, ...] = ()  # rows of features that no later operation reads

    @property
    def mask(self) -> int:
        """Return the paths as bits."""
        return sum(1 << path for path in self.paths)


@dataclass(frozen=True)
class MenuProgram:
    """The operations on every event, in order."""

    paths: tuple[str, ...]
    prescales: tuple[int, ...]
    budgets_ns: tuple[int | None, ...]
    budget_ns: int | None
    micro_batch: int
    operations: tuple[Operation, ...]
    reads: tuple[str, ...]  # columns of the input
    watched: tuple[str, ...]  # added columns that histograms need of every event
    histograms: Mapping[str, Expression]


def order(
    paths: Mapping[str, Sequence[PathStep]],
    stages: Mapping[str, Stage],
    menu: Menu,
    histograms: Mapping[str, Expression],
) -> MenuProgram:
    """Merge the steps of all paths into one sequence of operations.

    A condition is tested as soon as its path reaches it. Of the stages that are next on their paths, one is chosen that the
    fewest paths need later, after a condition, so that it runs once and only for events that need it.
    """
    names = tuple(paths)
    remaining = {name: list(steps) for name, steps in paths.items()}
    done: set[str] = set()
    operations: list[Operation] = []
    while any(remaining.values()):
        for index, name in enumerate(names):
            while remaining[name] and (
                isinstance(remaining[name][0], Condition) or remaining[name][0] in done
            ):
                step = remaining[name].pop(0)
                if isinstance(step, Condition):
                    operations.append(Operation(step.text, (index,), expression=step.expression))
        waiting = [steps[0] for steps in remaining.values() if steps]
        if not waiting:
            break
        needed_later = {
            stage: sum(stage in steps[1:] for steps in remaining.values())
            for stage in waiting
            if isinstance(stage, str)
        }
        chosen = min(needed_later, key=needed_later.__getitem__)
        users = tuple(i for i, name in enumerate(names) if chosen in remaining[name])
        operations.append(Operation(chosen, users, stage=stages[chosen]))
        done.add(chosen)
    added = {column for stage in stages.values() for column in stage.adds}
    reads = [c for op in operations for c in (op.stage or op.expression).reads if c not in added]  # type: ignore[union-attr] # an operation has a stage or an expression
    plotted = dict.fromkeys(column for expression in histograms.values() for column in expression.reads)
    reads += [column for column in plotted if column not in added]
    return MenuProgram(
        names,
        tuple(menu.paths[name].prescale for name in names),
        tuple(None if menu.hardware else menu.paths[name].budget for name in names),
        None if menu.hardware else menu.budget,  # that of hardware is not about the time of its emulation
        menu.micro_batch or micro_batch(stages),
        _dropping(operations),
        tuple(dict.fromkeys(reads)),
        tuple(column for column in plotted if column in added),
        histograms,
    )


def _dropping(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Add to each operation the features that it is the last to read: they are large, and are freed early."""
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


def micro_batch(stages: Mapping[str, Stage]) -> int:
    """Return the events per micro-batch: fewer if models read images, so that the inputs fit in a cache."""
    largest = max((stage.row_bytes for stage in stages.values()), default=0)
    return max(8, min(EVENTS_TOGETHER, ROWS_BYTES // max(1, largest)))
