"""Options and messages of commands that read files of events or arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from tamis._base import SkippedFilesError, UsageError
from tamis.cli.output import say

F = Callable[..., Any]
MADE_UP = (
    "some files lack {}, so these numbers were generated: run 0, luminosityBlock the number of the file from 1, "
    "event the number of the entry from 0"
)


def tree_option(function: F) -> F:
    """Add `--tree`."""
    return click.option(
        "--tree", help="Tree of the ROOT files, or dataset of the HDF5 or npz files, if there are several."
    )(function)


def alias_option(function: F) -> F:
    """Add `--alias`."""
    return click.option(
        "--alias",
        "aliases",
        multiple=True,
        metavar="NAME=COLUMN",
        help="Read a column of the files under another name, beyond the aliases of their format: MET_pt=PuppiMET_pt; repeatable.",
    )(function)


def reading_options(function: F) -> F:
    """Add `--tree`, `--alias` and `--skip-bad-files`."""
    skip = click.option(
        "--skip-bad-files", is_flag=True, help="Skip files that cannot be read, and end with exit code 8."
    )
    return tree_option(alias_option(skip(function)))


def tell_skipped(skipped: Sequence[object], result: object) -> None:
    """List the skipped files; raises SkippedFilesError if there are any."""
    for entry in skipped:
        say(f"skipped {entry}")
    if skipped:
        raise SkippedFilesError(
            f"{len(skipped)} files were skipped, at least in part; the output of the others is in {result}"
        )


def by_class(options: Sequence[str]) -> dict[str, list[str]]:
    """Parse NAME=FILE options into the files of each class, in order of first appearance."""
    classes: dict[str, list[str]] = {}
    for option in options:
        name, sign, file = option.partition("=")
        if not (name and sign and file):
            raise UsageError(f"--class takes NAME=FILE, not {option!r}")
        classes.setdefault(name, []).append(file)
    return classes
