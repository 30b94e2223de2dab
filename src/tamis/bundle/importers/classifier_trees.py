"""Classifiers of decision trees, as scikit-learn's converter writes them: sums of leaves, a function of them, and the label.

Engines have TreeEnsembleRegressor, or plain operators for it; TreeEnsembleClassifier is ONNX Runtime's alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET_LEAST = 13  # Softmax over one axis
SHARED_ATTRIBUTES = (
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_nodeids",
    "nodes_treeids",
    "nodes_truenodeids",
    "nodes_values",
    "base_values",
)


def plain_classifiers(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Return a model without TreeEnsembleClassifier where its function is a common one, and notes; the model itself if there is nothing to do."""
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)
    forests = {
        place: forest
        for place, node in enumerate(model.graph.node)
        if node.op_type == "TreeEnsembleClassifier" and (forest := _Classifier.of(node)) is not None
    }
    if not forests or opset < OPSET_LEAST:
        return model, []
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    for place, node in enumerate(model.graph.node):
        if place in forests:
            nodes, constants = forests[place].expanded(f"forest_{place}")
            plain.graph.node.extend(nodes)
            plain.graph.initializer.extend(constants)
        else:
            plain.graph.node.append(node)
    return plain, ["a classifier of trees is a sum of leaves and plain operators now"]


@dataclass(frozen=True)
class _Classifier:
    """A classifier whose leaves are summed for every class, or for two classes once."""

    node: onnx.NodeProto
    attributes: dict[str, Any]
    labels: np.ndarray
    single: bool  # one sum decides between two classes
    positive: bool  # as probabilities are

    @classmethod
    def of(cls, node: onnx.NodeProto) -> _Classifier | None:
        """Return a node as a classifier, or None where its function is an uncommon one."""
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        labels = attributes.get("classlabels_int64s") or [
            one.decode() for one in attributes.get("classlabels_strings", ())
        ]
        ids = set(attributes.get("class_ids", ()))
        single = len(labels) == 2 and ids == {0}
        positive = all(weight >= 0 for weight in attributes.get("class_weights", ()))
        bases = len(attributes.get("base_values", ()))
        function = attributes.get("post_transform", b"NONE")
        functions = {b"NONE"} if single and positive else {b"NONE", b"LOGISTIC" if single else b"SOFTMAX"}
        fits = bases in ((0, 1) if single else (0, len(labels)))
        if (
            not (single or len(labels) > 2)
            or not (function in functions and fits)
            or "class_weights" not in attributes
        ):
            return None
        return cls(node, attributes, np.array(labels), single, positive)

    def expanded(self, name: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Return the nodes and the constants that compute the same."""
        label, scores = (*self.node.output, "")[:2]
        sums = f"{name}/sums"
        nodes = [self._sums(sums)]
        constants: list[onnx.TensorProto] = []

        def constant(suffix: str, value: np.ndarray) -> str:
            constants.append(numpy_helper.from_array(value, f"{name}/{suffix}"))
            return constants[-1].name

        probabilities = scores or f"{name}/scores"
        if self.single:
            other = f"{name}/other"
            function, one = sums, np.array(1, np.float32)
            if self.positive:
                nodes.append(helper.make_node("Sub", [constant("one", one), sums], [other]))
            elif self.attributes.get("post_transform") == b"LOGISTIC":
                function = f"{name}/probability"
                nodes.append(helper.make_node("Sigmoid", [sums], [function]))
                nodes.append(helper.make_node("Neg", [sums], [f"{name}/negative"]))
                nodes.append(helper.make_node("Sigmoid", [f"{name}/negative"], [other]))
            else:
                nodes.append(helper.make_node("Neg", [sums], [other]))
            nodes.append(helper.make_node("Concat", [other, function], [probabilities], axis=1))
        elif self.attributes.get("post_transform", b"NONE") == b"SOFTMAX":
            nodes.append(helper.make_node("Softmax", [sums], [probabilities], axis=1))
        else:
            nodes.append(helper.make_node("Identity", [sums], [probabilities]))
        if label and self.labels.dtype.kind == "i":
            decides = probabilities if self.single else sums
            nodes.append(helper.make_node("ArgMax", [decides], [f"{name}/class"], axis=1, keepdims=0))
            table = constant("labels", self.labels.astype(np.int64))
            nodes.append(helper.make_node("Gather", [table, f"{name}/class"], [label]))
        return nodes, constants

    def _sums(self, output: str) -> onnx.NodeProto:
        given = self.attributes
        targets = np.zeros(len(given["class_ids"]), np.int64) if self.single else np.array(given["class_ids"])
        return helper.make_node(
            "TreeEnsembleRegressor",
            [self.node.input[0]],
            [output],
            domain="ai.onnx.ml",
            name=self.node.name,
            n_targets=1 if self.single else len(self.labels),
            aggregate_function="SUM",
            post_transform="NONE",
            target_ids=targets.tolist(),
            target_nodeids=given["class_nodeids"],
            target_treeids=given["class_treeids"],
            target_weights=given["class_weights"],
            **{key: given[key] for key in SHARED_ATTRIBUTES if key in given},
        )
