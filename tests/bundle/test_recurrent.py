"""Recurrent layers of the reference engine against ONNX Runtime: directions, activations, sequence lengths."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis.bundle import Reference

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LENGTH, BATCH, WIDTH, HIDDEN = 5, 3, 4, 6
LENS = np.array([5, 2, 4], np.int32)


def layer(op, directions, lens, **attributes):
    rng = np.random.default_rng(7)
    gates = GATES[op]
    weights = {
        "w": rng.normal(size=(directions, gates * HIDDEN, WIDTH)),
        "r": rng.normal(size=(directions, gates * HIDDEN, HIDDEN)) / 2,
        "b": rng.normal(size=(directions, 2 * gates * HIDDEN)),
    }
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    if lens is not None:
        tensors.append(numpy_helper.from_array(lens, "lens"))
    outputs = ["y", "h", "c"][: 3 if op == "LSTM" else 2]
    graph = helper.make_graph(
        [
            helper.make_node(
                op,
                ["x", "w", "r", "b", "lens" if lens is not None else ""],
                outputs,
                hidden_size=HIDDEN,
                **attributes,
            )
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (LENGTH, BATCH, WIDTH))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        tensors,
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 14)])


CASES = [
    *[(op, d, lens, {"direction": direction})
      for op in GATES for direction, d in (("forward", 1), ("reverse", 1), ("bidirectional", 2)) for lens in (None, LENS)],
    ("LSTM", 1, None, {"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
    ("LSTM", 2, None, {"direction": "bidirectional", "activations": ["HardSigmoid", "Softsign", "Relu"] * 2,
                       "activation_alpha": [0.3, 0.1], "activation_beta": [0.4, 0.6]}),
    ("GRU", 1, LENS, {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.25, 0.1], "linear_before_reset": 1}),
    ("RNN", 1, None, {"activations": ["Relu"]}),
    ("RNN", 1, None, {"activations": ["Elu"], "activation_alpha": [0.7]}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "directions", "lens", "attributes"), CASES)
def test_recurrent_layers_agree_with_onnx_runtime(op, directions, lens, attributes):
    model = layer(op, directions, lens, **attributes)
    x = np.random.default_rng(1).normal(size=(LENGTH, BATCH, WIDTH)).astype(np.float32)
    expected = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    for name, value in zip(("y", "h", "c"), expected, strict=False):
        np.testing.assert_allclose(
            Reference(model)({"x": x})[name], value, rtol=1e-4, atol=1e-5, err_msg=name
        )
