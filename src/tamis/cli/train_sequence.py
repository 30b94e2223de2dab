"""`tamis train lar-lstm` and `lar-xlstm`: recurrent monitors from streams of good blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tamis.cli.output import json_option, print_json, say

BEAM_MODES = {"pp": 1, "pbpb": 2}


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.argument("streams", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)),
            click.option(
                "-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write."
            ),
            click.option(
                "--continue",
                "parent",
                type=click.Path(exists=True, path_type=Path),
                help="Bundle to which the beam modes of STREAMS are added; it keeps all scores of its own.",
            ),
            click.option(
                "--mode",
                type=click.Choice(list(BEAM_MODES)),
                help="Beam mode to train; default: all that STREAMS have.",
            ),
            click.option(
                "--watch",
                "watch_path",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="Watch file: the columns of another stream; default: those of `tamis simulate lar-stream`.",
            ),
            click.option("--epochs", type=click.IntRange(1), help="Number of passes over the streams."),
            click.option(
                "--width",
                type=click.IntRange(8),
                default=32,
                show_default=True,
                help="Of the recurrent layers; a multiple of 4.",
            ),
            click.option(
                "--steps",
                type=click.IntRange(1),
                help="Of a sequence, in seconds; default: 64, of an xLSTM 512.",
            ),
            click.option("--rows", type=click.IntRange(1), help="Sequences trained at once."),
            click.option(
                "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random numbers."
            ),
            click.option(
                "--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads."
            ),
            click.option(
                "--resume",
                is_flag=True,
                help="Continue a killed run after its last finished epoch; the result is the same as without the interruption.",
            ),
            json_option,
        )
    ):
        command = option(command)
    return command


def _train(kind: str, given: dict[str, Any]) -> None:
    from tamis._base import UsageError
    from tamis.bundle import Bundle
    from tamis.monitor.model import monitor_of
    from tamis.monitor.sequence.learn import TRAININGS
    from tamis.monitor.sequence.training import train_sequence
    from tamis.monitor.watch import lar_watch, read_watch

    if given["width"] % 4:
        raise UsageError(f"--width {given['width']} is not a multiple of 4, the number of heads")
    parent = None if given["parent"] is None else Bundle.open(given["parent"])
    path = given["watch_path"]
    watch = read_watch(path) if path else lar_watch() if parent is None else monitor_of(parent).watch
    chosen = {
        name: given[name]
        for name in ("seed", "threads", "epochs", "steps", "rows")
        if given[name] is not None
    }
    packed = train_sequence(
        kind, given["streams"], watch, given["output"], replace(TRAININGS[kind], **chosen), width=given["width"],
        parent=parent, only=BEAM_MODES.get(given["mode"] or ""), resume=given["resume"], report=_print_epoch,
    )  # fmt: skip
    modes = monitor_of(packed.bundle).modes
    if given["as_json"]:
        print_json(
            {"bundle": str(given["output"]), "blocks": {mode: one.blocks for mode, one in modes.items()}}
        )
        return
    for mode, one in modes.items():
        click.echo(f"mode {mode}: {one.blocks} good blocks; limit {one.within:.1f} within a run")
    click.echo(f"the monitor is {given['output']}")


def _print_epoch(mode: int, row: dict[str, float]) -> None:
    say(
        f"mode {mode}, epoch {row['epoch']:.0f}: error {row['train_loss']:.4f}, on other steps {row['validation_loss']:.4f} "
        f"(1: the running mean alone), learning rate {row['learning_rate']:.1e}"
    )


@click.command(name="lar-lstm", epilog="Example: tamis train lar-lstm stream/good -o lar.tamis")
@_options
def lstm(**given: Any) -> None:
    """Train an LSTM autoencoder on STREAMS of good blocks, and write a bundle with its step graph.

    From the steps of the past it reconstructs those of the next block, given pile-up and luminosity. Each beam mode has parameters of its own,
    so that a mode that is added with --continue changes no score of the others. Checkpoints are written to OUTPUT.training.
    """
    _train("lstm", given)


@click.command(name="lar-xlstm", epilog="Example: tamis train lar-xlstm stream/good -o lar.tamis")
@_options
def xlstm(**given: Any) -> None:
    """Train an xLSTM autoencoder on STREAMS of good blocks, and write a bundle with its step graph.

    As lar-lstm, with an mLSTM and an sLSTM layer, and sequences of 512 steps. Each beam mode has parameters of its own, so that a mode that is
    added with --continue changes no score of the others. Checkpoints are written to OUTPUT.training.
    """
    _train("xlstm", given)
