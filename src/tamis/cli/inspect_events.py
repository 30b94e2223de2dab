"""The text of `tamis inspect` for files of events or arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import click

from tamis._base import UsageError, human_bytes
from tamis.cli.output import print_table, print_text
from tamis.events import FileSummary
from tamis.events.inspecting import stem_of
from tamis.trigger import ModelFit

_SHORT_NAMES = 8  # of columns that belong to no collection


def print_file(summary: FileSummary, features: Sequence[str], fits: Sequence[ModelFit]) -> None:
    """Print what a file holds, in short: its format, trees, identity, collections, and the models that it can serve."""
    size = "" if summary.file_bytes is None else f", {human_bytes(summary.file_bytes)}"
    profile = summary.profile
    click.echo(f"{summary.path}: {summary.format}{size}")
    if profile is not None and profile.name:
        print_text(f"format: {profile.name} ({profile.about.rstrip('.')})")
    elif summary.tree is not None:
        click.echo(
            "format: none that tamis knows; name its columns with --alias, or in the menu under source: aliases:"
        )
    for tree in summary.trees:
        mark = " (read by default)" if tree.name == summary.tree and len(summary.trees) > 1 else ""
        click.echo(
            f"tree {tree.name}: {tree.kind}, {_count(tree.entries, 'entry', 'entries')}, "
            f"{_count(tree.columns, 'column', 'columns')}{mark}"
        )
    if summary.datasets:
        rows = [
            (d.name, d.type, " x ".join(map(str, d.shape)), human_bytes(d.uncompressed_bytes))
            for d in summary.datasets
        ]
        print_table("arrays", ("name", "type", "shape", "bytes"), rows)
    if summary.tree is None:
        if len(summary.trees) > 1:
            click.echo("several trees: choose one with --tree")
        _print_unreadable(summary)
        return
    _print_identity(summary)
    _print_collections(summary)
    _print_unreadable(summary)
    if profile is not None and profile.aliases:
        click.echo("read under further names:")
        for name, text in profile.aliases.items():
            click.echo(f"  {name} = {text}")
    print_text("features that can be computed: " + (", ".join(features) or "none"))
    _print_models(fits, {} if profile is None else profile.lacks)
    click.echo("the columns of a collection: --columns 'Jet_*'")


def _print_identity(summary: FileSummary) -> None:
    identity = summary.identity
    if identity is None:
        return
    parts = []
    for name, source, between in (
        ("run", identity.run, identity.run_range),
        ("luminosityBlock", identity.luminosity_block, identity.luminosity_block_range),
        ("event", identity.event, identity.event_range),
    ):
        if source is None:
            parts.append(f"{name} generated")
        else:
            named = name if source == name else f"{name} ({source})"
            values = (
                ""
                if between is None
                else f" {between[0]}" + (f" to {between[1]}" if between[1] != between[0] else "")
            )
            parts.append(f"{named}{values}")
    print_text("events: " + ", ".join(parts))
    for part, count in identity.missing.items():
        click.echo(f"{count} events have no {part}")


def _print_collections(summary: FileSummary) -> None:
    rows = [
        (c.name, c.columns, "" if c.per_event is None else f"{c.per_event:.1f}", _bytes(c.compressed_bytes))
        for c in summary.collections
        if c.name and (c.columns > 1 or c.per_event is not None)
    ]
    if rows:
        rows.sort(key=lambda row: (not row[2], row[0].lower()))
        print_table("collections", ("name", "columns", "per event", "size"), rows)
    grouped = {row[0] for row in rows}
    counters = {f"n{name}" for name in grouped}
    alone = [c.name for c in summary.columns if c.name not in counters and stem_of(c.name) not in grouped]
    if alone:
        more = f", ... ({len(alone) - _SHORT_NAMES} more)" if len(alone) > _SHORT_NAMES else ""
        print_text(f"other columns: {', '.join(alone[:_SHORT_NAMES])}{more}")


def print_columns(summary: FileSummary, pattern: str) -> None:
    """Print the columns that match a name or glob."""
    chosen = [c for c in (*summary.columns, *summary.unreadable_columns) if fnmatchcase(c.name, pattern)]
    if not chosen:
        raise UsageError(
            f"{summary.path} has no column that matches {pattern!r}; collections: {_names(summary)}"
        )
    rows = [(c.name, c.type, _bytes(c.compressed_bytes), _bytes(c.uncompressed_bytes)) for c in chosen]
    print_table(f"columns {pattern}", ("name", "type", "size", "uncompressed"), rows, keys=2)


def _names(summary: FileSummary) -> str:
    return ", ".join(collection.name for collection in summary.collections if collection.name)


def _print_unreadable(summary: FileSummary) -> None:
    if summary.unreadable_columns:
        rows = [(column.name, column.type) for column in summary.unreadable_columns]
        print_table("columns that cannot be read", ("name", "reason"), rows, keys=2)


def _print_models(fits: Sequence[ModelFit], lacks: Mapping[str, str]) -> None:
    able = [fit.model for fit in fits if not fit.missing]
    print_text("shipped models that find their inputs here: " + (", ".join(able) or "none"))
    lacking: dict[tuple[str, ...], list[str]] = {}
    for fit in fits:
        if fit.missing:
            lacking.setdefault(fit.missing, []).append(fit.model)
    for missing, models in lacking.items():
        named = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        reasons = (why for name in missing for prefix, why in lacks.items() if name.startswith(prefix))
        why = next(reasons, None)
        print_text(f"  {', '.join(models)}: no {named}" + (f" ({why})" if why else ""))


def _bytes(size: int | None) -> str:
    return "" if size is None else human_bytes(size)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
