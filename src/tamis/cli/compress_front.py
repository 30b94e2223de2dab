"""The options of `tamis compress` for a front, and how it is printed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import UsageError
from tamis.cli.compress_student import print_epoch
from tamis.cli.output import print_json, print_table

if TYPE_CHECKING:
    from tamis.compress import CompressOptions, DistilOptions
    from tamis.records import FrontPoint, FrontRecord, ModelCost

FRONT_OPTIONS = (
    click.option(
        "--pareto",
        is_flag=True,
        help="Write a folder of models from dear to cheap, and a page that shows what each loses and costs.",
    ),
    click.option(
        "--points",
        type=click.IntRange(2, 20),
        default=6,
        show_default=True,
        help="Models of --pareto, at most.",
    ),
)


def front_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a front, which the command gets as `points`, or None without --pareto."""

    @functools.wraps(function)
    def command(*args: Any, pareto: bool, points: int, **given: Any) -> Any:
        source = click.get_current_context().get_parameter_source("points")
        if not pareto and source == click.core.ParameterSource.COMMANDLINE:
            raise UsageError("--points has no meaning here: give --pareto as well")
        return function(*args, points=points if pareto else None, **given)

    for option in reversed(FRONT_OPTIONS):
        command = option(command)
    return command


def make_front(
    parent: str,
    output: Path,
    data: Sequence[str],
    options: CompressOptions | DistilOptions,
    classes: Mapping[str, Sequence[str]],
    points: int,
    *,
    as_json: bool,
) -> None:
    """Make the models, the record and the page, and print the figures."""
    from tamis.compress import compress_front
    from tamis.report import write_report

    record = compress_front(
        parent, output, data, options, classes=classes, points=points, after_epoch=print_epoch
    )
    page = write_report([output / "front.json"], output)
    if as_json:
        print_json(record)
        return
    _print(record)
    click.echo(f"{output}: {len(record.points)} models of {record.parent}; look at {page}")


def _print(record: FrontRecord) -> None:
    from tamis.compress.card import parent_value, show_figure
    from tamis.compress.quality import Figure

    def shown(point: FrontPoint) -> str:
        figure = point.figures[record.quantity]
        return show_figure(record.quantity, Figure(figure.value, figure.low, figure.high, figure.parent))

    of_parent = record.points[0].figures[record.quantity].parent
    rows = [
        (
            record.parent,
            "" if of_parent is None else parent_value(record.quantity, of_parent),
            *_cells(record.parent_cost),
            "",
        )
    ]
    rows += [
        (
            point.bundle,
            shown(point),
            *_cells(point.cost),
            ("yes" if point.met else "no") if record.target else "",
        )
        for point in record.points
    ]
    columns = ["model", record.quantity, "operations", "EBOPs", "LUT", "cycles", "us", "target met"]
    print_table(
        f"a front of {record.parent}, on {record.rows} rows that were used for nothing else", columns, rows
    )


def _cells(cost: ModelCost) -> tuple[str, ...]:
    fastest = min(cost.event_ns.values(), default=None)
    return (
        str(cost.operations),
        "-" if cost.ebops is None else str(cost.ebops),
        "-" if cost.lut is None else f"{cost.lut:.0f}",
        "-" if cost.cycles is None else str(cost.cycles),
        "-" if fastest is None else f"{fastest / 1e3:.3g}",
    )
