"""`tamis verify`: compare engines with the float64 reference."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, VerificationError, progress
from tamis.cli.bundle_summary import WIDTH
from tamis.cli.output import engines_of, json_option, print_json, print_table, say, threads_option
from tamis.cli.reading import reading_options, tell_skipped

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.events import SkippedFile
    from tamis.records import Agreement


@click.command(name="verify", epilog="Example: tamis verify conv-vae --engine all")
@click.argument("bundle")
@click.option(
    "--engine", default="all", show_default=True, help="An engine, several separated by commas, or all."
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="Compare on these inputs (.npz) instead of the golden events.",
)
@click.option(
    "--events",
    multiple=True,
    help="Compare on the model inputs computed from these event files instead; may be repeated.",
)
@click.option(
    "--most",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Most rows of --events to use.",
)
@reading_options
@threads_option
@json_option
def command(
    bundle: str,
    engine: str,
    inputs: Path | None,
    events: tuple[str, ...],
    most: int,
    tree: str | None,
    aliases: tuple[str, ...],
    skip_bad_files: bool,
    threads: int,
    as_json: bool,
) -> None:
    """Compare engines with the float64 reference on BUNDLE: errors, matching fractions, decision flips."""
    from tamis.bundle import Bundle, read_samples
    from tamis.events import parse_aliases
    from tamis.measure import verify
    from tamis.trigger import inputs_of_events

    opened = Bundle.open(bundle)
    if inputs is not None and events:
        raise UsageError("--inputs and --events exclude each other: pass one of them")
    arrays = None if inputs is None else read_samples(inputs, opened.manifest.signature)
    skipped: list[SkippedFile] = []
    if events:
        arrays, skipped = inputs_of_events(
            opened, events, most, tree=tree, aliases=parse_aliases(aliases), skip_bad_files=skip_bad_files
        )
    engines, agreements = engines_of(engine), []
    with progress("verifying", len(engines), "engines") as advance:
        for name in engines:
            agreements.append(verify(opened, name, inputs=arrays, threads=threads))
            advance(1)
    if as_json:
        print_json(agreements)
    else:
        _print(opened, agreements)
    # some engines cannot run some models: with `all`, that fails nothing as long as another one can
    others = [
        a for a in agreements if engine == "all" and not a.outputs and any(b.outputs for b in agreements)
    ]
    for a in others:
        say(f"left out: {a.problem}")
    failed = [a for a in agreements if not a.passed and a not in others]
    if failed:
        raise VerificationError("; ".join(f"{a.engine}: {a.problem}" for a in failed))
    tell_skipped([entry.reason for entry in skipped], "the comparison")


def _print(bundle: Bundle, agreements: Sequence[Agreement]) -> None:
    rows: list[tuple[object, ...]] = []
    for a in agreements:
        if not a.outputs:
            rows.append((a.engine, "cannot run it", *[""] * 7, "–"))
        rows += [
            (
                a.engine,
                o.output,
                o.values,
                f"{o.largest_absolute:.2e}",
                f"{o.largest_relative:.2e}{'*' if o.is_tiny else ' '}",
                *(f"{100 * v:.2f}" for v in o.matching.values()),
                "yes" if a.passed else "NO",
            )
            for o in a.outputs
        ]
    columns = (
        "engine",
        "output",
        "values",
        "max |error|",
        "max rel. error",
        "% within 0.01 %",
        "0.1 %",
        "1 %",
        "5 %",
        "passes",
    )
    events = max((a.events for a in agreements), default=0)
    print_table(f"{bundle.name}: agreement with float64 on {events} events", columns, rows, keys=2)
    for line in _what_decides(bundle, agreements):
        click.echo(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    flips = [
        (
            a.engine,
            f.working_point,
            f"{f.threshold:.6g}",
            f.flips,
            f.decisions,
            f"{100 * f.low:.2g} to {100 * f.high:.2g}",
        )
        for a in agreements
        for f in a.flips
    ]
    if flips:
        print_table(
            "decision flips",
            ("engine", "working point", "threshold", "flips", "of", "95 % interval, %"),
            flips,
            keys=2,
        )


def _what_decides(bundle: Bundle, agreements: Sequence[Agreement]) -> Iterator[str]:
    """Yield what a star means, if there is one, and what an engine has to fulfil."""
    if any(o.is_tiny for a in agreements for o in a.outputs):
        yield "* of a tiny value, for which the absolute tolerance decides and not the relative error"
    limits = ", ".join(
        f"{spec.name} {spec.tolerance.absolute:.2g} + {100 * spec.tolerance.relative:g} %"
        for spec in bundle.manifest.signature.outputs
    )
    yield f"What decides: |error| <= absolute + relative tolerance, for every output of the golden events ({limits})."
