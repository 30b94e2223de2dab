"""`tamis monitor`: watch a detector while it takes data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tamis._base import UsageError, now_ns
from tamis.cli.output import json_option, print_json, print_text, say

if TYPE_CHECKING:
    from tamis.monitor.journal import JournalAlarm


@click.command(name="monitor", epilog="Example: tamis monitor stream --model lar.tamis -o monitored")
@click.argument("stream", required=False)
@click.option("--model", type=click.Path(path_type=Path), help="Bundle of `tamis train lar-template`.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder of the journal; one that is there is continued."
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
@click.option(
    "--live", "port", type=click.IntRange(0, 65535), help="Show a page with state, trends and alarms at this port, as long as the monitor runs; 0 for any free port."
)  # fmt: skip
@click.option(
    "--live-host", "host", default="127.0.0.1", show_default=True, help="With --live: address to listen at; anybody who reaches it can read the page."
)  # fmt: skip
@click.option(
    "--live-token",
    "token",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --live: file with the token of those who may acknowledge, comment and override; created if it does not exist. Without it the page is read-only.",
)
@click.option(
    "--live-stale", "stale", type=click.FloatRange(min=0, min_open=True), help="With --live: seconds without a block after which the page is stale; default: two blocks."
)  # fmt: skip
@click.option(
    "--journal",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --live: show this journal until Ctrl-C, without a stream and a model.",
)
@json_option
def command(
    stream: str | None,
    model: Path | None,
    output: Path | None,
    engine: str,
    follow: bool,
    idle: float,
    hooks: tuple[str, ...],
    replay: Path | None,
    first: str,
    port: int | None,
    host: str,
    token: Path | None,
    stale: float | None,
    journal: Path | None,
    as_json: bool,
) -> None:
    """Judge every luminosity block of STREAM, and write the verdicts to a journal.

    STREAM is a folder of Parquet or ROOT files, `-` for the standard input, or tcp://HOST:PORT to listen there for senders of Arrow record batches; or a YAML file that lists several
    monitors, each with a name, a stream and a model.

    A bad block is explained: region, quantity, and the defects that do this. A killed monitor goes on where it was; no block is judged twice.
    """
    from tamis.bundle import Bundle
    from tamis.cli.monitor_lines import Announcer
    from tamis.cli.monitor_several import watch_several
    from tamis.monitor.model import monitor_of
    from tamis.monitor.run import monitor_stream
    from tamis.monitor.run import replay as replay_journal

    page = _Page(port, host, token, stale)
    if journal is not None:
        _show(journal, page, alone=stream is None and replay is None and port is not None)
        return
    if (stream is None) == (replay is None):
        raise UsageError("name a stream to watch, or a journal with --replay")
    if stream is not None and stream.endswith((".yaml", ".yml")):
        if model is not None or page != _Page(None, "127.0.0.1", None, None):
            raise UsageError(
                "a list of monitors names the models, and has no live page: leave out --model and --live"
            )
        watch_several(
            Path(stream), _given(output, "-o"), engine=engine, follow=follow, idle_s=idle, hooks=hooks, as_json=as_json
        )  # fmt: skip
        return
    model, output = _given(model, "--model"), _given(output, "-o")
    if stream is None and (hooks or page != _Page(None, "127.0.0.1", None, None)):
        raise UsageError("--hook and --live are for a stream: a replay reports nothing")
    start = now_ns()
    bundle = Bundle.open(model)

    told = Announcer(hooks, quiet=as_json)
    try:
        if stream is not None:
            monitor_of(bundle)
            with _served(output, page, told.dropped) as told.page:
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


def _given(path: Path | None, option: str) -> Path:
    if path is None:
        raise UsageError(f"{option} is missing: a monitor needs a model and a folder for its journal")
    return path


class _Page(NamedTuple):
    port: int | None
    host: str
    token: Path | None
    stale: float | None


@contextlib.contextmanager
def _served(
    folder: Path, page: _Page, dropped: Callable[[], int] = lambda: 0
) -> Iterator[Callable[[JournalAlarm], None]]:
    """Serve the live page of a journal, if it is wanted, and print its address; yield what shows an alarm on it."""
    if page.port is None:
        if page.token is not None or page.stale is not None:
            raise UsageError("--live-token and --live-stale are for the live page: add --live PORT")
        yield lambda _: None
        return
    from tamis.monitor.live import LiveServer, LiveSettings, token_of

    known = page.token is not None and page.token.exists()
    token = None if page.token is None else token_of(page.token)
    with LiveServer(folder, LiveSettings(page.port, page.host, token, page.stale), dropped) as server:
        may = "read-only" if token is None else f"the token is in {page.token}{'' if known else ', new'}"
        say(f"live page: {server.address} ({may})")
        yield server.take_alarm


def _show(journal: Path, page: _Page, *, alone: bool) -> None:
    from tamis.monitor.journal import Journal

    if not alone:
        raise UsageError("--journal shows a journal and judges nothing: give it with --live PORT alone")
    Journal(journal).close()  # it has to exist
    with _served(journal, page), contextlib.suppress(KeyboardInterrupt):
        say("Ctrl-C ends")
        while True:
            time.sleep(3600)


def block_key(text: str) -> tuple[int, int]:
    """Return the run and the block of a text such as 1234:1."""
    run, _, block = text.partition(":")
    if not (run.isdecimal() and block.isdecimal()):
        raise UsageError(f"{text!r} is not RUN:BLOCK, such as 1234:1: write a run and a block")
    return int(run), int(block)
