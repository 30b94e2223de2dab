"""What all commands that read event files have in common."""

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
        "--tree", help="Tree of the ROOT files, or dataset of the HDF5 or npz files, where there are several."
    )(function)


def reading_options(function: F) -> F:
    """Add `--tree` and `--skip-bad-files`."""
    skip = click.option(
        "--skip-bad-files", is_flag=True, help="Go on after a file that cannot be read; exit code 8 then."
    )
    return tree_option(skip(function))


def tell_skipped(skipped: Sequence[object], result: object) -> None:
    """List the files that were given up, and end with the exit code that says so."""
    for entry in skipped:
        say(f"skipped {entry}")
    if skipped:
        raise SkippedFilesError(
            f"{len(skipped)} of the files were skipped, at least in part; the rest is in {result}"
        )


def by_class(given: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of every class out of NAME=FILE, in the order in which the classes came."""
    classes: dict[str, list[str]] = {}
    for entry in given:
        name, sign, file = entry.partition("=")
        if not (name and sign and file):
            raise UsageError(f"--class takes NAME=FILE, not {entry!r}")
        classes.setdefault(name, []).append(file)
    return classes
