"""From a bundle and rows of data to boosted trees of small integers: what `tamis compress --student trees` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from tamis._base import DataError, TargetNotMetError, library_versions
from tamis.bundle import Bundle, Packed, check_target
from tamis.compress.card import reached
from tamis.compress.costs import with_costs
from tamis.compress.data import CompressionRows, read_rows
from tamis.compress.packing import origin_of
from tamis.compress.quality import Figure, Outputs, measure_quality
from tamis.compress.target import QualityTarget
from tamis.compress.task import open_parent, run_bundle
from tamis.compress.trees.card import tree_card
from tamis.compress.trees.codes import Codes
from tamis.compress.trees.graph import Head, balanced, find_head, tree_model, used_features
from tamis.compress.trees.growth import CrossEntropy, Objective, SquaredError, grow_trees
from tamis.compress.trees.leaves import train_leaves
from tamis.compress.trees.options import TreeOptions
from tamis.compress.trees.packing import pack_trees, run_model
from tamis.zoo.training.loop import AfterEpoch


@dataclass(frozen=True)
class TreeStudent:
    """A student of trees as a bundle, how it compares with its parent on rows that were used for nothing else, and its size."""

    packed: Packed
    figures: Mapping[str, Figure]
    facts: Mapping[str, object]

    @property
    def bundle(self) -> Bundle:
        """Return the bundle."""
        return self.packed.bundle


def run_trees(
    parent: str | Path | Bundle,
    target: Path,
    data: Sequence[str],
    options: TreeOptions,
    classes: Mapping[str, Sequence[str]],
    after_epoch: AfterEpoch | None,
) -> TreeStudent:
    """Grow, train the leaves, judge and pack; see `tamis.compress.to_trees`."""
    conditions = QualityTarget() if options.target is None else QualityTarget.parse(options.target)
    bundle = open_parent(parent)
    check_target(target)
    head = find_head(bundle.model, bundle.manifest, score_only=options.score_only)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    parts = read_rows(bundle, data, classes, options).split(options.seed)
    if not head.function:  # an anomaly score must not have seen the anomalies
        parts = (_background(parts[0]), _background(parts[1]), parts[2])
    outputs = [
        {name: value for name, value in run_bundle(bundle, part.inputs).items() if name in head.outputs}
        for part in parts
    ]
    conditions.check(list(measure_quality(bundle.manifest, outputs[2], outputs[2], parts[2].labels)))
    goals = [_goals(head, made, part) for made, part in zip(outputs, parts, strict=True)]
    tables = [_table(part.inputs) for part in parts]
    codes = Codes.of(tables[0], options.input_bits)
    objective: Objective = CrossEntropy(goals[0]) if head.function else SquaredError(goals[0])
    count, levels = options.shape
    trees = grow_trees(codes(tables[0]), objective, (count, levels), options.passes, options.seed)
    leaves = balanced(
        train_leaves(
            trees,
            (codes(tables[0]), codes(tables[1])),
            (goals[0], goals[1]),
            objective.start,
            options,
            after_epoch,
        )
    )
    model = tree_model(bundle.model, head, codes, trees, leaves)
    figures = measure_quality(
        bundle.manifest, run_model(model, bundle, parts[2].inputs), outputs[2], parts[2].labels
    )
    if not conditions.met(figures):
        raise TargetNotMetError(
            f"the trees do not meet the target {conditions}, so no bundle was written; they have {reached(conditions, figures)}: allow more trees (--size), "
            "more bits (--weights, --inputs), or give more rows"
        )
    facts: dict[str, object] = {
        "options": options.recorded,
        **used_features(trees),
        "leaves": int(sum(len(np.unique(table, axis=0)) for table in leaves.integers)),
        "step": leaves.step,
        "test_rows": len(parts[2]),
        "files": [Path(file).name for file in parts[2].files],
        **({"skipped_files": list(parts[2].skipped)} if parts[2].skipped else {}),
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "versions": library_versions(("torch", "numpy", "tamis")),
    }
    name = target.name.removesuffix(".tamis")
    card = tree_card(name, origin_of(bundle), figures, facts)
    description = f"{bundle.name} as {count} boosted trees with leaves of {options.leaf_bits} bits"
    packed = pack_trees(bundle, model, target, parts[2], facts, card, description)
    packed, _ = with_costs(bundle, packed)
    return TreeStudent(packed, figures, facts)


def _background(rows: CompressionRows) -> CompressionRows:
    """Return the rows of the background, or all where no class is known."""
    if rows.labels is None:
        return rows
    return rows.take(np.flatnonzero(np.isin(rows.labels.label, rows.labels.background)))


def _goals(head: Head, outputs: Outputs, rows: CompressionRows) -> np.ndarray:
    """Return what trees learn: the mean of the parent's probabilities and the labels where there are any, or the parent's score."""
    values = np.asarray(outputs[head.output], np.float64)
    values = values.reshape(len(values), -1)
    if not np.isfinite(values).all():
        raise DataError(
            f"{head.output!r} of the parent is not finite for {int((~np.isfinite(values)).any(1).sum())} of {len(values)} rows: leave them out"
        )
    if not head.function:
        return values
    if head.function == "Sigmoid":
        if values.shape[1] != 1:
            raise DataError(
                f"{head.output!r} of the parent has {values.shape[1]} independent probabilities; trees learn one, or those of a Softmax"
            )
        values = np.concatenate([1 - values, values], axis=1)
    labels = rows.labels
    if labels is not None and len(labels.classes) == values.shape[1] and head.function == "Softmax":
        values = (values + np.eye(values.shape[1])[labels.label]) / 2
    return values


def _table(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return all inputs in one row."""
    return np.concatenate([values.reshape(len(values), -1) for values in inputs.values()], axis=1)
