"""Integers and float16 have the values that their types allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from tamis.native import Ways
from tamis.native.build import build
from tamis.native.call import open_kernel

ONE_WAY = Ways(wide=(), narrow=(1,))


def _run(nodes: Sequence[NodeProto], types: Sequence[type], *arrays: np.ndarray) -> Sequence[np.ndarray]:
    """Return the outputs of nodes that read the inputs x0, x1, ...; `types` are those of the outputs."""
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(one)) for one in (*(a.dtype for a in arrays), *types)]
    names = [f"x{number}" for number in range(len(arrays))]
    infos = [
        helper.make_tensor_value_info(name, kind, array.shape)
        for name, kind, array in zip(names, kinds, arrays, strict=False)
    ]
    results = [
        helper.make_tensor_value_info(node.output[0], kind, None)
        for node, kind in zip(nodes, kinds[len(arrays) :], strict=True)
    ]
    graph = helper.make_graph(nodes, "g", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    event = dict(zip(names, arrays, strict=True))
    built = build(model.SerializeToString(), event, ways=ONE_WAY)
    return open_kernel(built, batched=False)(arrays)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_sums_and_products_wrap_around(dtype) -> None:
    bounds = np.iinfo(dtype)
    numbers = np.linspace(bounds.min, bounds.max, 23).astype(dtype)
    left, right = (one.ravel() for one in np.meshgrid(numbers, numbers))
    functions = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
    nodes = [helper.make_node(kind, ["x0", "x1"], [kind]) for kind in functions]
    nodes += [helper.make_node("Cast", [kind], [f"{kind}_float"], to=TensorProto.FLOAT) for kind in functions]
    found = _run(nodes, [dtype] * 3 + [np.float32] * 3, left, right)
    for number, (kind, function) in enumerate(functions.items()):
        result, later = found[number], found[number + 3]  # what operators that follow read
        assert result.dtype == dtype
        assert np.array_equal(result, function(left, right)), kind
        assert np.array_equal(later, function(left, right).astype(np.float32)), kind


def test_casts_to_fewer_bits_keep_the_lowest() -> None:
    numbers = np.array([0, 127, 128, 255, 256, 300, -1, -129, 70000, -70000])
    types = [np.uint8, np.int8, np.uint16, np.int16]
    nodes = [
        helper.make_node("Cast", ["x0"], [one.__name__], to=helper.np_dtype_to_tensor_dtype(np.dtype(one)))
        for one in types
    ]
    names = [one.__name__ for one in types]
    nodes += [helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT) for name in names]
    found = _run(nodes, [*types, *[np.float32] * 4], numbers)
    for number, dtype in enumerate(types):
        assert np.array_equal(found[number], numbers.astype(dtype)), dtype
        assert np.array_equal(found[number + 4], numbers.astype(dtype).astype(np.float32)), dtype


def test_bits_of_signed_integers() -> None:
    left, right = np.random.default_rng(1).integers(-30_000, 30_000, (2, 40)).astype(np.int32)
    functions = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}
    found = _run(
        [helper.make_node(kind, ["x0", "x1"], [kind]) for kind in functions], [np.int32] * 3, left, right
    )
    for kind, result in zip(functions, found, strict=True):
        assert np.array_equal(result, functions[kind](left, right)), kind


def test_bits_of_unsigned_integers() -> None:
    numbers, counts = np.arange(0, 256, 5, dtype=np.uint8), np.arange(52, dtype=np.uint8) % 8
    nodes = [
        helper.make_node("BitShift", ["x0", "x1"], ["left"], direction="LEFT"),
        helper.make_node("BitShift", ["x0", "x1"], ["right"], direction="RIGHT"),
        helper.make_node("BitwiseNot", ["x0"], ["not"]),
    ]
    left, right, opposite = _run(nodes, [np.uint8] * 3, numbers, counts)
    assert np.array_equal(left, numbers << counts)
    assert np.array_equal(right, numbers >> counts)
    assert np.array_equal(opposite, ~numbers)


def test_float16_is_rounded_to_the_nearest() -> None:
    rng = np.random.default_rng(2)
    numbers = (rng.normal(size=4000) * 10.0 ** rng.integers(-9, 6, 4000)).astype(np.float32)
    ties = (np.arange(1, 200, dtype=np.float32) + 0.5) * np.float32(2.0**-24)  # of subnormal numbers
    special = [np.nan, np.inf, -np.inf, 65504, 65519.996, 65520, -0.0, 2049, 2051, 1e-8, -3e-8]
    numbers = np.concatenate([numbers, ties, -ties, np.array(special, np.float32)])
    nodes = [
        helper.make_node("Cast", ["x0"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], ["single"], to=TensorProto.FLOAT),
    ]
    with np.errstate(over="ignore"):
        expected = numbers.astype(np.float16)
    half, single = _run(nodes, [np.float16, np.float32], numbers)
    assert half.dtype == np.float16
    assert np.array_equal(half, expected, equal_nan=True)
    assert np.array_equal(single, expected.astype(np.float32), equal_nan=True)
    assert np.array_equal(np.signbit(single), np.signbit(expected))


def test_inputs_may_be_float16() -> None:
    numbers = np.array([[0.5, 1.5, -2.5, 3.25, 65504]], np.float16)
    (found,) = _run([helper.make_node("Round", ["x0"], ["y"])], [np.float16], numbers)
    assert found.dtype == np.float16
    assert np.array_equal(found, np.round(numbers))
