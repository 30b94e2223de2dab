"""`tamis train lar-student`: a small network that predicts the score of a recurrent monitor."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json, say


@click.command(
    name="lar-student",
    epilog="Example: tamis train lar-student stream --teacher xlstm.tamis -o student.tamis",
)
@click.argument("streams", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write.")
@click.option(
    "--teacher",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="Bundle of a recurrent monitor, lar-xlstm or lar-lstm.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random numbers.")
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="Number of passes over the blocks.",
)
@click.option("--engine", default="native", show_default=True, help="On which the teacher runs.")
@json_option
def command(
    streams: tuple[Path, ...], output: Path, teacher: Path, seed: int, epochs: int, engine: str, as_json: bool
) -> None:
    """Train a small network on the scores that a teacher gives the blocks of STREAMS, and write a bundle.

    The teacher takes every second of a block, the student the block once. STREAMS may have faults: what is bad is what the teacher says.
    """
    from tamis.bundle import Bundle
    from tamis.monitor.model import monitor_of
    from tamis.monitor.sequence.student import train_student

    def report(row: dict[str, float]) -> None:
        if row["epoch"] % 10 == 0 or row["epoch"] == epochs:
            say(f"epoch {row['epoch']:.0f}: error of the logarithm {row['train_loss']:.4f}")

    packed = train_student(
        Bundle.open(teacher), streams, output, seed=seed, epochs=epochs, engine=engine, report=report
    )
    modes = monitor_of(packed.bundle).modes
    if as_json:
        print_json({"bundle": str(output), "blocks": {mode: one.blocks for mode, one in modes.items()}})
        return
    click.echo(f"the student of {teacher} is {output}")
