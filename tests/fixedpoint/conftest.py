"""Quantised graphs in ONNX's text form, as `quantised(name)`; QUANTISE is the chain that makes fixed-point numbers."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import parse

ROUNDINGS = {"TRN": "{0}_i = Floor ({0}_s)", "RND_CONV": "{0}_i = Round ({0}_s)"}


def quantise(
    source: str, result: str, *, fraction: int, low: int, high: int, rounding: str = "RND_CONV"
) -> str:
    """Return nodes that make fixed-point numbers of a tensor."""
    if rounding == "RND":  # only for tensors that are on a grid already
        rounded = f"half_{result} = Constant <value_float = 0.5> () {result}_h = Add ({result}_s, half_{result}) {result}_i = Floor ({result}_h)"
    else:
        rounded = ROUNDINGS[rounding].format(result)
    return f"""
    {result}_f = Constant <value_float = {2.0**fraction}> ()
    {result}_g = Constant <value_float = {2.0**-fraction}> ()
    {result}_l = Constant <value_float = {float(low)}> ()
    {result}_u = Constant <value_float = {float(high)}> ()
    {result}_s = Mul ({source}, {result}_f)
    {rounded}
    {result}_c = Clip ({result}_i, {result}_l, {result}_u)
    {result} = Mul ({result}_c, {result}_g)"""


INPUT = quantise("x", "q", fraction=4, low=-128, high=127)
VECTOR = "m (float[N, 8] x) => (float[N, {0}] y) {{" + INPUT.replace("{", "{{").replace("}", "}}")
HIDDEN = quantise("r", "h", fraction=3, low=0, high=63, rounding="RND")

# Name: the graph, and the shapes of its weights, which `quantised` makes multiples of 1/16 (or of 2^-n, one n per channel).
GRAPHS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "dense": (
        VECTOR.format(3)
        + f"d = Gemm (q, w1, b1) r = Relu (d) {HIDDEN} z = MatMul (h, w2) y = Add (z, b2) }}",
        {"w1": (8, 6), "b1": (6,), "w2": (6, 3), "b2": (3,)},
    ),
    "truncated": (
        "m (float[N, 8] x) => (float[N, 6] y) {"
        + quantise("x", "q", fraction=2, low=-32, high=31, rounding="TRN")
        + "y = MatMul (q, w1) }",
        {"w1": (8, 6)},
    ),
    "softmax": (
        VECTOR.format(4) + "d = Gemm <transB = 1> (q, w1, b1) y = Softmax <axis = 1> (d) }",
        {"w1": (4, 8), "b1": (4,)},
    ),
    "residual": (
        VECTOR.format(8)
        + f"d = Gemm (q, w1, b1) r = Relu (d) {HIDDEN} e = MatMul (h, w2) s = Add (e, q) t = Sub (s, h) y = Max (t, q) }}",
        {"w1": (8, 8), "b1": (8,), "w2": (8, 8)},
    ),
    "branches": (
        VECTOR.format(9)
        + """a, b = Split <axis = 1> (q) m = Mul (a, b) n = Neg (a) c = Concat <axis = 1> (m, n, b)
        k = Constant <value_ints = [0, 8, 1, 4, 5, 2, 7, 3, 6]> () y = Gather <axis = 1> (c, k) }""",
        {},
    ),
    "rounded": (
        VECTOR.format(8)
        + "a = Abs (q) b = Ceil (a) c = Floor (q) d = Round (q) e = Sub (b, c) f = Min (e, d) y = LeakyRelu <alpha = 0.125> (f) }",
        {},
    ),
    "table": (
        VECTOR.format(8)
        + """eight = Constant <value_float = 8.0> () i = Floor (q) j = Add (i, eight) k = Cast <to = 7> (j)
        t = Constant <value_floats = [0.0, 0.5, -1.5, 2.0, 3.25, 1.0, 0.0, 7.0, 8.0, -8.0, 1.25, 0.75, 0.125, 4.0, 5.0, 6.0]> ()
        y = Gather (t, k) }""",
        {},
    ),
    "image": (
        "m (float[N, 2, 7, 6] x) => (float[N, 5] y) {"
        + INPUT
        + """c = Conv <kernel_shape = [3, 2], pads = [1, 0, 1, 1], strides = [2, 1]> (q, k1, c1) r = Relu (c)"""
        + HIDDEN
        + """p = MaxPool <kernel_shape = [2, 2], strides = [2, 2], pads = [0, 0, 1, 1]> (h)
        g = Conv <group = 2, kernel_shape = [1, 2], dilations = [1, 2], pads = [0, 1, 0, 1]> (p, k2)
        a = AveragePool <kernel_shape = [2, 1]> (g) f = Flatten (a) y = Gemm (f, w, b) }""",
        {"k1": (4, 2, 3, 2), "c1": (4,), "k2": (4, 2, 1, 2), "w": (12, 5), "b": (5,)},
    ),
    "sequence": (
        "m (float[N, 6, 3] x) => (float[N, 4] y) {"
        + INPUT
        + """t = Transpose <perm = [0, 2, 1]> (q) c = Conv <kernel_shape = [3], auto_pad = "SAME_UPPER"> (t, k1) r = Relu (c)"""
        + HIDDEN
        + """u = Transpose <perm = [0, 2, 1]> (h) v = MatMul (u, w) axes = Constant <value_ints = [1]> ()
        y = ReduceSum <keepdims = 0> (v, axes) }""",
        {"k1": (4, 3, 3), "w": (4, 4)},
    ),
    "pooled": (
        "m (float[N, 3, 4, 2] x) => (float[N, 6] y) {"
        + INPUT
        + """a = GlobalAveragePool (q) b = GlobalMaxPool (q) c = Concat <axis = 1> (a, b) y = Flatten (c) }""",
        {},
    ),
    "padded": (
        "m (float[N, 3, 4] x) => (float[N, 3, 7] y) {"
        + INPUT
        + """w = Constant <value_ints = [0, 0, 1, 0, 0, 2]> () v = Constant <value_float = -1.5> () y = Pad (q, w, v) }""",
        {},
    ),
    "squares": (
        VECTOR.format(1) + "d = MatMul (q, w1) y = ReduceSumSquare <axes = [1], keepdims = 1> (d) }",
        {"w1": (8, 3)},
    ),
    "integers": (
        "m (int16[N, 5] n) => (float[N, 2] y) { q = Cast <to = 1> (n) d = MatMul (q, w1) y = Add (d, b1) }",
        {"w1": (5, 2), "b1": (2,)},
    ),
    "wrapped": (
        """m (float[N, 8] x) => (float[N, 4] y) {
        s = Constant <value_float = 16.0> () o = Constant <value_float = 128.0> () k = Constant <value_float = 256.0> ()
        a = Mul (x, s) b = Floor (a) c = Add (b, o) d = Div (c, k) e = Floor (d) f = Mul (e, k) g = Sub (c, f) h = Sub (g, o) q = Div (h, s)
        t = MatMul (q, w1) p = Constant <value_float = 8.0> () m = Constant <value_float = 64.0> ()
        u = Mul (t, p) v = Floor (u) w = Div (v, m) z = Floor (w) r = Mul (m, z) y = Sub (v, r) }""",
        {"w1": (8, 4)},
    ),
    "offsets": (
        """m (float[N, 4] x) => (float[N, 4] y) {
        s = Constant <value_floats = [4.0, 8.0, 1.0, 0.5]> () o = Constant <value_floats = [3.0, -2.0, 0.0, 5.0]> ()
        l = Constant <value_floats = [-8.0, -4.0, 0.0, -1.0]> () h = Constant <value_floats = [7.0, 3.0, 15.0, 0.0]> ()
        a = Mul (x, s) b = Round (a) c = Sub (b, o) d = Max (c, l) e = Min (d, h) q = Div (e, s) z = Sub (q, q)
        k = Constant <value_ints = [1, 0, 1, 1]> () n = Cast <to = 9> (k) f = Add (q, z) w = Where (n, f, o) y = MatMul (w, w1) }""",
        {"w1": (4, 4)},
    ),
    "functions": (
        VECTOR.format(3)
        + "d = Gemm (q, w1, b1)"
        + quantise("d", "e", fraction=4, low=-128, high=127, rounding="RND")
        + "t = Tanh (e)"
        + quantise("t", "h", fraction=6, low=-64, high=63)
        + "s = Sigmoid (h)"
        + quantise("s", "k", fraction=5, low=0, high=31)
        + "y = MatMul (k, w2) }",
        {"w1": (8, 4), "b1": (4,), "w2": (4, 3)},
    ),
    "host on both sides": (
        "m (float[N, 8] x) => (float[N, 3] y, float[N, 8] z) { mean = Constant <value_float = 0.3> () std = Constant <value_float = 1.7> () a = Sub (x, mean) v = Div (a, std)"
        + INPUT.replace("Mul (x,", "Mul (v,")
        + "d = MatMul (q, w1) y = Sigmoid (d) z = Tanh (v) }",
        {"w1": (8, 3)},
    ),
}


def make_trees(mode: str, seed: int):
    """Return a quantised ensemble of twelve random trees of up to three levels, with two outputs."""
    from onnx import helper

    rng = np.random.default_rng(seed)
    nodes, targets = [], []
    for tree in range(12):
        for node in range(15):
            is_leaf = node >= 7 or (node > 2 and rng.random() < 0.2)
            inner = (rng.integers(8), rng.normal() * 4, mode, 2 * node + 1, 2 * node + 2)
            nodes.append((tree, node, *((0, 0.0, "LEAF", 0, 0) if is_leaf else inner)))
            if is_leaf:
                targets += [(tree, node, output, rng.integers(-9, 10) / 8) for output in range(2)]
    nodes = [
        node
        for node in nodes
        if node[1] < 7 or any(n[:2] == (node[0], (node[1] - 1) // 2) and n[4] != "LEAF" for n in nodes)
    ]
    kept = {node[:2] for node in nodes}
    targets = [target for target in targets if target[:2] in kept]
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    columns = {
        f"nodes_{name}": list(column) for name, column in zip(names, zip(*nodes, strict=True), strict=True)
    }
    columns |= {
        f"target_{name}": list(column)
        for name, column in zip(
            ("treeids", "nodeids", "ids", "weights"), zip(*targets, strict=True), strict=True
        )
    }
    columns = {
        name: [v.item() if isinstance(v, np.generic) else v for v in column]
        for name, column in columns.items()
    }
    model = parse("m (float[N, 8] x) => (float[N, 2] y) {" + INPUT + "y = Identity (q) }")
    del model.graph.node[-1]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["q"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=2,
        base_values=[0.5, -1.25],
        **columns,
    )
    model.graph.node.append(node)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


TREES = {f"trees {mode}": mode for mode in ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE")}
NAMES = [*GRAPHS, *TREES]


def make(name: str, seed: int = 0):
    """Return a quantised graph; its weights are small multiples of powers of two, a third of them zero."""
    if name in TREES:
        return make_trees(TREES[name], seed)
    text, shapes = GRAPHS[name]
    model = parse(text)
    rng = np.random.default_rng(seed)
    from onnx import numpy_helper

    for weight, shape in shapes.items():
        scale = 2.0 ** -rng.integers(1, 5, shape[-1])
        values = rng.integers(-7, 8, shape) * (rng.random(shape) > 1 / 3) * scale
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), weight))
    return model


def draw(model, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Return random inputs that saturate the quantisers now and then."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for value in model.graph.input:
        shape = (rows, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]))
        if value.type.tensor_type.elem_type == 1:
            arrays[value.name] = (rng.standard_normal(shape) * 4).astype(np.float32)
        else:
            arrays[value.name] = rng.integers(-(2**15), 2**15, shape).astype(np.int16)
    return arrays


@pytest.fixture(params=NAMES)
def graph(request):
    """Return every quantised graph."""
    return make(request.param)
