"""Each pass on a small model: the statements before and after it, and the results against float64 in every mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis.native import compile_model
from tamis.native.expression import Load, Number
from tamis.native.lowering import lower
from tamis.native.passes import (
    ForwardTemporaries,
    FuseFinish,
    FuseGate,
    FuseMultiplyAdd,
    HoistContractions,
    HoldProducts,
    PairReductions,
    SplitShortRows,
    Winograd,
)
from tamis.native.program import Contract, Loop, Map, Maps, Program, Reduce, ReduceBoth, Tiled
from tamis.native.specialise import specialise
from tamis.native.view import Buffer, Role, View

RNG = np.random.default_rng(5)


def constant(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def model_of(nodes, shape, constants, opset=17):
    """Return a model of nodes (operator, inputs, output, attributes) over the input x; its output is that of the last node."""
    protos = [helper.make_node(kind, inputs, [out], **more) for kind, inputs, out, more in nodes]
    graph = helper.make_graph(
        protos,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(protos[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


SHAPES = {
    "multiply": (1, 20), "gate": (1, 20), "gate_used_twice": (1, 20), "finish": (1, 3, 20), "border": (1, 16, 47), "upsampled": (1, 20, 30), "nearest": (1, 40, 3),
    "loop": (5, 1, 8), "windows": (1, 16, 34),
}  # fmt: skip
SIZES = np.array([1, 1, 2], np.float32)
MODELS = {
    "multiply": model_of([("Mul", ["x", "a"], "m", {}), ("Sub", ["m", "b"], "y", {})], (1, 20), {"a": constant(1, 20), "b": constant(1, 20)}),
    "gate": model_of([("Sigmoid", ["x"], "s", {}), ("Tanh", ["x"], "t", {}), ("Mul", ["t", "s"], "y", {})], (1, 20), {}),
    "gate_used_twice": model_of([("Sigmoid", ["x"], "s", {}), ("Tanh", ["x"], "t", {}), ("Mul", ["t", "s"], "m", {}), ("Add", ["m", "s"], "y", {})], (1, 20), {}),
    "finish": model_of([("Conv", ["x", "w"], "c", {}), ("Relu", ["c"], "y", {})], (1, 3, 20), {"w": constant(4, 3, 3)}),
    "border": model_of(
        [("Upsample", ["x", "s"], "u", {"mode": "nearest"}), ("Conv", ["u", "w"], "y", {"pads": [2, 2]})], (1, 16, 47), {"s": SIZES, "w": constant(2, 16, 3)}, 9,
    ),
    "upsampled": model_of([("Upsample", ["x", "s"], "y", {"mode": "nearest"})], (1, 20, 30), {"s": SIZES}, 9),
    "nearest": model_of(
        [
            ("Unsqueeze", ["x", "one"], "rows", {}), ("Sub", ["x", "c"], "moved", {}), ("Unsqueeze", ["moved", "two"], "columns", {}),
            ("Sub", ["rows", "columns"], "d", {}), ("Mul", ["d", "d"], "q", {}), ("ReduceSum", ["q", "last"], "t", {"keepdims": 0}),
            ("ReduceMin", ["t"], "a", {"axes": [2], "keepdims": 0}), ("ReduceMin", ["t"], "b", {"axes": [1], "keepdims": 0}),
            ("Concat", ["a", "b"], "y", {"axis": 1}),
        ],
        (1, 40, 3), {"one": np.array([2]), "two": np.array([1]), "last": np.array([3]), "c": constant(1, 40, 3)},
    ),
    "loop": model_of([("GRU", ["x", "w", "r"], "y", {"hidden_size": 6})], (5, 1, 8), {"w": constant(1, 18, 8), "r": constant(1, 18, 6)}),
    "windows": model_of([("Conv", ["x", "w", "b"], "c", {}), ("Relu", ["c"], "y", {})], (1, 16, 34), {"w": constant(20, 16, 3), "b": constant(20)}),
}  # fmt: skip


@pytest.fixture
def lowered():
    """Return a function that gives a model's program before all passes."""

    def program(name: str) -> Program:
        return lower(specialise(MODELS[name], {"x": np.zeros(SHAPES[name], np.float32)}))

    return program


def kinds(program: Program) -> list[str]:
    return [type(one).__name__ for one in program.statements]


def function(program: Program) -> str:
    (statement,) = program.statements
    return statement.value.function


def test_product_and_difference_become_one_instruction(lowered) -> None:
    before = lowered("multiply")
    assert function(before) == "sub"
    assert function(FuseMultiplyAdd()(before)) == "fms"


def test_activation_is_applied_before_sums_are_stored(lowered) -> None:
    before = lowered("finish")
    assert kinds(before)[-2:] == ["Contract", "Map"]
    after = FuseFinish()(before)
    assert kinds(after)[-1] == "Contract"
    assert after.statements[-1].finish is not None


def test_sigmoid_times_tanh_becomes_one_function(lowered) -> None:
    assert function(lowered("gate")) == "mul"
    assert function(FuseGate()(lowered("gate"))) == "gate"
    assert "'gate'" not in str(FuseGate()(lowered("gate_used_twice")).statements)


def test_temporary_is_forwarded_into_its_reader(lowered) -> None:
    before = lowered("border")
    after = ForwardTemporaries()(before)
    assert kinds(after).count("Map") == kinds(before).count("Map") - 1


def test_temporary_is_not_forwarded_over_elements_that_it_reads() -> None:
    y, t = Buffer("y", 20, Role.OUTPUT), Buffer("t", 19)
    whole, between = View.whole(y, (20,)), View.whole(t, (19,))
    statements = [
        Map(Number(1.0, (20,)), whole),
        Map(Load(whole.slice(0, 1, 19)), between),
        Map(Load(between), whole.slice(0, 0, 19)),
    ]
    assert kinds(ForwardTemporaries()(Program(outputs=[y], statements=statements))) == ["Map", "Map", "Map"]


def test_short_rows_are_split_by_columns(lowered) -> None:
    before = lowered("upsampled")
    (rows,) = [one for one in before.statements if isinstance(one, Map) and one.out.shape[-1] == 2]
    after = SplitShortRows()(before)
    (columns,) = [one for one in after.statements if isinstance(one, Maps)]
    assert columns.values[0] == columns.values[1]
    assert rows.out.elements == sum(out.elements for out in columns.outs)


def test_reductions_by_rows_and_columns_are_joined(lowered) -> None:
    before = FuseMultiplyAdd()(lowered("nearest"))
    assert sum(isinstance(one, Reduce) and one.kind == "min" for one in before.statements) == 2
    after = PairReductions()(before)
    assert kinds(after).count("ReduceBoth") == 1
    assert not any(isinstance(one, Reduce) and one.kind == "min" for one in after.statements)


def test_two_reductions_by_rows_are_not_joined(lowered) -> None:
    before = FuseMultiplyAdd()(lowered("nearest"))
    last = next(i for i, one in enumerate(before.statements) if isinstance(one, Reduce) and one.kind == "min")
    twice = [*before.statements[: last + 1], before.statements[last]]
    mixed = replace(before, outputs=[], statements=twice)
    assert "ReduceBoth" not in kinds(PairReductions()(mixed))


def test_contractions_of_the_input_move_before_the_loop(lowered) -> None:
    before = lowered("loop")
    after = HoistContractions()(before)
    contracts = [
        sum(isinstance(one, Contract) for loop in program.statements if isinstance(loop, Loop) for one in loop.body)
        for program in (before, after)
    ]  # fmt: skip
    assert contracts == [4, 2]  # of the input and of the state, each for two gates and for the third
    assert any(isinstance(one, Contract) for one in after.statements)


def test_convolution_becomes_tiles_whose_products_stay_in_registers(lowered) -> None:
    before = FuseFinish()(lowered("windows"))
    tiled = Winograd()(before)
    assert kinds(tiled) == ["Maps", "Contract", "Maps"]
    assert tiled.statements[1].weights.shape == (6, 16, 20)
    by_place = Winograd(by_place=True)(before)
    held = HoldProducts()(by_place)
    assert kinds(held) == ["Maps", "Tiled"]
    assert isinstance(held.statements[1], Tiled)
    assert held.statements[1].weights.shape == (6, 1, 16, 20)
    assert kinds(HoldProducts()(tiled)) == kinds(tiled)  # in the layout of narrow mode


def test_results_agree_with_float64_in_every_mode(check, case_of) -> None:
    rng = np.random.default_rng(9)
    check(
        {
            name: case_of(model, {"x": rng.normal(size=(40, *SHAPES[name])).astype(np.float32)})
            for name, model in MODELS.items()
        }
    )


def test_compiled_programs_have_passed_the_pipeline() -> None:
    compiled = compile_model(MODELS["nearest"], {"x": np.zeros(SHAPES["nearest"], np.float32)})
    for program in (compiled.wide, compiled.narrow):
        assert any(isinstance(one, ReduceBoth) for one in program.statements)


def test_a_contraction_of_one_channel_is_not_split(parse_model):
    model = parse_model(
        """one (float[N, 1, 5] x) => (float[N, 4, 5] y) {
            a = Neg (x)
            y = Conv <kernel_shape = [1]> (a, w)
        }""",
        w=(4, 1, 1),
    )
    program = compile_model(model, {"x": np.zeros((1, 1, 5), np.float32)}).narrow
    assert [one.positions for one in program.statements if isinstance(one, Contract)] == [(5,)]


def test_a_single_element_that_is_selected_has_no_axes() -> None:
    graph = helper.make_graph(
        [helper.make_node("ArgMax", ["x"], ["i"], keepdims=0), helper.make_node("Gather", ["x", "i"], ["y"])],
        "selected",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (5,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    compiled = compile_model(model, {"x": np.arange(5, dtype=np.float32)})
    assert "Pick" in kinds(compiled.narrow)
