"""`tamis score`: score events or arrays."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import duration, human_bytes
from tamis.cli.output import json_option, print_json, say, threads_option
from tamis.cli.reading import MADE_UP, reading_options, tell_skipped


@click.command(name="score", epilog="Example: tamis score conv-vae qcd.root -o scores.parquet")
@click.argument("bundle")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Parquet file to write, with a row per jet, frame, lepton or array row.",
)
@click.option("--engine", default="auto", show_default=True, help="The engine that runs the model.")
@threads_option
@reading_options
@click.option(
    "--chunk-mb",
    type=click.FloatRange(min=0.001),
    default=100.0,
    show_default=True,
    help="Limit of the data in memory.",
)
@json_option
def command(
    bundle: str,
    files: tuple[str, ...],
    output: Path,
    engine: str,
    threads: int,
    skip_bad_files: bool,
    tree: str | None,
    aliases: tuple[str, ...],
    chunk_mb: float,
    as_json: bool,
) -> None:
    """Score FILES (ROOT or Parquet events; HDF5 or NumPy arrays) with BUNDLE, through a verified engine.

    The features of BUNDLE determine the rows of the table: conv-vae and graph-vae score the two leading jets of an event,
    topology-* the event around its leading lepton, egamma up to four seeds in the calorimeter, quark-gluon, top and tau the two
    leading jets. An event has any number of consecutive rows; the number of events without a row is reported at the end. A row without input, such as a jet without constituents, has null
    instead of scores.

    Columns: run, luminosityBlock, event; those that distinguish the rows of an event (jet, its index among the event's jets,
    with its pt and mass; eta, phi, pt of a seed); then every output, such as score. For arrays: row, then every output.
    """
    from tamis.engines import open as open_session
    from tamis.events import parse_aliases
    from tamis.trigger import score_files

    with open_session(bundle, engine, threads=threads) as session:
        facts = score_files(
            session,
            files,
            output,
            skip_bad_files=skip_bad_files,
            tree=tree,
            aliases=parse_aliases(aliases),
            chunk_bytes=int(chunk_mb * 1e6),
        )
    if as_json:
        print_json(facts)
    else:
        took = f"; {engine} took {duration(facts.score_ns / facts.rows)} per row" if facts.rows else ""
        without = f"; {facts.rows_without_input} rows without input" if facts.rows_without_input else ""
        click.echo(
            f"{output}: {facts.rows} rows of {facts.events} events ({facts.events_without_rows} without any{without}), "
            f"{human_bytes(output.stat().st_size)}{took}"
        )
    if facts.made_up:
        say(MADE_UP.format(", ".join(facts.made_up)))
    tell_skipped(facts.skipped, output)
