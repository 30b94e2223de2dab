"""From a bundle of somebody's trees and rows of data to trees of integers: what `tamis compress` does with XGBoost's and others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tamis._base import TargetNotMetError, library_versions
from tamis.bundle import Bundle, check_target
from tamis.compress.card import reached
from tamis.compress.costs import with_costs
from tamis.compress.data import read_rows
from tamis.compress.packing import origin_of
from tamis.compress.quality import measure_quality
from tamis.compress.target import QualityTarget
from tamis.compress.task import open_parent, run_bundle
from tamis.compress.trees.card import forest_card
from tamis.compress.trees.forests import find_forests
from tamis.compress.trees.options import ForestOptions
from tamis.compress.trees.packing import pack_trees, run_model
from tamis.compress.trees.quantise import choose_grid, leaf_step, quantised_forest
from tamis.compress.trees.run import TreeStudent


def run_forest(
    parent: str | Path | Bundle,
    target: Path,
    data: Sequence[str],
    options: ForestOptions,
    classes: Mapping[str, Sequence[str]],
) -> TreeStudent:
    """Round, judge and pack; see `tamis.compress.quantise_trees`."""
    conditions = QualityTarget() if options.target is None else QualityTarget.parse(options.target)
    check_target(target)
    bundle = open_parent(parent)
    forests = find_forests(bundle.model, bundle.name)
    first, second, test = read_rows(bundle, data, classes, options).split(options.seed)
    expected = run_bundle(bundle, test.inputs)
    conditions.check(list(measure_quality(bundle.manifest, expected, expected, test.labels)))
    known = {name: np.concatenate([first.inputs[name], second.inputs[name]]) for name in first.inputs}
    sources = {forest.source for forest in forests}
    values = known if sources <= known.keys() else _values(bundle, sources, known)
    grids = {
        source: choose_grid([one for one in forests if one.source == source], values[source], options.inputs)
        for source in sources
    }
    step = leaf_step(bundle.model, forests, options.weights)
    model = quantised_forest(bundle.model, forests, grids, step)
    figures = measure_quality(bundle.manifest, run_model(model, bundle, test.inputs), expected, test.labels)
    if not conditions.met(figures):
        raise TargetNotMetError(
            f"trees of integers do not meet the target {conditions}, so no bundle was written; they have {reached(conditions, figures)}: allow more bits "
            "(--weights for the leaves, --inputs)"
        )
    questions = {
        (forest.source, int(feature), float(threshold))
        for forest in forests
        for feature, threshold in zip(forest.features, forest.thresholds, strict=True)
    }
    facts: dict[str, object] = {
        "options": {
            "leaf_bits": options.weights,
            "input_bits": options.inputs,
            "target": options.target,
            "seed": options.seed,
        },
        "trees": sum(forest.trees for forest in forests),
        "leaves": sum(len(forest.leaves) for forest in forests),
        "inputs": len({(source, feature) for source, feature, _ in questions}),
        "exact_inputs": sum(grid.exact for grid in grids.values()),
        "questions": len(questions),
        "step": step,
        "test_rows": len(test),
        "files": [Path(file).name for file in test.files],
        **({"skipped_files": list(test.skipped)} if test.skipped else {}),
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "versions": library_versions(("numpy", "tamis")),
    }
    card = forest_card(target.name.removesuffix(".tamis"), origin_of(bundle), figures, facts)
    description = f"{bundle.name} with {facts['trees']} trees of integers: leaves of {options.weights} bits, inputs of {options.inputs}"
    packed, _ = with_costs(bundle, pack_trees(bundle, model, target, test, facts, card, description))
    return TreeStudent(packed, figures, facts)


def _values(bundle: Bundle, tensors: set[str], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the graph computes before its trees."""
    model = onnx.ModelProto()
    model.CopyFrom(bundle.model)
    del model.graph.output[:]
    for name in sorted(tensors):
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", None]))
    return dict(run_model(model, bundle, inputs)) | dict(inputs)
