"""Classifiers of trees become sums and plain operators that give what ONNX Runtime's own operator gives."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

import tamis
from tamis.bundle import pack
from tamis.bundle.importers import plain_classifiers

ROWS = np.random.default_rng(4).normal(size=(300, 3)).astype(np.float32)


def forest(classes, ids, *, transform, positive, base=(), labels=None):
    """Return a model of two stumps for each id."""
    rng = np.random.default_rng(len(ids) + classes)
    trees = [number for number in range(2 * len(ids)) for _ in range(3)]
    count = len(trees) // 3
    weights = rng.normal(size=2 * count)
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        nodes_treeids=trees,
        nodes_nodeids=[0, 1, 2] * count,
        nodes_featureids=[value for _ in range(count) for value in (int(rng.integers(3)), 0, 0)],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * count,
        nodes_values=[value for _ in range(count) for value in (float(rng.choice(ROWS.ravel())), 0.0, 0.0)],
        nodes_truenodeids=[1, 0, 0] * count,
        nodes_falsenodeids=[2, 0, 0] * count,
        class_treeids=[tree for tree in range(count) for _ in range(2)],
        class_nodeids=[1, 2] * count,
        class_ids=[one for _ in range(2) for one in ids for _ in range(2)],
        class_weights=(np.abs(weights) / count if positive else weights).tolist(),
        post_transform=transform,
        **({"base_values": list(base)} if base else {}),
        **(labels or {"classlabels_int64s": list(range(3, 3 + classes))}),
    )
    kind = onnx.TensorProto.STRING if labels else onnx.TensorProto.INT64
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor_value_info("label", kind, ["N"]),
            helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", classes]),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": ROWS})


TWO = [
    {"classes": 2, "ids": [0], "transform": transform, "positive": positive, "base": base}
    for (transform, positive), base in itertools.product(
        (("NONE", False), ("NONE", True), ("LOGISTIC", False)), ((), (0.25,))
    )
]
MORE = [
    {"classes": 4, "ids": [0, 1, 2, 3], "transform": transform, "positive": positive, "base": base}
    for transform, positive, base in itertools.product(
        ("NONE", "SOFTMAX"), (False, True), ((), (0.25, -0.5, 0.0, 1.0))
    )
]


@pytest.mark.parametrize("case", [*TWO, *MORE], ids=str)
def test_scores_and_labels_are_those_of_onnx_runtime(case):
    model = forest(**case)
    plain, notes = plain_classifiers(model)
    assert "TreeEnsembleClassifier" not in {node.op_type for node in plain.graph.node}
    assert notes == ["a classifier of trees is a sum of leaves and plain operators now"]
    label, scores = run(model)
    plain_label, plain_scores = run(plain)
    np.testing.assert_array_equal(plain_label, label)
    np.testing.assert_allclose(plain_scores, scores, rtol=2e-6, atol=1e-7)
    if not case["positive"]:
        assert len(np.unique(label)) > 1


@pytest.mark.parametrize(
    "case",
    [
        {"classes": 2, "ids": [0, 1], "transform": "LOGISTIC", "positive": False},
        {"classes": 2, "ids": [0], "transform": "LOGISTIC", "positive": True},
        {"classes": 2, "ids": [1], "transform": "LOGISTIC", "positive": False},
        {"classes": 4, "ids": [0, 1, 2, 3], "transform": "PROBIT", "positive": True},
        {"classes": 2, "ids": [0], "transform": "LOGISTIC", "positive": False, "base": (0.5, 0.5)},
    ],
    ids=str,
)
def test_uncommon_functions_stay_as_they_are(case):
    model = forest(**case)
    assert plain_classifiers(model) == (model, [])


def test_every_engine_runs_a_packed_classifier_and_string_labels_are_dropped(tmp_path):
    labels = {"classlabels_strings": ["q", "g", "W", "t"]}
    model = forest(4, [0, 1, 2, 3], transform="SOFTMAX", positive=False, labels=labels)
    packed = pack(model, tmp_path / "forest.tamis", inputs={"x": ROWS})
    assert [spec.name for spec in packed.bundle.manifest.signature.outputs] == ["scores"]
    for engine in ("onnxruntime", "native", "openvino", "torch", "reference"):
        with tamis.open(packed.bundle, engine=engine) as session:
            np.testing.assert_allclose(session.run(x=ROWS)["scores"], run(model)[1], rtol=1e-5, atol=1e-6)
