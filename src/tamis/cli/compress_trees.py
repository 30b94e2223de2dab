"""Trees in `tamis compress`: a bundle's own as trees of integers, and boosted trees of small integers instead of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import UsageError
from tamis.cli.compress_student import print_epoch, print_figures, tell_skipped_files
from tamis.cli.output import print_json, say

if TYPE_CHECKING:
    from tamis.compress.trees.run import TreeStudent

OF_OTHERS_THAN_TREES = (
    "activations",
    "per",
    "prune",
    "structured",
    "cost",
    "beta",
    "pareto",
    "loss",
    "tail",
    "outliers",
    "resume",
)


def is_forest(lesson: Mapping[str, Any]) -> bool:
    """Return whether a student of trees is asked for; raises UsageError if an option was given that trees do not have."""
    if lesson["student"] != "trees":
        return False
    _reject(OF_OTHERS_THAN_TREES, "--size, --weights (bits of a leaf) and --inputs decide what they cost")
    if lesson["distil"] not in (None, "score"):
        raise UsageError(
            f"trees learn probabilities, or with --distil score the score, not {lesson['distil']!r}: take --student dense for other metrics"
        )
    return True


def holds_only_trees(parent: str) -> bool:
    """Return whether a bundle consists of decision trees."""
    from tamis.bundle import Bundle
    from tamis.bundle.model import TREE_OPERATORS

    return any(node.op_type in TREE_OPERATORS for node in Bundle.open(parent).model.graph.node)


def make_integers(
    parent: str,
    output: Path,
    data: Sequence[str],
    formats: Mapping[str, Any],
    common: Mapping[str, Any],
    classes: Mapping[str, Sequence[str]],
    *,
    as_json: bool,
) -> None:
    """Quantise a bundle's own trees, and print how they compare."""
    from tamis.compress import ForestOptions, quantise_trees

    of_training = ("epochs", "batch", "threads", "resume")
    _reject(
        (*OF_OTHERS_THAN_TREES, *of_training),
        "they are rounded without training; --weights (bits of a leaf) and --inputs decide what they cost",
    )
    bits = {name: formats[name] for name in ("weights", "inputs") if formats[name] is not None}
    kept = {name: value for name, value in common.items() if name not in of_training}
    made = quantise_trees(parent, output, data, ForestOptions(**bits, **kept), classes=classes)
    facts = made.facts
    _show(
        made,
        f"{facts['trees']} trees of {facts['leaves']} leaves, {facts['questions']} questions about {facts['inputs']} inputs",
        as_json=as_json,
    )


def _reject(names: Sequence[str], advice: str) -> None:
    """Raise UsageError if one of these options was given."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in names if source(name) == click.core.ParameterSource.COMMANDLINE]
    if given:
        raise UsageError(f"--{given[0]} has no meaning for trees: {advice}")


def _show(made: TreeStudent, summary: str, *, as_json: bool) -> None:
    """Print how trees compare with their parent."""
    if as_json:
        print_json(
            {"bundle": str(made.bundle.path), "notes": list(made.packed.notes), "trees": dict(made.facts)}
        )
    else:
        print_figures(made.figures)
        for note in made.packed.notes:
            say(note)
        click.echo(
            f"{made.bundle.path}: {summary}; `tamis firmware {made.bundle.path} --synthesis` counts its LUTs"
        )
    tell_skipped_files(made.facts, made.bundle.path)


def plant_trees(
    parent: str,
    output: Path,
    data: Sequence[str],
    lesson: Mapping[str, Any],
    common: Mapping[str, Any],
    classes: Mapping[str, Sequence[str]],
    *,
    as_json: bool,
) -> None:
    """Grow a student of trees, and print how it compares."""
    from tamis.compress import TreeOptions, to_trees
    from tamis.compress.distillation.options import parse_size

    kept = {name: value for name, value in common.items() if name != "resume"}
    source = click.get_current_context().get_parameter_source
    for name in ("epochs", "batch"):  # whose defaults are those of networks
        if source(name) != click.core.ParameterSource.COMMANDLINE:
            del kept[name]
    options = TreeOptions(size=parse_size(lesson["size"]), score_only=lesson["distil"] == "score", **kept)
    made = to_trees(parent, output, data, options, classes=classes, after_epoch=print_epoch)
    count, levels = options.shape
    _show(
        made,
        f"{count} trees of {levels} levels, {made.facts['questions']} questions about {made.facts['inputs']} inputs",
        as_json=as_json,
    )
