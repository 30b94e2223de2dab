"""`tamis train lar-template`: fit the template detector to streams of good blocks."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json


@click.command(name="lar-template", epilog="Example: tamis train lar-template stream/good -o lar.tamis")
@click.argument("streams", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write.")
@click.option(
    "--watch",
    "watch_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Watch file: the columns of another stream; default: those of `tamis simulate lar-stream`.",
)
@json_option
def command(streams: tuple[Path, ...], output: Path, watch_path: Path | None, as_json: bool) -> None:
    """Fit the template detector to STREAMS of good blocks, and write a bundle.

    It learns how the features of a block follow the pile-up, how much good blocks scatter within a run and from run to run, and sets its
    limits by the tails of their scores. Each beam mode has parameters of its own.
    """
    from tamis.monitor.model import monitor_of
    from tamis.monitor.training import train_monitor
    from tamis.monitor.watch import lar_watch, read_watch

    watch = lar_watch() if watch_path is None else read_watch(watch_path)
    packed = train_monitor(streams, watch, output)
    modes = monitor_of(packed.bundle).modes
    if as_json:
        print_json({"bundle": str(output), "blocks": {mode: one.blocks for mode, one in modes.items()}})
        return
    for mode, one in modes.items():
        click.echo(
            f"mode {mode}: {one.blocks} good blocks; limit {one.within:.1f} within a run, {one.between:.1f} for its first block"
        )
    click.echo(f"the monitor is {output}")
