"""The reference engine against ONNX Runtime in the older opsets that experiments' models use."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis import Bundle
from tamis._base import ModelError
from tamis.bundle import Reference, pack

RNG = np.random.default_rng(3)
NORM = [RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=3), RNG.uniform(0.5, 2.0, 3)]
KERNEL = RNG.normal(size=(2, 3, 3, 3))
IMAGE = (1, 2, 5, 4)
DOUBLE = np.array([1, 1, 2, 2], np.float32)

CASES = [
    *[("BatchNormalization", opset, (4, 3, 5), NORM, {}) for opset in (7, 9, 11, 13, 14, 15, 17)],
    *[("BatchNormalization", opset, (4, 3), NORM, {"epsilon": 0.1}) for opset in (9, 15)],
    ("BatchNormalization", 7, (4, 3), NORM, {"spatial": 0}),
    ("BatchNormalization", 7, (4, 3, 5), [np.outer(c, np.arange(1, 6)) for c in NORM], {"spatial": 0}),
    *[
        (op, opset, (2, 3, 4), [], axis)
        for op in ("Softmax", "LogSoftmax")
        for opset in (9, 11, 12, 13, 17)
        for axis in ({}, {"axis": 0}, {"axis": 1}, {"axis": 2})
    ],
    ("Upsample", 7, IMAGE, [], {"scales": [1.0, 1.0, 2.0, 3.0]}),
    *[("Upsample", 9, IMAGE, [DOUBLE], {"mode": mode}) for mode in ("nearest", "linear")],
    *[("Resize", 10, IMAGE, [DOUBLE], {"mode": mode}) for mode in ("nearest", "linear")],
    ("Resize", 13, IMAGE, [np.array([], np.float32), DOUBLE], {"mode": "linear"}),
    *[("ConvTranspose", 11, IMAGE, [KERNEL], {"auto_pad": a, "strides": [2, 2]}) for a in ("SAME_UPPER", "SAME_LOWER", "VALID")],
    ("ConvTranspose", 11, IMAGE, [KERNEL], {"output_shape": [10, 8], "strides": [2, 2]}),
    ("Clip", 7, (2, 3), [], {"min": -0.5, "max": 0.5}),
    ("Pad", 10, (2, 3), [], {"pads": [0, 1, 0, 2], "mode": "reflect"}),
    ("Slice", 9, (4, 5), [], {"starts": [-2], "ends": [1000], "axes": [1]}),
    ("ReduceSum", 11, (2, 3, 4), [], {"axes": [1], "keepdims": 0}),
    ("Unsqueeze", 11, (2, 3), [], {"axes": [1]}),
    ("Dropout", 9, (2, 3), [], {"ratio": 0.5}),
]  # fmt: skip


def model_of(op, opset, shape, constants, attributes):
    names = [f"c{i}" for i in range(len(constants))]
    tensors = [
        numpy_helper.from_array(np.asarray(c, np.float32), n) for n, c in zip(names, constants, strict=True)
    ]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        tensors,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(("op", "opset", "shape", "constants", "attributes"), CASES)
def test_reference_agrees_with_onnx_runtime_in_each_opset(op, opset, shape, constants, attributes):
    model = model_of(op, opset, shape, constants, attributes)
    x = RNG.normal(size=shape).astype(np.float32)
    expected = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    found = Reference(model)({"x": x})["y"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_batch_normalisation_in_training_mode_is_rejected():
    model = model_of("BatchNormalization", 15, (4, 3), NORM, {"training_mode": 1})
    with pytest.raises(ModelError, match=r"training mode: export the model after model.eval\(\)"):
        Reference(model)({"x": np.zeros((4, 3), np.float32)})


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_a_classifier_of_an_old_opset_is_packed_and_opens_on_every_engine(opset, export_model, tmp_path):
    import torch

    from tamis.measure import verify

    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(5, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 3),
        torch.nn.Softmax(1),
    )
    layers[1].running_mean.uniform_(-1, 1)
    layers[1].running_var.uniform_(0.5, 2)
    model = export_model(layers.eval(), torch.randn(4, 5), names=("x",), opset=opset)
    path = pack(model, tmp_path / "old.tamis").bundle.path
    for engine in ("onnxruntime", "openvino", "torch"):
        assert verify(Bundle.open(path), engine).passed
