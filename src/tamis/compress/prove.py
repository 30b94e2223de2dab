"""The proof that a compressed graph is exact: every layer gives the same bits on an engine and in the float64 of the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from tamis._base import VerificationError
from tamis.bundle import Reference, evaluate
from tamis.bundle.model import read_signature
from tamis.compress.float64 import SUFFIX
from tamis.compress.graph import LayeredModel
from tamis.engines import Options, find_engine

PROOF_ROWS = 256


def prove_exact(
    model: onnx.ModelProto, found: LayeredModel, inputs: Mapping[str, np.ndarray], name: str
) -> int:
    """Compare every layer between the engine `onnxruntime` and the float64 reference; return the number of compared values.

    Inputs that the host computes in float32 may round to the neighbouring step in float64: such rows are left out.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    entries = [tensor.quantised for tensor in found.tensors if tensor.is_input]
    made = {output for node in graph.graph.node for output in node.output}
    of_layers = {
        layer.output + SUFFIX if layer.output + SUFFIX in made else layer.output: layer.name
        for layer in found.layers
    }
    for one in found.tensors:  # sums and products of recurrent layers
        if one.point is not None and not one.point.of_channels:
            of_layers |= {before: one.point.name for before, _ in one.places if before in made}
    results = list(of_layers)
    declared = {value.name for value in graph.graph.output}
    for tensor in (*entries, *results):
        if tensor not in declared:
            kind = onnx.TensorProto.DOUBLE if tensor.endswith(SUFFIX) else onnx.TensorProto.FLOAT
            graph.graph.output.append(helper.make_tensor_value_info(tensor, kind, None))
    shaped = onnx.shape_inference.infer_shapes(graph)
    known = {value.name: value for value in (*shaped.graph.value_info, *shaped.graph.output)}
    for value in graph.graph.output:
        if value.name not in declared and value.name in known:
            value.CopyFrom(known[value.name])
    rows = {key: values[:PROOF_ROWS] for key, values in inputs.items()}
    signature = read_signature(graph, name)
    expected = evaluate(Reference(graph), signature, rows)
    names = [value.name for value in graph.graph.output]
    arrays = [np.ascontiguousarray(rows[spec.name]) for spec in signature.inputs]
    outputs = find_engine("onnxruntime").load(graph.SerializeToString(), signature, Options()).run(arrays)
    computed = dict(zip(names, outputs, strict=True))
    count = len(arrays[0])
    same = np.ones(count, bool)
    for tensor in entries:
        same &= (computed[tensor] == expected[tensor]).reshape(count, -1).all(axis=1)
    compared = 0
    for tensor, layer in of_layers.items():
        value, reference = computed[tensor][same], expected[tensor][same]
        wrong = value.astype(np.float64) != reference
        if wrong.any():
            raise VerificationError(
                f"the layer {layer} of {name} differs between onnxruntime and the float64 reference in {int(wrong.sum())} of {wrong.size} values: "
                "it is not exact, so nothing was written; please report this model"
            )
        compared += wrong.size
    return compared
