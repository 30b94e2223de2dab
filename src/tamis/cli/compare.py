"""`tamis compare`: two runs over the same events."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json, print_table


@click.command(name="compare", epilog="Example: tamis compare out-old/ out-new/")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@json_option
def command(before: Path, after: Path, as_json: bool) -> None:
    """Tell the events that each path gained and lost from the run BEFORE to the run AFTER, rates and time."""
    from tamis.measure import compare_runs

    found = compare_runs(before, after)
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{found.events} events in both ({found.only_before} only in {before}, {found.only_after} only in {after})"
    )
    share = 100 / max(1, found.events)
    print_table(
        "paths",
        ("path", "before", "after", "% before", "% after", "gained", "lost", "such as"),
        [
            (
                p.path, p.before, p.after, f"{share * p.before:.3f}", f"{share * p.after:.3f}", p.gained, p.lost,
                " ".join([*(f"+{e}" for e in p.gained_events[:2]), *(f"-{e}" for e in p.lost_events[:2])]),
            )
            for p in found.paths
        ],
    )  # fmt: skip
    for when, paths in found.only_paths.items():
        if paths:
            click.echo(f"paths only {when}: {', '.join(paths)}")
    if found.outcomes:
        print_table(
            "events that left through another door", ("from -> to", "events"), list(found.outcomes.items())
        )
    print_table(
        "time per event",
        ("step", "before us", "after us"),
        [
            (label, *("-" if v is None else f"{v:.1f}" for v in pair))
            for label, pair in found.us_per_event.items()
        ],
    )
