"""`tamis compare`: compare two runs over the same events."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json, print_table


@click.command(name="compare", epilog="Example: tamis compare out-old/ out-new/")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@json_option
def command(before: Path, after: Path, as_json: bool) -> None:
    """Show the events that each path gained and lost from the run BEFORE to the run AFTER, with rates and times."""
    from tamis.measure import compare_runs

    comparison = compare_runs(before, after)
    if as_json:
        print_json(comparison)
        return
    click.echo(
        f"{comparison.events} events in both ({comparison.only_before} only in {before}, {comparison.only_after} only in {after})"
    )
    share = 100 / max(1, comparison.events)
    print_table(
        "paths",
        ("path", "before", "after", "% before", "% after", "gained", "lost", "examples"),
        [
            (
                p.path, p.before, p.after, f"{share * p.before:.3f}", f"{share * p.after:.3f}", p.gained, p.lost,
                " ".join([*(f"+{e}" for e in p.gained_events[:2]), *(f"-{e}" for e in p.lost_events[:2])]),
            )
            for p in comparison.paths
        ],
    )  # fmt: skip
    for when, paths in comparison.only_paths.items():
        if paths:
            click.echo(f"paths only {when}: {', '.join(paths)}")
    if comparison.outcomes:
        print_table(
            "events with another outcome", ("from -> to", "events"), list(comparison.outcomes.items())
        )
    print_table(
        "time per event",
        ("step", "before us", "after us"),
        [
            (label, *("-" if v is None else f"{v:.1f}" for v in pair))
            for label, pair in comparison.us_per_event.items()
        ],
    )
