"""Random graphs of supported operators: close to float64, bit-identical in every mode."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

MOST_ELEMENTS = 4096  # of a tensor


class RandomGraph:
    """A graph while it is drawn: each step adds a tensor that is computed from earlier ones."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 1000)))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
        self.shapes: dict[str, tuple[int, ...]] = {"x": shape}
        self.last = "x"

    def constant(self, values: np.ndarray) -> str:
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(values, f"c{len(self.constants)}"))
        return self.constants[-1].name

    def weights(self, *shape: int) -> str:
        """Add weights."""
        scale = 1.0 / np.sqrt(max(1, np.prod(shape[1:])))
        return self.constant((self.rng.normal(size=shape) * scale).astype(np.float32))

    def add(
        self, kind: str, inputs: list[str], shape: tuple[int, ...], outputs: int = 1, **attributes: object
    ) -> str:
        """Add a node; return its first output."""
        name = f"t{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        self.shapes[name] = tuple(int(n) for n in shape)
        return name

    def one_of(self, values: object) -> object:
        """Draw one of some values."""
        return self.draw(st.sampled_from(list(values)))  # type: ignore[call-overload]


def elementwise(g: RandomGraph, x: str) -> str:
    return g.add(
        g.one_of(["Relu", "Tanh", "Sigmoid", "Abs", "Neg", "Softplus", "Erf", "HardSigmoid"]),
        [x],
        g.shapes[x],
    )


def arithmetic(g: RandomGraph, x: str) -> str:
    shape = g.shapes[x]
    other = [size if g.draw(st.booleans()) else 1 for size in shape]
    kind = g.one_of(["Add", "Sub", "Mul", "Max", "Min"])
    return g.add(kind, [x, g.weights(*other)], shape)


def with_another(g: RandomGraph, x: str) -> str:
    """Combine with another tensor that broadcasts, if there is one, else with itself."""
    shape = g.shapes[x]
    for name, other in reversed(g.shapes.items()):
        if (
            name != x
            and len(other) <= len(shape)
            and all(b in (a, 1) for a, b in zip(shape[::-1], other[::-1], strict=False))
        ):
            return g.add(g.one_of(["Add", "Mul", "Sub"]), [x, name], shape)
    return g.add("Add", [x, x], shape)


def transpose(g: RandomGraph, x: str) -> str:
    order = g.draw(st.permutations(range(len(g.shapes[x]))))
    return g.add("Transpose", [x], tuple(g.shapes[x][i] for i in order), perm=order)


def slice_axis(g: RandomGraph, x: str) -> str:
    shape = g.shapes[x]
    axis = g.draw(st.integers(0, len(shape) - 1))
    places = range(shape[axis])
    start, step = g.draw(st.integers(0, shape[axis] - 1)), g.one_of([1, 2, 3, -1, -2])
    end = -(10**9) if step < 0 else 10**9
    count = len(places[start:None:step])
    inputs = [x, *(g.constant(np.array([n], np.int64)) for n in (start, end, axis, step))]
    return g.add("Slice", inputs, (*shape[:axis], count, *shape[axis + 1 :]))


def concat(g: RandomGraph, x: str) -> str:
    shape = g.shapes[x]
    axis = g.draw(st.integers(0, len(shape) - 1))
    extra = (*shape[:axis], 2, *shape[axis + 1 :])
    total = (*shape[:axis], 2 * shape[axis] + 2, *shape[axis + 1 :])
    return (
        x if np.prod(total) > MOST_ELEMENTS else g.add("Concat", [x, g.weights(*extra), x], total, axis=axis)
    )


def flatten(g: RandomGraph, x: str) -> str:
    size = int(np.prod(g.shapes[x]))
    rows = max(n for n in range(1, 9) if size % n == 0)
    return g.add("Reshape", [x, g.constant(np.array([rows, -1], np.int64))], (rows, size // rows))


def reduction(g: RandomGraph, x: str) -> str:
    shape = g.shapes[x]
    axis = g.draw(st.integers(0, len(shape) - 1))
    kind = g.one_of(["ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp"])
    return g.add(kind, [x], (*shape[:axis], 1, *shape[axis + 1 :]), axes=[axis], keepdims=1)


def softmax(g: RandomGraph, x: str) -> str:
    return g.add("Softmax", [x], g.shapes[x], axis=g.draw(st.integers(0, len(g.shapes[x]) - 1)))


def dense(g: RandomGraph, x: str) -> str:
    shape, outputs = g.shapes[x], g.one_of([1, 3, 16, 21])
    if np.prod(shape[:-1]) * outputs > MOST_ELEMENTS:
        return x
    return g.add("MatMul", [x, g.constant((g.rng.normal(size=(shape[-1], outputs)) / np.sqrt(shape[-1])).astype(np.float32))], (*shape[:-1], outputs))  # fmt: skip


def as_sequence(g: RandomGraph, x: str, rank: int) -> str:
    """Reshape a tensor to (1, channels, *places)."""
    size = int(np.prod(g.shapes[x]))
    channels = max(n for n in range(1, 7) if size % n == 0)
    places = (size // channels,) if rank == 1 else (1, size // channels)
    return g.add(
        "Reshape", [x, g.constant(np.array([1, channels, *places], np.int64))], (1, channels, *places)
    )


def convolution(g: RandomGraph, x: str) -> str:
    x = as_sequence(g, x, 1)
    _, channels, places = g.shapes[x]
    kernel, stride, outputs = g.one_of([1, 2, 3]), g.one_of([1, 2]), g.one_of([1, 4, 18])
    low, high = g.one_of([0, 1]), g.one_of([0, 2])
    count = (places + low + high - kernel) // stride + 1
    if count < 1 or count * outputs > MOST_ELEMENTS:
        return x
    weights = [g.weights(outputs, channels, kernel), g.weights(outputs)]
    return g.add("Conv", [x, *weights], (1, outputs, count), pads=[low, high], strides=[stride])


def pooling(g: RandomGraph, x: str) -> str:
    x = as_sequence(g, x, 1)
    _, channels, places = g.shapes[x]
    kernel, stride = g.one_of([2, 3]), g.one_of([1, 2])
    if places < kernel:
        return x
    kind = g.one_of(["MaxPool", "AveragePool"])
    return g.add(
        kind, [x], (1, channels, (places - kernel) // stride + 1), kernel_shape=[kernel], strides=[stride]
    )


def recurrent(g: RandomGraph, x: str) -> str:
    x = as_sequence(g, x, 1)
    _, size, steps = g.shapes[x]
    if steps > 40:
        return x
    x = g.add("Transpose", [x], (steps, 1, size), perm=[2, 0, 1])
    hidden, kind = g.one_of([2, 5, 17]), g.one_of(["GRU", "LSTM"])
    gates = hidden * (3 if kind == "GRU" else 4)
    inputs = [x, g.weights(1, gates, size), g.weights(1, gates, hidden), g.weights(1, 2 * gates)]
    return g.add(kind, inputs, (steps, 1, 1, hidden), hidden_size=hidden)


def normalisation(g: RandomGraph, x: str) -> str:
    size = g.shapes[x][-1]
    return g.add("LayerNormalization", [x, g.weights(size), g.weights(size)], g.shapes[x], epsilon=1e-2)


STEPS = (elementwise, arithmetic, with_another, transpose, slice_axis, concat, flatten, reduction, softmax, dense, convolution, pooling, recurrent, normalisation)  # fmt: skip


@st.composite
def graphs(draw: st.DrawFn) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Draw a model of a few operators; its last two tensors are its outputs."""
    g = RandomGraph(draw)
    last = "x"
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=7)):
        last = step(g, last)
    if not g.nodes:
        last = elementwise(g, last)
    outputs = list(dict.fromkeys([last, g.nodes[len(g.nodes) // 2].output[0]]))
    graph = helper.make_graph(
        g.nodes, "random", [helper.make_tensor_value_info("x", TensorProto.FLOAT, g.shapes["x"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], g.constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), g.shapes["x"]


@pytest.mark.slow
@settings(
    max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(drawn=graphs())
def test_random_graphs(drawn, case_of, problems_of) -> None:
    model, shape = drawn
    events = np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        problems = problems_of({"graph": case_of(model, {"x": events}, 1e-5)}, Path(folder))
    assert not problems, problems
