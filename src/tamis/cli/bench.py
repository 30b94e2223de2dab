"""`tamis bench`: compare the speed of engines."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, duration, file_stamp
from tamis.cli.output import (
    engines_of,
    json_option,
    print_json,
    print_table,
    say,
    threads_option,
    wide_option,
)

if TYPE_CHECKING:
    from tamis.records import Record


@click.command(
    name="bench", epilog="Example: tamis bench conv-vae graph-vae --engine all --batch 1,64 -o records/"
)
@click.argument("bundles", nargs=-1, required=True)
@click.option(
    "--engine", default="all", show_default=True, help="An engine, several separated by commas, or all."
)
@click.option(
    "--batch",
    "batches",
    default="1,8,16,64,256,1024",
    show_default=True,
    help="Batch sizes, separated by commas.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the record.")
@click.option(
    "--rounds",
    type=click.IntRange(2),
    default=25,
    show_default=True,
    help="Rounds; each times one block of calls per engine and mode.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Approximate time per bundle and batch size.",
)
@click.option(
    "--cold/--no-cold", default=True, show_default=True, help="Also time calls with evicted caches."
)
@click.option(
    "--load/--no-load", default=True, show_default=True, help="Also time import, open and first call."
)
@click.option(
    "--memory/--no-memory",
    default=True,
    show_default=True,
    help="Also measure memory against batch size and number of events.",
)
@click.option(
    "--memory-events",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    help="Track the memory over this many events, for 60 s at most.",
)
@threads_option
@wide_option
@json_option
def command(
    bundles: tuple[str, ...],
    engine: str,
    batches: str,
    output: Path | None,
    rounds: int,
    seconds: float,
    cold: bool,
    load: bool,
    memory: bool,
    memory_events: int,
    threads: int,
    wide: bool,
    as_json: bool,
) -> None:
    """Time BUNDLES on engines that pass verification, interleaved in one run, warm and with evicted caches."""
    from tamis.bundle import Bundle
    from tamis.measure import Bench, TimingPlan, run_bench
    from tamis.records import write_record

    sizes = sizes_of(batches)
    heap = find_spec("memray") is not None
    if memory and not heap:
        say("heap allocations are not tracked: that needs memray, pip install 'tamis[memory]'")
    engines = tuple(name for name in engines_of(engine) if engine != "all" or name != "reference")
    plan = TimingPlan(rounds=rounds, budget_ns=int(seconds * 1e9), least_rounds=min(5, rounds))
    bench = Bench(
        engines=engines,
        batches=sizes,
        threads=threads,
        plan=plan,
        cold=cold,
        load=load,
        memory_batches=sizes if memory else (),
        memory_events=memory_events if memory else 0,
        memory_seconds=60,
        heap=heap,
    )
    record = run_bench([Bundle.open(name) for name in bundles], bench)
    if output is not None:
        path = write_record(record, output / f"bench-{file_stamp(record.created)}.json")
        say(f"{path}")
    if as_json:
        print_json(record)
        return
    _print(record, wide)
    for sentence in record.refused:
        say(f"not timed: {sentence}")


def sizes_of(text: str) -> tuple[int, ...]:
    """Parse batch sizes separated by commas."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"the batch sizes {text!r} are not integers separated by commas, as in 1,8,64"
        ) from error
    if not sizes or min(sizes) < 1:
        raise UsageError(f"the batch sizes {text!r} must be at least 1")
    return sizes


def _print(record: Record, wide: bool) -> None:
    baselines = {r.ratio.baseline for r in record.latency if r.ratio}
    rows = [
        (
            r.bundle,
            r.batch,
            f"{r.engine} {r.version}",
            r.mode,
            f"{r.warm.p50_ns / 1e3:.1f}",
            f"{r.warm.p95_ns / 1e3:.1f}",
            f"{r.warm.p99_ns / 1e3:.1f}",
            f"{r.cold.p50_ns / 1e3:.1f}" if r.cold else "-",
            f"{r.ratio.median:.2f}" if r.ratio else "-",
            f"{r.warm.p50_ns / r.floor_ns:.1f}" if r.floor_ns and r.engine != "null" else "-",
        )
        for r in record.latency
    ]
    columns = (
        "bundle",
        "batch",
        "engine",
        "mode",
        "p50 us",
        "p95 us",
        "p99 us",
        "cold p50 us",
        "ratio",
        "x floor",
    )
    title = f"latency; ratio to {' or '.join(sorted(baselines))}, round by round" if baselines else "latency"
    print_table(title, columns, rows, keys=3, extra=("mode", "p95 us", "p99 us", "x floor"), wide=wide)
    load = [
        (
            r.bundle,
            r.engine,
            *(f"{v / 1e6:.1f}" for v in (r.import_ns, r.open_ns, r.first_call_ns, r.second_call_ns)),
        )
        for r in record.load
    ]
    if load:
        print_table(
            "loading, ms", ("bundle", "engine", "import", "open and verify", "first call", "second"), load
        )
    memory = [
        (
            r.bundle,
            r.engine,
            r.batch,
            r.events,
            f"{r.rss_peak_bytes / 1e6:.0f}",
            f"{(r.allocated_peak_bytes or 0) / 1e6:.0f}" if r.allocated_peak_bytes else "-",
        )
        for r in record.memory
    ]
    if memory:
        print_table("memory, MB", ("bundle", "engine", "batch", "events", "peak RSS", "peak heap"), memory)
    if record.harness_ns is not None:
        click.echo(f"the harness itself takes {duration(record.harness_ns)} per call (null engine, bound)")
