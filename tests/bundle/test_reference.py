"""The reference engine against torch in float64."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.bundle.reference import to_float64

F = torch.nn.functional


def assert_close(reference, module, export_model, *inputs, names=("x",)):
    """Assert that the reference engine agrees with the exported module evaluated in float64."""
    inputs = [torch.randn(*shape) for shape in inputs]
    model = export_model(module, *inputs, names=names)
    found = Reference(model)({n: x.numpy() for n, x in zip(names, inputs, strict=True)})["score"]
    with torch.no_grad():
        expected = module.double()(*[x.double() for x in inputs])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-12)


class Last(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y, state = self.layer(x)
        state = state[0] + state[1] if isinstance(state, tuple) else state
        return torch.cat([y.reshape(y.shape[0], -1), state.transpose(0, 1).reshape(y.shape[0], -1)], 1)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers(export_model, kind, bidirectional):
    torch.manual_seed(1)
    assert_close(
        Reference, Last(kind(4, 3, batch_first=True, bidirectional=bidirectional)), export_model, (2, 5, 4)
    )


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.norm = torch.nn.Linear(8, 24), torch.nn.LayerNorm(8)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=2)
        return torch.relu(torch.softmax(q @ k.transpose(1, 2) / 4.0, dim=-1) @ v)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (torch.nn.Conv1d(4, 6, 3, padding=1, stride=2, groups=2), (2, 4, 9)),
        (torch.nn.Conv2d(1, 3, (3, 2), dilation=2), (2, 1, 9, 7)),
        (torch.nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 9)),
        (torch.nn.ConvTranspose2d(3, 2, (3, 2), dilation=(1, 2)), (2, 3, 5, 4)),
        (torch.nn.MaxPool1d(3, 2, padding=1), (2, 4, 9)),
        (torch.nn.MaxPool2d(2, ceil_mode=True), (2, 4, 5, 7)),
        (torch.nn.AvgPool1d(2, 2), (2, 4, 9)),
        (torch.nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), (2, 2, 7, 7)),
        (torch.nn.AvgPool2d(3, 2, padding=1), (2, 2, 7, 7)),
        (Attention(), (2, 5, 8)),
    ],
)
def test_layers(export_model, module, shape):
    torch.manual_seed(1)
    assert_close(Reference, module.eval(), export_model, shape)


def gru(reset):
    rng = np.random.default_rng(0)
    x, w, r, b = (rng.normal(size=s).astype(np.float32) for s in ((4, 2, 3), (1, 15, 3), (1, 15, 5), (1, 30)))
    node = helper.make_node("GRU", ["x", "w", "r", "b"], ["", "y"], hidden_size=5, linear_before_reset=reset)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 5])],
        [numpy_helper.from_array(v, k) for k, v in {"w": w, "r": r, "b": b}.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), x


@pytest.mark.parametrize("reset", [0, 1])
def test_both_variants_of_gru_agree_with_onnx_runtime(reset):
    import onnxruntime as ort

    model, x = gru(reset)
    x *= 0.1
    expected = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(Reference(model)({"x": x})["y"], expected, rtol=1e-5, atol=1e-6)


def test_unsupported_attributes_are_reported_in_one_sentence():
    model, x = gru(0)
    model.graph.node[0].attribute.append(helper.make_attribute("clip", 1.0))
    with pytest.raises(
        ModelError, match=r"cannot evaluate this model on inputs of .*: recurrent layers with clip"
    ):
        Reference(model)({"x": x})


def test_all_floats_are_converted_to_float64(parse_model):
    model = parse_model(
        """m (float[N, 3] x) => (float[N, 3] y) {
            half = Cast <to = 10> (x)
            single = Cast <to = 1> (half)
            shape = Shape (x)
            ones = ConstantOfShape <value = float[1] {0.1}> (shape)
            c = Constant <value_float = 0.1> ()
            a = Add (single, ones)
            b = Mul (a, c)
            flag = ReduceSum <keepdims = 0> (x)
            zero = Constant <value_float = 0.0> ()
            positive = Greater (flag, zero)
            y = If (positive) <
                then_branch = g1 () => (float[N, 3] t) { k = Constant <value_float = 0.1> () \n h = Cast <to = 1> (k) \n t = Mul (b, h) },
                else_branch = g2 () => (float[N, 3] e) { e = Neg (b) }
            >
        }"""
    )
    x = np.full((2, 3), 1 / 3)
    tenth = float(np.float32(0.1))
    found = Reference(model)({"x": x})["y"]
    np.testing.assert_allclose(found, (x + tenth) * tenth * tenth, rtol=1e-14)
    np.testing.assert_allclose(Reference(model)({"x": -x - 1})["y"], -(-x - 1 + tenth) * tenth, rtol=1e-14)
    doubled = to_float64(model)
    assert TensorProto.FLOAT not in [
        v.type.tensor_type.elem_type for v in (*doubled.graph.input, *doubled.graph.output)
    ]
    assert onnx.checker.check_model(model) is None  # the model itself is unchanged


def test_a_traced_graph_with_the_sizes_of_its_example_is_reported_with_advice(parse_model):
    model = parse_model(
        "m (float[N, P] x) => (float[N, 6] y) { s = Constant <value_ints = [-1, 6]> () \n y = Reshape (x, s) }"
    )
    message = r"on inputs of x \(2, 4\): .*; a traced graph may contain the sizes of its example"
    with pytest.raises(ModelError, match=message):
        Reference(model)({"x": np.zeros((2, 4), np.float32)})


@pytest.mark.parametrize("trip", ["", "most"])
@pytest.mark.parametrize("condition", ["", "yes", "no"])
def test_a_loop_runs_as_in_onnxruntime_also_where_its_limits_are_omitted(trip, condition):
    body = onnx.parser.parse_graph(
        """body (int64 i, bool going, float[a, b] v) => (bool go_on, float[a, b] w, float[a, b] each, float total) {
            one = Constant <value = float {1.0}> ()
            limit = Constant <value = float {20.0}> ()
            w = Add (v, one)
            each = Identity (w)
            total = ReduceSum <keepdims = 0> (w)
            go_on = Less (total, limit)
        }"""
    )
    graph = onnx.parser.parse_graph(
        """g (float[N, 3] x) => (float[N, 3] y, float[s, N, 3] all, float[s] totals) {
            most = Constant <value = int64 {3}> ()
            yes = Constant <value_int = 1> ()
        }"""
    )
    del graph.node[1:]
    for name, value in (("yes", True), ("no", False)):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    graph.node.append(
        onnx.helper.make_node("Loop", [trip, condition, "x"], ["y", "all", "totals"], body=body)
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    x *= 0.1
    expected = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    found = Reference(model)({"x": x})
    np.testing.assert_allclose(found["y"], expected[0])
    steps = len(expected[2])
    assert steps == (0 if condition == "no" else 3 if trip else len(found["totals"]))
    for right, value in zip(expected[1:], (found["all"], found["totals"]), strict=True):
        assert len(value) == steps
        np.testing.assert_allclose(value.reshape(right.shape), right)
