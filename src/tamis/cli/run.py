"""`tamis run`: decide events with a menu."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import click

from tamis._base import MissingExtraError, SkippedFilesError, UndecidedError, UsageError, processes_with
from tamis.cli.output import json_option, print_json, print_table, say, tls_options, wide_option
from tamis.cli.reading import MADE_UP, alias_option

UNREADABLE_LISTED = 20
MESSAGES_SHOWN = 3
FILES_NAMED = 3
MOSTLY = 0.5  # of the events in debug: the menu or the input is wrong, and the exit code says so
WORKERS_LOAD = ("tamis.trigger.run.workers", "tamis.events.root")


@click.command(
    name="run",
    epilog="Example: tamis run menu.yaml 'data/*.root' -o out/ --workers 2. "
    "After a kill, Ctrl-C or a full disk, --resume continues the run and gives the same output.",
)
@click.argument("menu", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for streams, decisions and the summary.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes on this machine."
)
@click.option(
    "--scheduler", help="Address of a Dask scheduler whose workers process the events: tcp://HOST:8786."
)
@click.option(
    "--mode",
    type=click.Choice(["batch", "event"]),
    default="batch",
    show_default=True,
    help="Micro-batches (throughput), or one event at a time (latency: every event is timed).",
)
@click.option(
    "--lumi-mask",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON of good luminosity blocks by run (golden JSON): events of others are counted as masked, and not decided.",
)
@click.option(
    "--monitor",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that grows by a row per event while the run goes on, for `tamis monitor FOLDER --follow`: paths, outcome, times, sizes.",
)
@click.option("--resume", is_flag=True, help="Continue an unfinished run.")
@click.option("--tree", help="Name of the tree; overrides that of the menu.")
@alias_option
@click.option(
    "--unit-events",
    type=click.IntRange(1),
    help="Events that are committed together (at most 5000 by default).",
)
@click.option(
    "--stuck",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds without a heartbeat after which a worker is replaced (with --workers 2 or more).",
)
@click.option(
    "--remote",
    help="Servers that run the models: grpc://HOST:PORT, grpcs:// for TLS, separated by commas. TAMIS_TOKEN has their bearer token.",
)
@tls_options
@click.option("--fallback", help="Engine to use when no server answers, such as onnxruntime.")
@click.option(
    "--server-timeout",
    type=click.FloatRange(min=0.001),
    default=1.0,
    show_default=True,
    help="Timeout of a call in seconds, after which another server is called.",
)
@click.option("--page", is_flag=True, help="Write an HTML page of the run as well: index.html and figures.")
@wide_option
@json_option
def command(menu: Path, files: tuple[str, ...], output: Path, as_json: bool, **options: Any) -> None:
    """Decide the events of FILES with MENU: accepted events go to streams, those with errors to debug, and all are counted."""
    if options["workers"] > 1 and options["scheduler"] is None:
        processes_with(WORKERS_LOAD)  # they load while this process does
    gc.disable()  # loading modules makes no garbage
    from tamis.events import parse_aliases, read_lumi_mask
    from tamis.trigger import load_menu, process_start_ns, run_menu

    gc.freeze()  # keep garbage collection, which may run during an event, from traversing all loaded modules for 50 ms
    gc.enable()
    since_ns = process_start_ns()
    summary = run_menu(
        load_menu(menu).with_aliases(parse_aliases(options["aliases"])),
        files,
        output,
        mode=options["mode"],
        workers=options["workers"],
        scheduler=options["scheduler"],
        resume=options["resume"],
        tree=options["tree"],
        unit_events=options["unit_events"],
        lumi_mask=None if options["lumi_mask"] is None else read_lumi_mask(options["lumi_mask"]),
        monitor=options["monitor"],
        stuck_s=options["stuck"],
        since_ns=since_ns,
        remote=_remote(options),
    )
    if as_json:
        print_json(summary)
    else:
        _print(summary, output, options["wide"])
    if options["page"]:
        _draw(output)
    if summary.made_up:
        say(MADE_UP.format(", ".join(summary.made_up)))
    for columns in summary.left_out:
        say(f"left out, as a ROOT tree cannot hold them: {columns}")
    for problem in summary.side_tree_problems:
        say(problem)
    unreadable = _report_unreadable(summary, output)
    counts, (common, *_) = summary.counts, [*summary.messages, "not recorded"]
    if counts.debug > MOSTLY * (counts.entered - counts.unreadable - counts.masked):
        raise UndecidedError(
            f"{counts.debug} of {counts.entered} events could not be decided and are in debug.root; the most frequent reason: {common}"
        )
    if unreadable:
        raise SkippedFilesError(f"{unreadable}; all other events are decided")


def _remote(options: dict[str, Any]) -> Any:
    """Return the servers of --remote, or None."""
    from tamis.engines import Remote

    if not options["remote"]:
        for name in ("fallback", "ca", "certificate", "key"):
            if options[name]:
                raise UsageError(f"--{name} needs --remote, which names the servers")
        return None
    servers = tuple(server.strip() for server in options["remote"].split(",") if server.strip())
    from tamis.serve.client.channel import plain_address  # needs the extra `serve`

    for server in servers:
        plain_address(server)
    ca, certificate, key = (
        None if options[name] is None else str(options[name].absolute())
        for name in ("ca", "certificate", "key")
    )
    return Remote(
        servers, options["fallback"], options["server_timeout"], ca=ca, certificate=certificate, key=key
    )


def _report_unreadable(summary: Any, output: Path) -> str:
    """Report unreadable files and ranges; return in words how many there are."""
    losses = summary.losses
    for loss in losses[:UNREADABLE_LISTED]:
        say(f"unreadable: {loss}")
    if len(losses) > UNREADABLE_LISTED:
        say(f"unreadable: {len(losses) - UNREADABLE_LISTED} more, in {output / 'run.json'}")
    files = sum(loss.start is None for loss in losses)
    problems = [f"{summary.counts.unreadable} events could not be read"] if len(losses) > files else []
    problems += [f"{files} files could not be opened"] if files else []
    return " and ".join(problems)


def _print(summary: Any, output: Path, wide: bool) -> None:
    from tamis.trigger import account, concurrent_times

    counts = summary.counts
    click.echo(f"{summary.outcomes}; {summary.wall_ns / 1e9:.1f} s")
    share = max(1, counts.entered - counts.masked)
    print_table(
        "paths",
        ("path", "accepted", "%"),
        [(p, n, f"{100 * n / share:.3f}") for p, n in counts.paths.items()],
    )
    streams = [(s, n, _files_of(s, summary.outputs)) for s, n in counts.streams.items()]
    print_table("streams", ("stream", "events", "file"), streams)
    if counts.reasons:
        print_table("debug", ("reason", "events"), list(counts.reasons.items()))
        for message, events in list(summary.messages.items())[:MESSAGES_SHOWN]:
            click.echo(f"debug, {events} {'event' if events == 1 else 'events'}: {message}")
    lines = account(summary)
    print_table(
        "time per event",
        ("part", "step", "events", "mean µs", "p50", "p95", "p99", "p99.9", "max", "% of the run"),
        [_row(line) for line in (*lines, *concurrent_times(summary)) if line.events],
        keys=2,
        extra=("p50", "p95", "p99", "p99.9", "max"),
        wide=wide,
    )
    print_table(
        "one-off work",
        ("", "s per run", "% of the run"),
        [
            (line.label, f"{line.total_ns / 1e9:.2f}", f"{100 * line.share:.1f}")
            for line in lines
            if not line.events
        ],
    )
    click.echo(f"output in {output}")


def _files_of(stream: str, outputs: dict[str, str]) -> str:
    """Return the files of a stream: input files with different columns have one each."""
    files = [file for name, file in outputs.items() if name.partition("-")[0] == stream]
    return f"{files[0]} to {files[-1]}" if len(files) > FILES_NAMED else ", ".join(files) or "-"


def _draw(output: Path) -> None:
    """Write the page of the run, if the plotting libraries are installed."""
    from tamis.report import write_report

    try:
        page = write_report([output / "run.json"], output)
    except MissingExtraError as error:
        say(f"no page was drawn: {error}")
    else:
        say(f"the page: file://{page.resolve()}")


def _row(line: Any) -> tuple[str, ...]:
    values = (line.mean_ns, line.p50_ns, line.p95_ns, line.p99_ns, line.p999_ns, line.most_ns)
    return (
        line.part,
        line.label,
        str(line.events),
        *("-" if v != v else f"{v / 1e3:.1f}" for v in values),
        f"{100 * line.share:.1f}",
    )
