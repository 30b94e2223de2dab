"""The options of `tamis compress` for students, and how compressed models and students are printed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import UsageError
from tamis.cli.output import print_json, print_table, say
from tamis.cli.reading import tell_skipped

if TYPE_CHECKING:
    from tamis.compress import DistilOptions
    from tamis.compress.quality import Figure

OF_QUANTISATION = ("weights", "activations", "inputs", "per", "prune", "structured", "cost", "beta")
OF_DISTILLATION = ("student", "size", "loss", "tail", "outliers")
STUDENT_OPTIONS = (
    click.option(
        "--distil",
        metavar="METRIC",
        help="Train a small student on this instead: the parent's score, log-score (its quantised logarithm), or FILE.py:FUNCTION.",
    ),
    click.option(
        "--student",
        type=click.Choice(["dense", "conv", "particles", "trees"]),
        default="dense",
        show_default=True,
        help="Family of the student. trees: boosted trees of small integers, for hardware; without --distil they learn the parent's probabilities.",
    ),
    click.option(
        "--size",
        metavar="N,N",
        help="Neurons of the student's hidden layers (conv: channels, last neurons; particles: particles, channels, last neurons; trees: trees, questions along each, default 24,6); default: searched, up to 1 % of the operations.",
    ),
    click.option(
        "--loss",
        type=click.Choice(["mae", "mse"]),
        default="mae",
        show_default=True,
        help="Loss of the student: mean absolute or squared error.",
    ),
    click.option(
        "--tail",
        type=click.FloatRange(min=0),
        default=0.5,
        show_default=True,
        help="Further rows of each of the student's epochs, as a fraction of all, mostly with high scores.",
    ),
    click.option(
        "--outliers",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="Rows made from the data to train the student on, as a fraction of all: scaled, mixed and shifted ones.",
    ),
)


def student_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a student, which the command gets in one dictionary, `lesson`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        lesson = {name: given.pop(name) for name in ("distil", *OF_DISTILLATION)}
        return function(*args, lesson=lesson, **given)

    for option in reversed(STUDENT_OPTIONS):
        command = option(command)
    return command


def is_distillation(lesson: Mapping[str, Any]) -> bool:
    """Return whether a student is asked for; raises UsageError if an option of the other kind was given."""
    distils = lesson["distil"] is not None
    names = OF_QUANTISATION if distils else OF_DISTILLATION
    source = click.get_current_context().get_parameter_source
    given = [name for name in names if source(name) == click.core.ParameterSource.COMMANDLINE]
    if given:
        advice = (
            "--distil trains a float model: quantise it in a second call"
            if distils
            else "give --distil as well"
        )
        raise UsageError(f"--{given[0]} has no meaning here: {advice}")
    return distils


def student_options_of(lesson: Mapping[str, Any], common: Mapping[str, Any]) -> DistilOptions:
    """Return the options of a distillation from those of the command."""
    from tamis.compress import DistilOptions
    from tamis.compress.distillation.options import parse_size

    own = {name: lesson[name] for name in ("student", "loss", "tail", "outliers")}
    return DistilOptions(metric=lesson["distil"], size=parse_size(lesson["size"]), **own, **common)


def distil_student(
    parent: str,
    output: Path,
    data: Sequence[str],
    options: DistilOptions,
    classes: Mapping[str, Sequence[str]],
    *,
    as_json: bool,
) -> None:
    """Train a student, and print how it compares."""
    from tamis.compress import distil

    made = distil(parent, output, data, options, classes=classes, after_epoch=print_epoch)
    facts = made.bundle.manifest.training["distillation"]
    if as_json:
        print_json({"bundle": str(made.bundle.path), "notes": list(made.packed.notes), "distillation": facts})
    else:
        print_figures(made.figures)
        for note in made.packed.notes:
            say(note)
        size, whole = made.found.size, made.operations_of_parent
        share = f" of {whole}, {100 * size.operations / whole:.2f} %" if whole else ""
        click.echo(
            f"{made.bundle.path}: {options.student} student of size {size.text}; {size.operations} operations{share}"
        )
    tell_skipped_files(facts, made.bundle.path)


def tell_skipped_files(facts: object, path: Path) -> None:
    """List the files that were skipped; raises SkippedFilesError if there are any."""
    skipped = facts.get("skipped_files", []) if isinstance(facts, dict) else []
    tell_skipped(skipped if isinstance(skipped, list) else [], path)


def print_figures(figures: Mapping[str, Figure]) -> None:
    """Print a table of figures next to the parent's."""
    from tamis.compress.card import parent_value, show_figure

    rows = []
    for name, figure in figures.items():
        value, _, interval = show_figure(name, figure).partition(" (")
        parent = "" if figure.parent is None else parent_value(name, figure.parent)
        rows.append((name, parent, value, interval.rstrip(")")))
    print_table(
        "compared with the parent, on rows that were not trained on",
        ("quantity", "parent", "this model", "95 %"),
        rows,
    )


def print_epoch(row: dict[str, float]) -> None:
    """Print one line about an epoch."""
    details = ""
    if "cost" in row:
        flips = ", ".join(
            f"{name.removesuffix('.value')} {100 * value:.2f} %"
            for name, value in row.items()
            if name.startswith("flips") and name.endswith(".value")
        )
        details = f", cost {row['cost']:.0f}{', ' + flips if flips else ''}"
    say(
        f"epoch {row['epoch']:.0f}: training loss {row['train_loss']:.4f}, validation {row['validation_loss']:.4f}{details}"
    )
