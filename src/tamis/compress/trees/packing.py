"""Run and pack graphs of trees: the parent's signature and working points, golden events of its own, and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from tamis.bundle import Bundle, Packed, pack
from tamis.bundle.model import read_signature
from tamis.compress.data import CompressionRows
from tamis.compress.packing import EXAMPLES, inherited
from tamis.compress.quality import Outputs
from tamis.engines import Options, find_engine


def run_model(model: onnx.ModelProto, parent: Bundle, inputs: Mapping[str, np.ndarray]) -> Outputs:
    """Return the outputs of a graph with the parent's inputs."""
    signature = read_signature(model, parent.name)
    arrays = [np.ascontiguousarray(inputs[spec.name]) for spec in signature.inputs]
    results = find_engine("onnxruntime").load(model.SerializeToString(), signature, Options()).run(arrays)
    return {spec.name: np.asarray(result) for spec, result in zip(signature.outputs, results, strict=True)}


def pack_trees(
    parent: Bundle,
    model: onnx.ModelProto,
    target: Path,
    rows: CompressionRows,
    facts: Mapping[str, object],
    card: str,
    description: str,
) -> Packed:
    """Pack a graph of trees that replaces its parent."""
    manifest = parent.manifest
    document = json.dumps(facts, indent=1)
    return pack(
        model,
        target,
        inputs={key: values[:EXAMPLES] for key, values in rows.inputs.items()},
        score=manifest.score if manifest.score in {value.name for value in model.graph.output} else None,
        rewrites=False,
        description=description,
        **inherited(parent),
        training={**manifest.training, "trees": json.loads(document)},
        extra={"CARD.md": card, "trees.json": document + "\n"},
    )
