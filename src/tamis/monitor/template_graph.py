"""The graph of the detectors with a template: the distance of a block, or of one of its steps, from its reference.

Inputs and outputs carry the state, so that a stream may be left and taken up again. Each beam mode has parameters of its own: a mode that is
added later changes nothing for the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tamis.monitor.template import HOWS, ModeTemplate

MODES_MOST = 8


def template_graph(modes: Mapping[int, ModeTemplate]) -> onnx.ModelProto:
    """Return the graph of one comparison, for the beam modes that are known."""
    filler = next(iter(modes.values()))
    rows = [modes.get(mode, filler) for mode in range(MODES_MOST)]
    expected = [one.expectation for one in rows]
    width = len(expected[0].scale)

    def constant(name: str, values: list[np.ndarray]) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(values, np.float32), name)

    weights = [
        constant("scale", [one.scale for one in expected]),
        constant("typical", [np.array([one.condition]) for one in expected]),
        constant("expected_of", [one.powers for one in expected]),
        constant("whitening", [matrix for one in rows for matrix in one.whitening]),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.ones(1, np.int64), "axis"),
        numpy_helper.from_array(np.array([len(HOWS)]), "hows"),
    ]
    node = helper.make_node
    nodes = [
        node("Gather", ["scale", "mode"], ["own_scale"]),
        node("Gather", ["typical", "mode"], ["own_typical"]),
        node("Gather", ["expected_of", "mode"], ["own_expected"]),
        node("Mul", ["mode", "hows"], ["first_row"]),
        node("Add", ["first_row", "compared"], ["row"]),
        node("Gather", ["whitening", "row"], ["own_whitening"]),
        node("Div", ["condition", "own_typical"], ["c"]),
        node("Mul", ["c", "c"], ["c2"]),
        node("Pow", ["c", "zero"], ["c0"]),
        node("Concat", ["c0", "c", "c2"], ["powers"], axis=1),
        node("Unsqueeze", ["powers", "axis"], ["powers_row"]),
        node("MatMul", ["powers_row", "own_expected"], ["expected_row"]),
        node("Squeeze", ["expected_row", "axis"], ["expected"]),
        node("Div", ["features", "own_scale"], ["scaled"]),
        node("Sub", ["scaled", "expected"], ["residual"]),
        node("Sub", ["residual", "reference"], ["change"]),
        node("Mul", ["change", "weight"], ["weighted"]),
        node("Unsqueeze", ["weighted", "axis"], ["weighted_row"]),
        node("MatMul", ["weighted_row", "own_whitening"], ["pulls_row"]),
        node("Squeeze", ["pulls_row", "axis"], ["pulls"]),
        node("ReduceSumSquare", ["pulls"], ["score"], axes=[1], keepdims=1),
    ]

    def value(name: str, columns: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["N", columns] if columns else ["N"])

    graph = helper.make_graph(
        nodes, "template",
        [
            value("features", width), value("condition", 1), value("mode", 0, TensorProto.INT64), value("reference", width), value("weight", 1),
            value("compared", 0, TensorProto.INT64),
        ],
        [value("score", 1), value("residual", width), value("change", width)],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
