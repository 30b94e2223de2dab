"""`tamis train lar-template`, and the baselines lar-mahalanobis, lar-ewma and lar-pca: fitted to streams of good blocks."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json

DETECTOR_HELP = {
    "template": "The template detector compares a block with the recent good ones of its run, given the pile-up, in units of what good blocks scatter together.",
    "mahalanobis": "A baseline: the Mahalanobis distance of a block from what is expected at its pile-up, whatever the blocks before it.",
    "ewma": "A baseline: each feature alone, against an exponentially weighted mean of the good blocks before.",
    "pca": "A baseline: what the principal components of good blocks leave of the features of a block.",
}


def monitor_command(detector: str) -> click.Command:
    """Return the command that trains one detector."""

    @click.command(
        name=f"lar-{detector}",
        epilog=f"Example: tamis train lar-{detector} stream/good -o lar.tamis",
        help=f"Fit a monitor to STREAMS of good blocks, and write a bundle.\n\n{DETECTOR_HELP[detector]} "
        "Its limits are set by the tails of the scores of good blocks. Each beam mode has parameters of its own.",
    )
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
        from tamis.monitor.model import monitor_of
        from tamis.monitor.training import train_monitor
        from tamis.monitor.watch import lar_watch, read_watch

        watch = lar_watch() if watch_path is None else read_watch(watch_path)
        packed = train_monitor(streams, watch, output, detector)
        modes = monitor_of(packed.bundle).modes
        if as_json:
            blocks = {mode: one.blocks for mode, one in modes.items()}
            print_json({"bundle": str(output), "blocks": blocks})
            return
        for mode, one in modes.items():
            low, high = one.within_interval or (one.within, one.within)
            click.echo(
                f"mode {mode}: {one.blocks} good blocks; limit {one.within:.1f} within a run ({low:.1f} to {high:.1f} at 95 %), {one.between:.1f} for its first block"
            )
        click.echo(f"the monitor is {output}")

    return command


template, mahalanobis, ewma, pca = (monitor_command(detector) for detector in DETECTOR_HELP)
