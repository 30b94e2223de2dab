"""Every operator over its attributes: compared with float64, and bit for bit between modes and batch sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis.native.targets import host_target, targets_of

RNG = np.random.default_rng(11)
OTHER_TARGETS = [target for target in targets_of() if target.name != host_target().name]


def weights(*shape: int) -> np.ndarray:
    """Return random numbers of the size of typical weights."""
    return (RNG.normal(size=shape) / max(1.0, np.sqrt(np.prod(shape[1:])))).astype(np.float32)


def one_of(rows: int, chosen: np.ndarray) -> np.ndarray:
    """Return a matrix whose columns have a single one, in the chosen row."""
    return np.eye(rows, dtype=np.float32)[:, chosen]


def node(kind: str, operands: Sequence[object], opset: int = 17, outputs: int = 1, **attributes: object) -> tuple[onnx.ModelProto, list[tuple[int, ...]]]:  # fmt: skip
    """Return a model of one node; of its operands, a tuple is the shape of an input, an array is a constant, None is omitted."""
    names, inputs, constants, shapes = [], [], [], []
    for number, one in enumerate(operands):
        name = f"x{number}" if one is not None else ""
        names.append(name)
        if isinstance(one, tuple):
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, one))
            shapes.append(one)
        elif one is not None:
            constants.append(numpy_helper.from_array(np.asarray(one), name))
    output_names = [f"y{number}" for number in range(outputs)]
    nodes = [helper.make_node(kind, names, output_names, **attributes)]
    results = []
    for name in output_names:
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        results.append(helper.make_tensor_value_info(f"{name}_float", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, kind, inputs, results, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), shapes


def recurrent(
    kind: str, directions: int, steps: int, size: int, hidden: int, bias: bool, states: bool, **more: object
):
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind] * hidden
    state = (directions, 1, hidden)
    inputs = [
        (steps, 1, size), weights(directions, gates, size), weights(directions, gates, hidden),
        weights(directions, 2 * gates) if bias else None, None, state if states else None,
    ]  # fmt: skip
    if kind == "LSTM":
        inputs.append(state if states else None)
    while inputs[-1] is None:
        inputs.pop()
    return node(kind, inputs, outputs=3 if kind == "LSTM" else 2, hidden_size=hidden, **more)


ints = np.array
CONVOLUTIONS = {
    "plain": node("Conv", [(1, 3, 9), weights(5, 3, 3), weights(5)]),
    "padded": node("Conv", [(1, 3, 9), weights(20, 3, 3), weights(20)], pads=[2, 1], strides=[2]),
    "dilated": node("Conv", [(1, 4, 17), weights(6, 4, 3)], dilations=[3], pads=[3, 3]),
    "grouped": node("Conv", [(1, 6, 10), weights(9, 2, 3), weights(9)], group=3),
    "depthwise": node("Conv", [(1, 8, 7, 7), weights(8, 1, 3, 3)], group=8, pads=[1] * 4),
    "depthwise_multiplied": node("Conv", [(1, 4, 6, 5), weights(8, 1, 3, 2), weights(8)], group=4, strides=[2, 1]),
    "image": node("Conv", [(1, 2, 8, 9), weights(17, 2, 3, 3), weights(17)], pads=[1, 0, 2, 1], strides=[1, 2], dilations=[2, 1]),
    "same_upper": node("Conv", [(1, 2, 8, 7), weights(3, 2, 4, 3)], auto_pad="SAME_UPPER", strides=[2, 2]),
    "same_lower": node("Conv", [(1, 2, 8, 7), weights(3, 2, 4, 3)], auto_pad="SAME_LOWER", strides=[2, 3]),
    "valid": node("Conv", [(1, 2, 8, 7), weights(3, 2, 4, 3)], auto_pad="VALID"),
    "pointwise": node("Conv", [(1, 19, 33), weights(40, 19, 1), weights(40)]),
    "one_output": node("Conv", [(1, 40, 5), weights(1, 40, 1), weights(1)]),
    "volume": node("Conv", [(1, 2, 4, 5, 6), weights(3, 2, 2, 3, 2)], strides=[1, 2, 1]),
    "two_at_once": node("Conv", [(2, 3, 9), weights(5, 3, 3)]),
    "long": node("Conv", [(1, 1, 130), weights(4, 1, 7)], strides=[3]),
    "up": node("ConvTranspose", [(1, 3, 5), weights(3, 4, 3), weights(4)], strides=[2]),
    "up_padded": node("ConvTranspose", [(1, 3, 5), weights(3, 4, 4)], strides=[2], pads=[1, 1], output_padding=[1]),
    "up_wide_stride": node("ConvTranspose", [(1, 2, 5), weights(2, 3, 2), weights(3)], strides=[3]),
    "up_dilated": node("ConvTranspose", [(1, 2, 6), weights(2, 3, 3)], dilations=[2], strides=[2]),
    "up_grouped": node("ConvTranspose", [(1, 4, 5, 4), weights(4, 3, 3, 3), weights(6)], group=2, strides=[2, 1], pads=[1, 1, 0, 1]),
    "up_same": node("ConvTranspose", [(1, 2, 4, 4), weights(2, 3, 3, 3)], auto_pad="SAME_UPPER", strides=[2, 2]),
    "up_shape": node("ConvTranspose", [(1, 2, 4, 4), weights(2, 3, 3, 3)], output_shape=[8, 8], strides=[2, 2]),
}  # fmt: skip
DENSE = {
    "gemm": node("Gemm", [(1, 7), weights(7, 20), weights(20)]),
    "gemm_turned": node("Gemm", [(7, 3), weights(5, 7), weights(3, 5)], transA=1, transB=1, alpha=0.5, beta=2.0),
    "gemm_dynamic": node("Gemm", [(3, 4), (4, 5), (1, 5)], alpha=2.0, beta=0.5),
    "gemm_bias_of_event": node("Gemm", [(3, 4), weights(4, 5), (3, 1)]),
    "matmul": node("MatMul", [(2, 3, 9), weights(9, 33)]),
    "matmul_vector": node("MatMul", [(9,), weights(9, 5)]),
    "matmul_left": node("MatMul", [weights(5, 9), (2, 9, 4)]),
    "matmul_to_vector": node("MatMul", [(3, 9), weights(9)]),
    "matmul_both": node("MatMul", [(2, 5, 7), (2, 7, 18)]),
    "matmul_heads": node("MatMul", [(1, 4, 6, 3), (1, 4, 3, 6)]),
    "matmul_broadcast": node("MatMul", [(2, 1, 3, 4), (3, 4, 5)]),
    "matmul_chosen": node("MatMul", [(2, 3, 9), one_of(9, np.arange(40) // 5 % 9)]),
    "matmul_chosen_from": node("MatMul", [(3, 9), one_of(9, RNG.integers(0, 9, 31))]),
    "matmul_chosen_left": node("MatMul", [one_of(9, RNG.integers(0, 9, 31)).T.copy(), (2, 9, 4)]),
    "matmul_parts": node("MatMul", [(2, 3, 60), one_of(4, np.arange(60) // 15).T.copy()]),
    "matmul_shuffled_parts": node("MatMul", [(2, 3, 60), one_of(4, RNG.permutation(60) % 4).T.copy()]),
    "matmul_parts_left": node("MatMul", [one_of(4, RNG.permutation(60) % 4), (2, 60, 5)]),
    "matmul_uneven_parts": node("MatMul", [(2, 3, 40), one_of(4, np.arange(40) % 7 % 4).T.copy()]),
    "matmul_stack": node("MatMul", [(1, 3, 4), weights(2, 4, 5)]),
    "long_sum": node("MatMul", [(1, 200), weights(200, 1)]),
    "long_sums_turned": node("Gemm", [(90, 20), weights(90, 2)], transA=1),
    "long_sums": node("MatMul", [(3, 101), weights(101, 2)]),
    "einsum_heads": node("Einsum", [(2, 5, 3, 4), (2, 6, 3, 4)], equation="bqhd,bkhd->bhqk"),
    "einsum_trace": node("Einsum", [(4, 4)], equation="ii"),
    "einsum_outer": node("Einsum", [(3,), (5,)], equation="i,j->ij"),
    "einsum_dots": node("Einsum", [(2, 3, 4), weights(4, 5)], equation="...d,de->...e"),
    "einsum_three": node("Einsum", [(2, 3), (3, 4), (4,)], equation="ab,bc,c->a"),
}  # fmt: skip
REDUCED = ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSumExp")
REDUCTIONS = {
    **{f"{k}_old": node(f"Reduce{k}", [(3, 4, 5)], opset=11, axes=[-2], keepdims=0) for k in REDUCED},
    **{f"{k}_long": node(f"Reduce{k}", [(3, 70)], opset=18, keepdims=1) for k in REDUCED if k != "Prod"},
    **{f"{k}_axes": node(f"Reduce{k}", [(3, 4, 40), ints([0, -1])], opset=18) for k in REDUCED if k != "Prod"},
    "noop": node("ReduceSum", [(3, 4)], opset=13, noop_with_empty_axes=1),
    **{f"softmax_{o}_{a % 3}": node("Softmax", [(2, 9, 5)], opset=o, axis=a) for o in (11, 13) for a in (1, -1)},
    "log_softmax": node("LogSoftmax", [(3, 37)], axis=-1),
    "hardmax": node("Hardmax", [(3, 7)]),
    "layer_norm": node("LayerNormalization", [(3, 40), weights(40), weights(40)]),
    "layer_norm_two": node("LayerNormalization", [(2, 3, 5), weights(3, 5)], axis=1),
    "instance_norm": node("InstanceNormalization", [(1, 4, 6, 5), weights(4), weights(4)]),
    "group_norm": node("GroupNormalization", [(1, 6, 5), weights(2), weights(2)], opset=18, num_groups=2),
    "batch_norm": node("BatchNormalization", [(1, 3, 5), weights(3), weights(3), weights(3), np.abs(weights(3)) + 0.5]),
    "lp_2": node("LpNormalization", [(3, 9)], p=2, axis=0),
    "global_average": node("GlobalAveragePool", [(1, 3, 6, 7)]), "global_max": node("GlobalMaxPool", [(1, 3, 50)]),
    "cumsum": node("CumSum", [(3, 5, 2), ints(1)]), "cumsum_back": node("CumSum", [(3, 5), ints(-1)], reverse=1, exclusive=1),
    "lrn": node("LRN", [(4, 4, 3, 3)], size=3),
}  # fmt: skip
POOLS = {
    "max": node("MaxPool", [(1, 3, 9)], kernel_shape=[3], strides=[2]),
    "max_ceil": node("MaxPool", [(1, 2, 8, 9)], kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1, pads=[1, 0, 1, 1]),
    "max_dilated": node("MaxPool", [(1, 2, 9, 9)], kernel_shape=[3, 3], dilations=[2, 1]),
    "max_large": node("MaxPool", [(1, 2, 12, 12)], kernel_shape=[5, 5], strides=[3, 3], auto_pad="SAME_UPPER"),
    "average": node("AveragePool", [(1, 3, 9)], kernel_shape=[3], strides=[2], pads=[1, 1]),
    "average_padded": node("AveragePool", [(1, 3, 8, 7)], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
    "average_ceil": node("AveragePool", [(1, 3, 8)], kernel_shape=[3], strides=[2], ceil_mode=1),
    "average_large": node("AveragePool", [(1, 2, 12, 12)], kernel_shape=[6, 6], strides=[6, 6]),
    "average_same": node("AveragePool", [(1, 2, 7, 8)], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
}  # fmt: skip
MOVES = {
    "transpose": node("Transpose", [(2, 3, 20)], perm=[2, 0, 1]), "transpose_default": node("Transpose", [(3, 4, 5)]),
    "slice": node("Slice", [(9, 8), ints([1, -1]), ints([100, -9]), ints([0, 1]), ints([2, -3])]),
    "slice_old": node("Slice", [(9, 8)], opset=9, starts=[2], ends=[-1], axes=[1]),
    "gather_steps": node("Gather", [(9, 5), ints([1, 3, 5])]), "gather_back": node("Gather", [(9, 5), ints([-1, -2])], axis=1),
    "gather_any": node("Gather", [(3, 30), ints([[7, 1, 1, 29, 4, 0, 13, 2, 8, 9, 5, 22]])], axis=1),
    "gather_one": node("Gather", [(3, 5), ints(2)], axis=-1),
    "concat": node("Concat", [(2, 3), weights(2, 4), (2, 1)], axis=-1),
    "split": node("Split", [(2, 7), ints([3, 4])], outputs=2, axis=1), "tile": node("Tile", [(2, 3), ints([2, 3])]),
    "expand": node("Expand", [(3, 1), ints([2, 1, 4])]), "trilu": node("Trilu", [(4, 5)], upper=0),
    "pad": node("Pad", [(3, 4), ints([1, 0, 0, 2]), np.float32(2.5)]), "pad_old": node("Pad", [(3, 4)], opset=10, pads=[0, 1, 1, 0], value=3.0),
    "pad_reflect": node("Pad", [(1, 2, 6), ints([0, 0, 2, 0, 0, 3])], mode="reflect"), "pad_edge": node("Pad", [(5,), ints([3, 30])], mode="edge"),
    "upsample": node("Upsample", [(1, 2, 3, 3), ints([1, 1, 2, 3], np.float32)], opset=9),
    "resize": node("Resize", [(1, 2, 5), None, ints([1, 1, 1.6], np.float32)], mode="linear"),
    "resize_corners": node("Resize", [(1, 2, 4, 3), None, None, ints([1, 2, 7, 8])], mode="linear", coordinate_transformation_mode="align_corners"),
    "resize_nearest": node("Resize", [(1, 1, 7), None, None, ints([1, 1, 4])], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
    "depth": node("DepthToSpace", [(1, 8, 2, 3)], blocksize=2), "depth_crd": node("DepthToSpace", [(1, 8, 2, 3)], blocksize=2, mode="CRD"),
    "space": node("SpaceToDepth", [(1, 2, 4, 6)], blocksize=2),
}  # fmt: skip
SELECTIONS = {
    "top": node("TopK", [(3, 20), ints([5])], outputs=2), "least": node("TopK", [(4, 6), ints([4])], outputs=2, largest=0, axis=0),
    "top_old": node("TopK", [(2, 9)], opset=9, outputs=2, k=3), "argmax": node("ArgMax", [(3, 9)], axis=1),
    "argmin_last": node("ArgMin", [(3, 9)], axis=0, keepdims=0, select_last_index=1),
    "compress": node("Compress", [(3, 5), ints([True, False, True, True])], axis=1),
}  # fmt: skip
LAYERS = {
    f"{kind}_{direction}_{'full' if full else 'bare'}": recurrent(kind, 2 if direction == "bidirectional" else 1, 6, 5, 18, full, full, direction=direction)
    for kind, direction, full in (
        ("GRU", "forward", False), ("GRU", "reverse", True), ("GRU", "bidirectional", True), ("LSTM", "forward", True),
        ("LSTM", "bidirectional", False), ("LSTM", "reverse", False), ("RNN", "bidirectional", True),
    )
}  # fmt: skip
LAYERS |= {
    f"GRU_linear_{full}": recurrent("GRU", 1, 4, 3, 7, full, full, linear_before_reset=1)
    for full in (False, True)
}
LAYERS |= {
    "LSTM_hard": recurrent("LSTM", 1, 5, 3, 7, True, False, activations=["HardSigmoid", "Tanh", "Softsign"]),
    "LSTM_with_parameters": recurrent(
        "LSTM", 2, 4, 3, 6, True, True, direction="bidirectional", activation_alpha=[0.3, 0.7, 0.6, 0.4], activation_beta=[0.4, 0.5],
        activations=["HardSigmoid", "LeakyRelu", "Softplus", "HardSigmoid", "Elu", "Tanh"],
    ),
    "GRU_scaled": recurrent(
        "GRU", 1, 4, 3, 6, True, False, activations=["Sigmoid", "ScaledTanh"], activation_alpha=[1.2], activation_beta=[0.8]
    ),
    "GRU_thresholded": recurrent("GRU", 1, 4, 3, 6, True, False, activations=["Affine", "ThresholdedRelu"], activation_alpha=[0.4, 0.2], activation_beta=[0.1]),
}  # fmt: skip
UNARY = (
    "Neg", "Abs", "Sqrt", "Exp", "Tanh", "Erf", "Sigmoid", "Relu", "Floor", "Ceil", "Sin", "Cos", "Round", "Sign", "Softplus",
    "Tan", "Atan", "Sinh", "Cosh", "Asinh", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Softsign", "Mish",
    "ThresholdedRelu", "Shrink", "Identity",
)  # fmt: skip
ELEMENTWISE = {
    **{kind: node(kind, [(3, 7)], opset=18) for kind in UNARY if kind != "Sqrt"},
    **{k: node(k, [(2, 3, 5), (3, 1)]) for k in ("Add", "Sub", "Mul", "Greater", "LessOrEqual", "Equal", "Max", "Min", "PRelu")},
    "mod": node("Mod", [(3, 5), weights(5) + 2], fmod=1), "gelu": node("Gelu", [(40,)], opset=20), "gelu_tanh": node("Gelu", [(40,)], opset=20, approximate="tanh"),
    "clip": node("Clip", [(9,), np.float32(-0.5), np.float32(0.7)]), "clip_old": node("Clip", [(9,)], opset=6, max=0.3),
    "square": node("Pow", [(9,), np.float32(2)]), "cube": node("Pow", [(9,), np.float32(-3)]), "power": node("Pow", [np.float32(2.5), (9,)]),
    "quantise": node("QuantizeLinear", [(3, 9), np.float32(0.02), np.uint8(120)]), "quantise_signed": node("QuantizeLinear", [(3, 9), np.float32(0.05), np.int8(3)]),
    "quantise_axis": node("QuantizeLinear", [(1, 4, 5), np.array([0.01, 0.02, 0.03, 0.04], np.float32), np.array([1, 2, 3, 4], np.uint8)], axis=1),
    "mean": node("Mean", [(3, 4), (4,), (3, 1)]), "leaky": node("LeakyRelu", [(9,)], alpha=0.3), "elu": node("Elu", [(9,)], alpha=1.5),
}  # fmt: skip
EVENT_WEIGHTS = {  # parameters that are inputs
    "conv": node("Conv", [(1, 3, 9), (5, 3, 3), (5,)]),
    "conv_grouped": node("Conv", [(1, 4, 6, 5), (6, 2, 3, 2)], group=2, strides=[2, 1], pads=[1, 0, 1, 1]),
    "up": node("ConvTranspose", [(1, 3, 5), (3, 4, 3), (4,)], strides=[2], pads=[1, 0]),
    "up_grouped": node("ConvTranspose", [(1, 4, 3, 4), (4, 3, 2, 3)], group=2, strides=[1, 2], output_padding=[0, 1]),
    "lstm": node("LSTM", [(5, 1, 3), (1, 24, 3), (1, 24, 6), (1, 48)], outputs=3, hidden_size=6),
    "lstm_peepholes": node("LSTM", [(5, 2, 3), weights(1, 24, 3), weights(1, 24, 6), weights(1, 48), ints([3, 5], np.int32), None, None, weights(1, 18)], outputs=3, hidden_size=6),
    "gru": node("GRU", [(4, 1, 3), (2, 18, 3), (2, 18, 6), (2, 36)], outputs=2, hidden_size=6, direction="bidirectional"),
    "gru_linear": node("GRU", [(4, 1, 3), (1, 18, 3), (1, 18, 6), (1, 36)], outputs=2, hidden_size=6, linear_before_reset=1),
    "gru_batch_first": node("GRU", [(2, 4, 3), weights(1, 18, 3), weights(1, 18, 6)], outputs=2, hidden_size=6, layout=1),
    "batch_norm": node("BatchNormalization", [(1, 3, 5), (3,), (3,), (3,), np.abs(weights(3)) + 0.5]),
    "group_norm": node("GroupNormalization", [(1, 6, 5), (6,), (6,)], opset=21, num_groups=2),
    "instance_norm": node("InstanceNormalization", [(1, 4, 6, 5), (4,), (4,)]),
    "layer_norm_outputs": node("LayerNormalization", [(3, 40), (40,), (40,)], outputs=3),
}  # fmt: skip
SAMPLING = {  # between elements, and by operators that ONNX defines by others
    "grid": node("GridSample", [(1, 2, 5, 6), (1, 3, 4, 2)], opset=20),
    "grid_cubic": node("GridSample", [(1, 2, 5, 6), (1, 3, 4, 2)], opset=20, mode="cubic", padding_mode="border", align_corners=1),
    "grid_reflected": node("GridSample", [(1, 2, 5, 6), (1, 3, 4, 2)], opset=20, padding_mode="reflection"),
    "grid_volume": node("GridSample", [(1, 2, 3, 5, 4), (1, 2, 3, 2, 3)], opset=20),
    "deformable": node("DeformConv", [(1, 4, 6, 6), weights(4, 2, 3, 3), (1, 36, 4, 4), weights(4), (1, 18, 4, 4)], opset=19, group=2, offset_group=2),
    "regions": node("RoiAlign", [(2, 3, 8, 8), ints([[0.5, 1, 5, 6], [2, 0, 7, 3.5]], np.float32), ints([0, 1])], output_height=2, output_width=3, sampling_ratio=2),
    "resize_cubic": node("Resize", [(1, 1, 6, 5), None, ints([1, 1, 1.7, 0.6], np.float32)], mode="cubic"),
    "resize_antialias": node("Resize", [(1, 1, 9, 8), None, ints([1, 1, 0.4, 0.6], np.float32)], opset=18, mode="linear", antialias=1),
    "resize_region": node("Resize", [(1, 1, 6, 5), ints([0, 0, 0.4, -0.2, 1, 1, 0.9, 0.8], np.float32), None, ints([1, 1, 3, 4])], mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=2.0),
    "resize_aspect": node("Resize", [(1, 1, 6, 5), None, None, ints([9, 9])], opset=18, mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
    "fourier": node("DFT", [(2, 7, 1), None, ints(1)], opset=20), "fourier_half": node("DFT", [(2, 8, 3, 1)], onesided=1),
    "fourier_back": node("DFT", [(2, 5, 2), None, ints(1)], opset=20, inverse=1, onesided=1),
    "short_time": node("STFT", [(1, 32, 1), ints(8), weights(16)]), "columns": node("Col2Im", [(1, 8, 12), ints([5, 4]), ints([2, 2])], opset=18),
    "lp_pool": node("LpPool", [(1, 2, 9)], opset=18, kernel_shape=[3], strides=[2], pads=[1, 1], p=3),
    "max_places": node("MaxPool", [(2, 2, 5, 6)], outputs=2, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1]),
    "attention": node("Attention", [(1, 2, 5, 4), (1, 2, 6, 4), (1, 2, 6, 4)], opset=23, is_causal=1),
    "rotary": node("RotaryEmbedding", [(1, 2, 3, 8), weights(5, 4), weights(5, 4), ints([[0, 2, 4]])], opset=23),
    "reversed": node("ReverseSequence", [(4, 2, 3), ints([2, 4])], time_axis=0, batch_axis=1),
    "cache": node("TensorScatter", [(2, 5, 3), (2, 2, 3), ints([1, 4])], opset=24, mode="circular"),
}  # fmt: skip
GROUPS = {
    "convolutions": CONVOLUTIONS, "dense": DENSE, "reductions": REDUCTIONS, "pools": POOLS, "moves": MOVES, "selections": SELECTIONS,
    "layers": LAYERS, "elementwise": ELEMENTWISE, "event_weights": EVENT_WEIGHTS, "sampling": SAMPLING,
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_operators_agree_with_float64_and_between_modes(group, check, case_of) -> None:
    rng = np.random.default_rng(2)
    cases = {}
    for name, (model, shapes) in GROUPS[group].items():
        names = [one.name for one in model.graph.input]
        level = 1.0 if group == "reductions" else 0.0  # sums that cancel have no digits to compare
        events = {
            n: (rng.normal(size=(40, *s)) + level).astype(np.float32)
            for n, s in zip(names, shapes, strict=True)
        }
        cases[name] = case_of(model, events)
    check(cases)


def test_quantised_network_rounds_like_the_reference(check, case_of) -> None:
    kernel = RNG.integers(-127, 128, (6, 3, 3)).astype(np.int8)
    scales = np.linspace(0.005, 0.02, 6).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "a", "za"], ["qx"]),
        helper.make_node("DequantizeLinear", ["qx", "a", "za"], ["dx"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["dw"], axis=0),
        helper.make_node("Conv", ["dx", "dw"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "b", "zb"], ["qr"]),
        helper.make_node("DequantizeLinear", ["qr", "b", "zb"], ["y"]),
    ]
    constants = {
        "a": np.float32(0.03), "za": np.uint8(128), "w": kernel, "sw": scales, "zw": np.zeros(6, np.int8), "b": np.float32(0.1), "zb": np.uint8(0),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 20))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 6, 18))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    events = {"x": np.random.default_rng(1).normal(size=(40, 1, 3, 20)).astype(np.float32)}
    check({"quantised": case_of(model, events)})


INDICES = {
    "gather": ("Gather", (5, 7), (3, 2), {"axis": 1}),
    "gather_rows": ("Gather", (5, 40), (6,), {"axis": 0}),
    "elements": ("GatherElements", (5, 7), (3, 7), {"axis": 0}),
    "tuples": ("GatherND", (4, 5, 6), (3, 2), {}),
    "tuples_of_batch": ("GatherND", (3, 5, 6), (3, 4, 1), {"batch_dims": 1}),
}


def test_gathers_with_indices_from_the_event(check, case_of) -> None:
    """Negative indices count from the end."""
    rng, cases = np.random.default_rng(4), {}
    for name, (kind, shape, places, attributes) in INDICES.items():
        nodes = [
            helper.make_node("Cast", ["i"], ["places"], to=TensorProto.INT64),
            helper.make_node(kind, ["x", "places"], ["y"], **attributes),
        ]
        inputs = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("i", places))
        ]
        graph = helper.make_graph(
            nodes, name, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        least = min(shape)
        events = {"x": rng.normal(size=(40, *shape)), "i": rng.integers(-least, least, (40, *places))}
        cases[name] = case_of(model, {n: v.astype(np.float32) for n, v in events.items()})
    check(cases)


def test_top_k_is_stable(check, case_of) -> None:
    model, shapes = node("TopK", [(4, 12), ints([7])], outputs=2)
    events = np.random.default_rng(1).integers(0, 4, (40, *shapes[0])).astype(np.float32)
    check({"ties": case_of(model, {"x0": events})})


@pytest.mark.slow  # portable code rounds multiply-adds in software: about a minute
@pytest.mark.parametrize("target", OTHER_TARGETS, ids=lambda target: target.name)
def test_other_instruction_sets_agree_with_float64_and_between_modes(target, check, case_of) -> None:
    rng, cases = np.random.default_rng(2), {}
    candidates = {**CONVOLUTIONS, **DENSE, **REDUCTIONS}
    for name in sorted(candidates)[::3]:
        model, shapes = candidates[name]
        events = {
            one.name: rng.normal(size=(40, *s)).astype(np.float32)
            for one, s in zip(model.graph.input, shapes, strict=True)
        }
        cases[name] = case_of(model, events)
    check(cases, target=target, optimise="-O3" if target.name == "avx2" else "-O1")


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_sanitizers_find_no_access_outside_of_arrays(group, sanitize, case_of) -> None:
    rng, cases = np.random.default_rng(2), {}
    for name, (model, shapes) in GROUPS[group].items():
        names = [one.name for one in model.graph.input]
        cases[name] = case_of(model, {n: rng.normal(size=(1, *s)).astype(np.float32) for n, s in zip(names, shapes, strict=True)})  # fmt: skip
    report = sanitize(cases)
    assert not report, report[:3000]
