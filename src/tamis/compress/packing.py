"""Pack a compressed graph: the parent's signature and working points, golden events of its own, and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from tamis._base import library_versions
from tamis.bundle import Bundle, Packed, Parent, pack
from tamis.compress.card import compression_card, summary
from tamis.compress.export import LayerCost
from tamis.compress.graph import LayeredModel
from tamis.compress.quality import Figure
from tamis.compress.task import CompressionTask

EXAMPLES = 64  # among which the golden events are chosen
RECORDED_OPTIONS = (
    "weights", "activations", "inputs", "per", "prune", "structured", "cost", "beta", "target", "seed", "epochs", "batch", "learning_rate"
)  # fmt: skip


def pack_compressed(
    task: CompressionTask,
    model: onnx.ModelProto,
    target: Path,
    figures: Mapping[str, Figure],
    costs: Sequence[LayerCost],
    epoch: int,
) -> Packed:
    """Prove that the graph of the task's network is exact, and pack it."""
    task.prove(model)
    rows, options, dense = task.parts[2], task.options, task.dense_macs
    manifest = task.parent.manifest
    origin = origin_of(task.parent)
    host = _host_note(task.found) + _width_note(model)
    chosen = {key: value for key, value in asdict(options).items() if key in RECORDED_OPTIONS}
    facts = {
        "options": chosen,
        "host": host,
        "epoch": epoch,
        "test_rows": len(rows),
        "files": [Path(file).name for file in rows.files],
        **({"skipped_files": list(rows.skipped)} if rows.skipped else {}),
        "macs_of_parent": dense,
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "layers": [asdict(cost) for cost in costs],
        "versions": library_versions(("torch", "numpy", "tamis")),
    }
    name = target.name.removesuffix(".tamis")
    document = json.dumps(facts, indent=1)
    return pack(
        model,
        target,
        inputs={key: values[:EXAMPLES] for key, values in rows.inputs.items()},
        score=manifest.score,
        rewrites=False,  # they would not keep every sum exact
        description=f"{manifest.name}, compressed: {summary(costs)}",
        **inherited(task.parent),
        training={**manifest.training, "compression": json.loads(document)},
        extra={
            "CARD.md": compression_card(name, origin, figures, costs, dense, facts),
            "compression.json": document + "\n",
        },
    )


def origin_of(parent: Bundle) -> Parent:
    """Return what a bundle says of its parent."""
    manifest = parent.manifest
    return Parent(
        name=manifest.name, version=manifest.version, model_sha256=manifest.files["model.onnx"].sha256
    )


def inherited(parent: Bundle) -> dict[str, Any]:
    """Return what a cheaper bundle takes over from its parent, as arguments of `pack`."""
    inputs = parent.manifest.signature.inputs
    return {
        "features": {spec.name: spec.feature for spec in inputs if spec.feature},
        "columns": {spec.name: spec.columns for spec in inputs if spec.columns},
        "units": {spec.name: spec.units for spec in inputs if spec.units},
        "working_points": parent.manifest.working_points,
        "parent": origin_of(parent),
    }


def _width_note(model: onnx.ModelProto) -> str:
    """Return a sentence about layers in float64; empty if there are none."""
    if all(constant.data_type != onnx.TensorProto.DOUBLE for constant in model.graph.initializer):
        return ""
    return (
        " Sums are too wide for float32, so the layers compute in float64: `onnxruntime`, `reference` and `firmware` give the same bits, while engines that "
        "compute in float32, as `native` and `openvino` do, round."
    )


def _host_note(found: LayeredModel) -> str:
    """Return a sentence about inputs that are computed in floats before they are quantised; empty if there are none."""
    inputs = {value.name for value in found.model.graph.input}
    computed = [tensor.tensor for tensor in found.tensors if tensor.is_input and tensor.tensor not in inputs]
    if not computed:
        return ""
    return (
        f" The graph computes {', '.join(computed)} in floats first: a value within a rounding error of the boundary between two steps may take "
        "either, so that a few rows differ between engines."
    )
