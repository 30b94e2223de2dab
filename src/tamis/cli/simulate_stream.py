"""`tamis simulate lar-stream`: the data quality of a calorimeter while it takes data, with faults and their truth."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import UsageError, now_ns, progress
from tamis.cli.output import json_option, print_json


@click.command(
    name="lar-stream",
    epilog="Example: tamis simulate lar-stream --mode pp --hours 12 --faults known -o stream",
)
@click.option(
    "--mode",
    type=click.Choice(["pp", "pbpb"]),
    default="pp",
    show_default=True,
    help="Beam: protons or lead ions.",
)
@click.option("--hours", type=float, default=1.0, show_default=True, help="Of data, in one fill or several.")
@click.option(
    "--faults",
    default="known",
    show_default=True,
    help="none, known or held-out; or kinds with commas between, such as hv-trip,dead-board.",
)
@click.option(
    "--fault-rate", type=click.FloatRange(0), default=1.0, show_default=True, help="Factor of how often faults happen."
)  # fmt: skip
@click.option(
    "--detail",
    type=click.Choice(["clusters", "events", "steps"]),
    default="events",
    show_default=True,
    help="A row for each event (a thousand in a second), with or without its single clusters (for minutes of data), or for each second, which makes days in a minute.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of Parquet files and of truth.json."
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Determines the result.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of worker processes; the result does not depend on it.",
)
@json_option
def command(
    mode: str,
    hours: float,
    faults: str,
    fault_rate: float,
    detail: str,
    output: Path,
    seed: int,
    workers: int,
    as_json: bool,
) -> None:
    """Simulate what a liquid-argon calorimeter's clusters look like while it takes data: their number and the sums of Q and tau, of four regions.

    The rows are in files of some blocks each, which appear complete, so that a monitor can follow the folder. truth.json has every fault.
    """
    from tamis.events import open_writer
    from tamis.records import TRUTH_FILE, write_record
    from tamis.simulate.lar import LarStream, plan_stream, simulate_lar
    from tamis.simulate.lar.truth import truth_of

    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty, and streams are not mixed: choose another folder")
    stream = LarStream(mode, hours, faults, fault_rate, detail, seed)  # type: ignore[arg-type] # choices of the options
    plan = plan_stream(stream)
    output.mkdir(parents=True, exist_ok=True)
    truth = truth_of(plan)
    write_record(truth, output / TRUTH_FILE)
    start, rows, known = now_ns(), 0, set[int]()
    unit = "steps" if detail == "steps" else "events"
    with progress("simulating the stream", len(plan.blocks), "blocks") as advance:
        for number, piece in enumerate(simulate_lar(plan, workers), 1):
            with open_writer(output / f"{detail}-{number:05d}.parquet") as writer:
                writer.write(piece)
            rows += len(piece)
            blocks = set(piece["luminosityBlock"].to_numpy().tolist())
            advance(len(blocks - known))
            known = blocks
    seconds = (now_ns() - start) / 1e9
    facts = {
        "folder": str(output), "mode": mode, "hours": hours, "blocks": len(plan.blocks), "rows": rows, "faults": len(plan.faults), "seed": seed,
        "seconds": seconds,
    }  # fmt: skip
    if as_json:
        print_json(facts)
    else:
        click.echo(
            f"{output}: {len(plan.blocks)} blocks, {rows} {unit}, {len(plan.faults)} faults, {rows / seconds:.0f} {unit}/s"
        )
