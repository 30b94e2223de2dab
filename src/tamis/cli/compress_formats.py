"""The options of `tamis compress` for what a model keeps: bits, weights, and the cost that training reduces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

FORMAT_NAMES = ("weights", "activations", "inputs", "per", "prune", "structured", "cost", "beta")
FORMAT_OPTIONS = (
    click.option(
        "--weights",
        type=click.IntRange(2, 16),
        help="Bits of a weight, with its sign; default: 8, with --cost at most 9.",
    ),
    click.option(
        "--activations",
        type=click.IntRange(2, 16),
        help="Bits between layers; default: 8, with --cost at most 9.",
    ),
    click.option(
        "--inputs",
        type=click.IntRange(2, 16),
        help="Bits of an input, with its sign; default: 8, with --cost at most 12.",
    ),
    click.option(
        "--per",
        type=click.Choice(["tensor", "channel", "weight"]),
        help="Which weights share a width; default: those of a tensor, with --cost every weight has its own.",
    ),
    click.option(
        "--prune",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        show_default=True,
        help="Fraction of the weights to remove.",
    ),
    click.option(
        "--structured",
        is_flag=True,
        help="Remove whole neurons and channels instead: --prune is their fraction.",
    ),
    click.option(
        "--cost",
        type=click.Choice(["ebops", "lut", "macs"]),
        help="Reduce this cost as far as the target allows: train bit widths below those given (ebops, lut), or prune further (macs).",
    ),
    click.option(
        "--beta",
        type=click.FloatRange(min=0),
        help="Fixed weight of the cost in the loss; default: as the target allows.",
    ),
)


def format_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, which the command gets in one dictionary, `formats`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        formats = {name: given.pop(name) for name in FORMAT_NAMES}
        return function(*args, formats=formats, **given)

    for option in reversed(FORMAT_OPTIONS):
        command = option(command)
    return command
