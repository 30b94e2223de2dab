"""`tamis monitor`: watch a detector while it takes data."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import UsageError, now_ns
from tamis.cli.output import json_option, print_json, print_text


@click.command(name="monitor", epilog="Example: tamis monitor stream --model lar.tamis -o monitored")
@click.argument("stream", required=False)
@click.option(
    "--model", type=click.Path(path_type=Path), required=True, help="Bundle of `tamis train lar-template`."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the journal; one that is there is continued."
)  # fmt: skip
@click.option("--engine", default="auto", show_default=True, help="What runs the model.")
@click.option("--follow", is_flag=True, help="Wait for further files in the folder, until Ctrl-C or --idle.")
@click.option(
    "--idle", type=click.FloatRange(min=0), default=float("inf"), help="With --follow: seconds without a new file after which the stream has ended."
)  # fmt: skip
@click.option(
    "--hook",
    "hooks",
    multiple=True,
    help="Report every alarm and bad block: a command, which gets JSON on its standard input, or a URL to post it to; may be repeated.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a journal whose blocks are judged again, with this model.",
)
@click.option(
    "--from", "first", default="0:0", show_default=True, help="With --replay: first block, as RUN:BLOCK."
)
@json_option
def command(
    stream: str | None,
    model: Path,
    output: Path,
    engine: str,
    follow: bool,
    idle: float,
    hooks: tuple[str, ...],
    replay: Path | None,
    first: str,
    as_json: bool,
) -> None:
    """Judge every luminosity block of STREAM, and write the verdicts to a journal.

    STREAM is a folder of Parquet or ROOT files, `-` for the standard input, or tcp://HOST:PORT to listen there for senders of Arrow record batches.

    A bad block is explained: region, quantity, and the defects that do this. A killed monitor goes on where it was; no block is judged twice.
    """
    from tamis.bundle import Bundle
    from tamis.cli.monitor_lines import Announcer
    from tamis.monitor.run import monitor_stream
    from tamis.monitor.run import replay as replay_journal

    if (stream is None) == (replay is None):
        raise UsageError("name a stream to watch, or a journal with --replay")
    if hooks and stream is None:
        raise UsageError("--hook is for a stream: a replay reports nothing")
    start = now_ns()
    bundle = Bundle.open(model)

    told = Announcer(hooks, quiet=as_json)
    try:
        if stream is not None:
            monitor = monitor_stream(
                stream, bundle, output, engine=engine, follow=follow, idle_s=idle, watched=told.verdict, alarmed=told.alarm, opened=told.opened,
            )  # fmt: skip
        else:
            monitor = replay_journal(Path(str(replay)), bundle, output, block_key(first), engine)
            told.counts.update(one.state for one in monitor.journal.blocks())
    finally:
        told.close()
    late = monitor.journal.late()
    monitor.journal.close()
    seconds = (now_ns() - start) / 1e9
    if as_json:
        print_json({"journal": str(output), "blocks": dict(told.counts), "late": late, "seconds": seconds})
        return
    blocks = ", ".join(f"{count} {state}" for state, count in told.counts.most_common()) or "no new blocks"
    print_text(f"{output}: {blocks}; {seconds:.3g} s")
    if late:
        print_text(
            f"{late} parts of blocks came after their verdict, or twice: they are listed in the journal"
        )


def block_key(text: str) -> tuple[int, int]:
    """Return the run and the block of a text such as 1234:1."""
    run, _, block = text.partition(":")
    if not (run.isdecimal() and block.isdecimal()):
        raise UsageError(f"{text!r} is not RUN:BLOCK, such as 1234:1: write a run and a block")
    return int(run), int(block)
