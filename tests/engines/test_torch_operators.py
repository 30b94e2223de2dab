"""The translation of ONNX to torch, operator by operator, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tamis._base import ModelError
from tamis.bundle import Signature
from tamis.bundle.model import parse_model
from tamis.engines import Options, find_engine
from tamis.engines.torch import translate

RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def i(*values, dtype=np.int64):
    return np.array(values, dtype)


X = f(2, 3, 8)
IMAGE = f(2, 4, 7, 6)
POSITIVE = np.abs(f(2, 5)) + 0.1
UNIT = np.tanh(f(2, 5))
INTEGERS = np.array([[-7, 5, 3], [4, -2, 9]], np.int64)
FLAGS = np.array([[True, False, True], [False, False, True]])

# operator, inputs, constants, opset, number of outputs, attributes
CASES = [
    *((op, {"x": f(2, 5)}, {}, 17, 1, {}) for op in (
        "Abs", "Neg", "Exp", "Floor", "Ceil", "Round", "Sign", "Erf", "Tanh", "Sigmoid", "Sin", "Cos", "Tan", "Atan", "Sinh",
        "Cosh", "Asinh", "Relu", "Softplus", "Softsign", "HardSwish", "IsNaN", "IsInf", "Identity", "LeakyRelu", "Elu",
        "Selu", "Celu", "HardSigmoid", "ReduceMean", "Shape", "Size", "Dropout", "ThresholdedRelu",
    )),
    ("Mish", {"x": f(2, 5)}, {}, 18, 1, {}),
    ("Gelu", {"x": f(2, 5)}, {}, 20, 1, {}),
    ("Gelu", {"x": f(2, 5)}, {}, 20, 1, {"approximate": "tanh"}),
    ("Round", {"x": np.array([0.5, 1.5, 2.5, -0.5], np.float32)}, {}, 17, 1, {}),
    *((op, {"x": POSITIVE}, {}, 17, 1, {}) for op in ("Log", "Sqrt", "Reciprocal")),
    ("Acosh", {"x": POSITIVE + 1}, {}, 17, 1, {}),
    *((op, {"x": UNIT}, {}, 17, 1, {}) for op in ("Asin", "Acos", "Atanh")),
    ("LeakyRelu", {"x": f(2, 5)}, {}, 17, 1, {"alpha": 0.3}),
    ("Elu", {"x": f(2, 5)}, {}, 17, 1, {"alpha": 0.3}),
    ("Selu", {"x": f(2, 5)}, {}, 17, 1, {"alpha": 1.3, "gamma": 0.7}),
    ("HardSigmoid", {"x": f(2, 5)}, {}, 17, 1, {"alpha": 0.4, "beta": 0.3}),
    ("ThresholdedRelu", {"x": f(2, 5)}, {}, 17, 1, {"alpha": 0.3}),
    ("PRelu", {"x": X}, {"slope": f(3, 1)}, 17, 1, {}),
    *((op, {"a": f(2, 5), "b": f(5)}, {}, 17, 1, {}) for op in (
        "Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    ("Equal", {"a": INTEGERS}, {"b": i(5)}, 17, 1, {}),
    ("Div", {"a": INTEGERS}, {"b": i(2)}, 17, 1, {}),
    ("Mod", {"a": INTEGERS}, {"b": i(3)}, 17, 1, {}),
    ("Mod", {"a": f(4)}, {"b": f(4)}, 17, 1, {"fmod": 1}),
    ("Pow", {"a": POSITIVE}, {"b": np.array(2.5, np.float32)}, 17, 1, {}),
    ("Pow", {"a": POSITIVE}, {"b": i(2)}, 17, 1, {}),
    ("Pow", {"a": POSITIVE}, {"b": np.array([2.0, 1.0, 0.5, 3.0, -1.0])}, 17, 1, {}),
    *((op, {"a": FLAGS, "b": ~FLAGS}, {}, 17, 1, {}) for op in ("And", "Or", "Xor")),
    ("Not", {"a": FLAGS}, {}, 17, 1, {}),
    ("Where", {"c": FLAGS, "a": f(2, 3), "b": f(3)}, {}, 17, 1, {}),
    ("Cast", {"x": f(2, 5) * 3}, {}, 17, 1, {"to": onnx.TensorProto.INT64}),
    ("Cast", {"x": INTEGERS}, {}, 17, 1, {"to": onnx.TensorProto.FLOAT}),
    ("CastLike", {"x": INTEGERS}, {"like": f(1)}, 17, 1, {}),
    ("Clip", {"x": f(2, 5)}, {}, 9, 1, {"min": -0.5, "max": 0.4}),
    ("Clip", {"x": f(2, 5)}, {"low": np.array(-0.5, np.float32), "high": np.array(0.4, np.float32)}, 13, 1, {}),
    ("Clip", {"x": INTEGERS}, {"low": np.array(0), "high": np.array(4)}, 13, 1, {}),
    # reductions, axes as an attribute and as an input
    *((op, {"x": X}, {}, 11, 1, {"axes": [1, -1], "keepdims": keep}) for keep in (0, 1) for op in (
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSumExp")),
    ("ReduceLogSum", {"x": POSITIVE}, {}, 11, 1, {"axes": [1]}),
    ("ReduceSum", {"x": X}, {"axes": i(-1)}, 13, 1, {"keepdims": 0}),
    ("ReduceSum", {"x": X}, {}, 13, 1, {}),
    ("ReduceSum", {"x": X}, {"axes": i()}, 13, 1, {"noop_with_empty_axes": 1}),
    ("ReduceSum", {"x": INTEGERS.astype(np.int32)}, {"axes": i(1)}, 13, 1, {}),
    ("ReduceMax", {"x": X}, {"axes": i(1)}, 18, 1, {}),
    ("ReduceMean", {"x": X}, {"axes": i(0, 2)}, 18, 1, {"keepdims": 0}),
    ("ArgMax", {"x": X}, {}, 13, 1, {"axis": 2, "keepdims": 0}),
    ("ArgMin", {"x": X}, {}, 13, 1, {"axis": -1}),
    ("TopK", {"x": X}, {"k": i(3)}, 11, 2, {"axis": -1}),
    ("TopK", {"x": X}, {"k": i(2)}, 11, 2, {"axis": 1, "largest": 0}),
    ("TopK", {"x": X}, {"k": i(8)}, 11, 2, {}),
    ("CumSum", {"x": X}, {"axis": np.array(2)}, 14, 1, {}),
    ("CumSum", {"x": X}, {"axis": np.array(1)}, 14, 1, {"reverse": 1}),
    ("CumSum", {"x": X}, {"axis": np.array(2)}, 14, 1, {"exclusive": 1}),
    ("CumSum", {"x": INTEGERS.astype(np.int32)}, {"axis": np.array(1)}, 14, 1, {}),
    ("Softmax", {"x": X}, {}, 11, 1, {"axis": 1}),
    ("Softmax", {"x": X}, {}, 13, 1, {"axis": 1}),
    ("LogSoftmax", {"x": X}, {}, 13, 1, {}),
    # shapes
    ("Reshape", {"x": X}, {"shape": i(0, -1, 4)}, 13, 1, {}),
    ("Flatten", {"x": X}, {}, 13, 1, {"axis": 2}),
    ("Flatten", {"x": X}, {}, 13, 1, {"axis": 0}),
    ("Flatten", {"x": X}, {}, 13, 1, {"axis": -1}),
    ("Transpose", {"x": X}, {}, 13, 1, {}),
    ("Transpose", {"x": X}, {}, 13, 1, {"perm": [0, 2, 1]}),
    ("Squeeze", {"x": f(2, 1, 3, 1)}, {}, 11, 1, {"axes": [1]}),
    ("Squeeze", {"x": f(2, 1, 3, 1)}, {"axes": i(-1, 1)}, 13, 1, {}),
    ("Squeeze", {"x": f(2, 1, 3, 1)}, {}, 13, 1, {}),
    ("Unsqueeze", {"x": f(2, 3)}, {}, 11, 1, {"axes": [0, 3]}),
    ("Unsqueeze", {"x": f(2, 3)}, {"axes": i(-1, 1)}, 13, 1, {}),
    ("Concat", {"a": f(2, 3), "b": f(2, 1)}, {}, 13, 1, {"axis": -1}),
    ("Split", {"x": X}, {}, 11, 2, {"axis": 2, "split": [3, 5]}),
    ("Split", {"x": X}, {"split": i(1, 2)}, 13, 2, {"axis": 1}),
    ("Split", {"x": f(2, 7)}, {}, 18, 3, {"axis": 1, "num_outputs": 3}),
    ("Slice", {"x": X}, {}, 9, 1, {"starts": [1, -4], "ends": [3, 100000], "axes": [1, 2]}),
    ("Slice", {"x": X}, {}, 9, 1, {"starts": [0, 1], "ends": [1, -1]}),
    ("Slice", {"x": X}, {"s": i(1), "e": i(2**62), "a": i(2), "t": i(2)}, 13, 1, {}),
    ("Slice", {"x": X}, {"s": i(-1), "e": i(-(2**62)), "a": i(2), "t": i(-1)}, 13, 1, {}),
    ("Slice", {"x": X}, {"s": i(6), "e": i(1), "a": i(-1), "t": i(-2)}, 13, 1, {}),
    ("Gather", {"x": X}, {"index": i(0, -1, 2)}, 13, 1, {"axis": 1}),
    ("Gather", {"x": X}, {"index": np.array(1)}, 13, 1, {"axis": 2}),
    ("Gather", {"x": X, "index": np.array([[0, 1], [2, 0]], np.int32)}, {}, 13, 1, {"axis": -2}),
    ("GatherElements", {"x": X, "index": RNG.integers(-8, 8, (2, 3, 4))}, {}, 13, 1, {"axis": 2}),
    ("GatherND", {"x": X, "index": np.array([[0, 1], [1, -1]])}, {}, 13, 1, {}),
    ("GatherND", {"x": X, "index": np.array([[[1], [0]], [[2], [2]]])}, {}, 13, 1, {"batch_dims": 1}),
    ("ScatterElements", {"x": X, "index": RNG.permuted(np.tile(np.arange(8), (2, 3, 1)), axis=2)[:, :, :4], "u": f(2, 3, 4)}, {}, 16, 1, {"axis": 2}),
    ("ScatterElements", {"x": X, "index": RNG.integers(0, 8, (2, 3, 4)), "u": f(2, 3, 4)}, {}, 16, 1, {"axis": 2, "reduction": "add"}),
    ("ScatterND", {"x": X, "index": np.array([[0, 1], [1, 2]]), "u": f(2, 8)}, {}, 16, 1, {}),
    ("Expand", {"x": f(3, 1)}, {"shape": i(2, 1, 4)}, 13, 1, {}),
    ("Tile", {"x": f(2, 3)}, {"repeats": i(2, 3)}, 13, 1, {}),
    ("ConstantOfShape", {"shape": i(2, 3)}, {}, 13, 1, {"value": onnx.numpy_helper.from_array(np.array([2.5], np.float32))}),
    ("Range", {"a": np.array(1), "b": np.array(9), "c": np.array(3)}, {}, 13, 1, {}),
    ("Shape", {"x": X}, {}, 15, 1, {"start": 1, "end": -1}),
    ("NonZero", {"x": np.array([[1, 0], [0, 2]], np.float32)}, {}, 13, 1, {}),
    ("OneHot", {"x": i(0, 2, -1)}, {"depth": np.array(4), "values": f(2)}, 13, 1, {}),
    ("EyeLike", {"x": f(3, 4)}, {}, 13, 1, {"k": 1}),
    ("Trilu", {"x": f(4, 4)}, {}, 14, 1, {"upper": 1}),
    ("Trilu", {"x": f(4, 4)}, {"k": np.array(-1)}, 14, 1, {"upper": 0}),
    ("DepthToSpace", {"x": f(1, 8, 2, 3)}, {}, 13, 1, {"blocksize": 2}),
    ("DepthToSpace", {"x": f(1, 8, 2, 3)}, {}, 13, 1, {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", {"x": f(1, 2, 4, 6)}, {}, 13, 1, {"blocksize": 2}),
    ("Pad", {"x": X}, {}, 9, 1, {"pads": [0, 1, 2, 0, 0, 3], "value": 1.5}),
    ("Pad", {"x": X}, {"pads": i(0, 1, 2, 0, 0, 3), "value": np.array(1.5, np.float32)}, 13, 1, {}),
    ("Pad", {"x": X}, {"pads": i(0, 0, 2, 0, 0, 1)}, 13, 1, {"mode": "reflect"}),
    ("Pad", {"x": X}, {"pads": i(0, 0, 2, 0, 0, 1)}, 13, 1, {"mode": "edge"}),
    ("Pad", {"x": X}, {"pads": i(0, 1, 2, 0, 1, 1)}, 13, 1, {"mode": "edge"}),
    ("Pad", {"x": X}, {"pads": i(0, 0, -2, 0, 0, -1)}, 13, 1, {}),
    ("Resize", {"x": IMAGE}, {"roi": f(0), "scales": np.array([1, 1, 2, 3], np.float32)}, 13, 1, {}),
    ("Resize", {"x": IMAGE}, {"roi": f(0), "scales": f(0), "sizes": i(2, 4, 14, 12)}, 13, 1, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Upsample", {"x": IMAGE}, {"scales": np.array([1, 1, 2, 3], np.float32)}, 9, 1, {}),
    # layers
    ("MatMul", {"a": f(2, 3, 4), "b": f(4, 5)}, {}, 13, 1, {}),
    ("Gemm", {"a": f(2, 3)}, {"b": f(4, 3), "c": f(4)}, 13, 1, {"transB": 1}),
    ("Gemm", {"a": f(2, 3)}, {"b": f(4, 3), "c": f(1, 4)}, 13, 1, {"transB": 1}),
    ("Gemm", {"a": f(2, 3)}, {"b": f(4, 3), "c": f(2, 1)}, 13, 1, {"transB": 1}),
    ("Gemm", {"a": f(2, 3)}, {"b": f(3, 4), "c": np.array(0.5, np.float32)}, 13, 1, {}),
    ("Gemm", {"a": f(3, 2)}, {"b": f(3, 4), "c": f(4)}, 13, 1, {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    ("Einsum", {"a": f(2, 3, 4), "b": f(2, 4, 5)}, {}, 13, 1, {"equation": "bij,bjk->bik"}),
    ("Conv", {"x": IMAGE}, {"w": f(6, 2, 3, 2), "b": f(6)}, 13, 1, {"group": 2, "strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]}),
    ("Conv", {"x": IMAGE}, {"w": f(3, 4, 2, 2)}, 13, 1, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", {"x": X}, {"w": f(3, 3, 3)}, 13, 1, {"auto_pad": "VALID"}),
    ("ConvTranspose", {"x": IMAGE}, {"w": f(4, 2, 3, 3), "b": f(4)}, 13, 1, {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("ConvTranspose", {"x": X}, {"w": f(3, 2, 3)}, 13, 1, {"dilations": [2]}),
    ("MaxPool", {"x": IMAGE}, {}, 13, 1, {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ("MaxPool", {"x": IMAGE}, {}, 13, 1, {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"x": IMAGE}, {}, 13, 1, {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    ("AveragePool", {"x": IMAGE}, {}, 13, 1, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", {"x": IMAGE}, {}, 13, 1, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("GlobalAveragePool", {"x": IMAGE}, {}, 13, 1, {}),
    ("GlobalMaxPool", {"x": IMAGE}, {}, 13, 1, {}),
    ("BatchNormalization", {"x": X}, {"s": f(3), "b": f(3), "m": f(3), "v": np.abs(f(3))}, 15, 1, {"epsilon": 1e-3}),
    ("LayerNormalization", {"x": X}, {"s": f(8), "b": f(8)}, 17, 1, {"axis": -1}),
    ("LayerNormalization", {"x": X}, {"s": f(3, 8)}, 17, 1, {"axis": 1}),
    ("InstanceNormalization", {"x": X}, {"s": f(3), "b": f(3)}, 13, 1, {}),
    *((op, {"x": f(5, 2, 4)}, {"w": f(n, g * 3, 4), "r": f(n, g * 3, 3), "b": f(n, 2 * g * 3)}, 14, 2, {"hidden_size": 3, "direction": d} | extra)
      for op, g, extra in (("LSTM", 4, {}), ("GRU", 3, {"linear_before_reset": 1}))
      for d, n in (("forward", 1), ("reverse", 1), ("bidirectional", 2))),
]  # fmt: skip


def run_torch(model, inputs):
    """Run a model on ONNX Runtime and on the engine torch, without a bundle."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    dtypes = {
        "tensor(float)": "float32",
        "tensor(int64)": "int64",
        "tensor(int32)": "int32",
        "tensor(bool)": "bool",
    }
    signature = Signature.model_validate(
        {
            "inputs": [{"name": k, "shape": v.shape, "dtype": v.dtype.name} for k, v in inputs.items()],
            "outputs": [
                {"name": o.name, "shape": [], "dtype": dtypes[o.type]} for o in session.get_outputs()
            ],
            "rows": "none",
        }
    )
    runner = find_engine("torch").load(model.SerializeToString(), signature, Options())
    return session.run(None, inputs), runner.run([inputs[spec.name] for spec in signature.inputs])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[3]}-{'-'.join(map(str, case[5]))}")
def test_torch_agrees_with_onnx_runtime(one_node, case):
    op, inputs, constants, opset, outputs, attributes = case
    model = one_node(op, inputs, constants, opset, outputs, **attributes)
    expected, found = run_torch(model, inputs)
    assert len(found) == len(expected)
    for value, reference in zip(found, expected, strict=True):
        assert value.dtype == reference.dtype
        assert value.shape == reference.shape
        np.testing.assert_allclose(value, reference, rtol=2e-5, atol=2e-5)


UNSUPPORTED = [
    ("Resize", {"x": IMAGE}, {"roi": f(0), "scales": np.array([1, 1, 2, 2], np.float32)}, 13, 1, {"mode": "linear"}),
    ("Resize", {"x": IMAGE}, {"roi": f(0), "scales": np.array([1, 1, 2, 2], np.float32)}, 13, 1, {"coordinate_transformation_mode": "align_corners"}),
    ("Resize", {"x": IMAGE}, {"roi": f(0), "scales": np.array([1, 1, 1.5, 2], np.float32)}, 13, 1, {}),
    ("MaxPool", {"x": IMAGE}, {}, 13, 2, {"kernel_shape": [2, 2]}),
    ("GRU", {"x": f(5, 2, 4)}, {"w": f(1, 9, 4), "r": f(1, 9, 3)}, 14, 2, {"hidden_size": 3}),
    ("LSTM", {"x": f(5, 2, 4)}, {"w": f(1, 12, 4), "r": f(1, 12, 3)}, 14, 2, {"hidden_size": 3, "clip": 1.0}),
    ("ArgMax", {"x": X}, {}, 13, 1, {"select_last_index": 1}),
    ("AveragePool", {"x": IMAGE}, {}, 19, 1, {"kernel_shape": [2, 2], "dilations": [1, 2]}),
    ("BatchNormalization", {"x": X}, {"s": f(3), "b": f(3), "m": f(3), "v": f(3)}, 15, 3, {"training_mode": 1}),
    ("Cast", {"x": X}, {}, 13, 1, {"to": onnx.TensorProto.STRING}),
]  # fmt: skip


@pytest.mark.parametrize("case", UNSUPPORTED, ids=lambda case: f"{case[0]}-{'-'.join(map(str, case[5]))}")
def test_unsupported_variants_are_reported_in_one_sentence(one_node, case):
    op, inputs, constants, opset, outputs, attributes = case
    model = one_node(op, inputs, constants, opset, outputs, **attributes)
    signature = Signature.model_validate(
        {
            "inputs": [{"name": k, "shape": v.shape, "dtype": v.dtype.name} for k, v in inputs.items()],
            "outputs": [{"name": o.name, "shape": []} for o in model.graph.output],
            "rows": "none",
        }
    )
    with pytest.raises(
        ModelError, match=rf"the engine torch (does not support|cannot run).*{op if op != 'Cast' else ''}"
    ) as raised:
        find_engine("torch").load(model.SerializeToString(), signature, Options()).run(list(inputs.values()))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_if_branches_capture_values_of_the_enclosing_graph(parse_model):
    """The torch exporter writes an If where it cannot infer whether an axis has one element."""
    model = parse_model(
        """m (float[N, 3] x) => (float[N, 3] y, float[N, 3] z) {
            k = Constant <value_float = 2.0> ()
            a = Mul (x, k)
            zero = Constant <value_float = 0.0> ()
            s = ReduceSum <keepdims = 0> (x)
            positive = Greater (s, zero)
            y, z = If (positive) <
                then_branch = t () => (float[N, 3] p, float[N, 3] q) { p = Add (a, x)
                    q = Mul (a, k) },
                else_branch = e () => (float[N, 3] p, float[N, 3] q) { h = Constant <value_float = 0.5> ()
                    p = Mul (a, h)
                    q = Sub (x, a) }
            >
        }"""
    )
    signature = Signature.model_validate(
        {
            "inputs": [{"name": "x", "shape": ["N", 3]}],
            "outputs": [{"name": name, "shape": ["N", 3]} for name in "yz"],
        }
    )
    runner = find_engine("torch").load(model.SerializeToString(), signature, Options())
    session = ort.InferenceSession(model.SerializeToString())
    for sign in (1.0, -1.0):
        x = sign * np.abs(f(4, 3))
        for found, expected in zip(runner.run([x]), session.run(None, {"x": x}), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_unknown_operator_is_reported_with_its_node(parse_model):
    model = parse_model("m (float[N, 3] x) => (float[N, 3] y) { y = Hardmax (x) }")
    signature = Signature.model_validate(
        {"inputs": [{"name": "x", "shape": ["N", 3]}], "outputs": [{"name": "y", "shape": ["N", 3]}]}
    )
    with pytest.raises(ModelError, match=r"does not support the operator Hardmax .*use another engine"):
        find_engine("torch").load(parse_model_bytes(model), signature, Options())


def parse_model_bytes(model):
    return parse_model(model.SerializeToString(), "here").SerializeToString()


def test_taps_replace_weights_and_results(parse_model) -> None:
    torch = pytest.importorskip("torch")
    model = parse_model("m (float[N, 2] x) => (float[N, 2] z) { y = MatMul (x, w) z = Relu (y) }", w=(2, 2))
    weight = torch.eye(2, requires_grad=True)
    module = translate(model, {"w": lambda _: weight, "y": lambda y: y - 1.0})
    (result,) = module(torch.tensor([[3.0, 0.5]]))
    assert result.tolist() == [[2.0, 0.0]]
    result.sum().backward()
    assert weight.grad.tolist() == [[3.0, 0.0], [0.5, 0.0]]
