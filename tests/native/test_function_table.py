"""The table of scalar functions says what the C header has: the same names, with as many arguments."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import TensorProto, helper

from tamis.native import compile_model
from tamis.native.expression import Call, Load, cost
from tamis.native.functions import FUNCTIONS
from tamis.native.lowering.operators.elementwise import FUNCTION_OF_OPERATOR
from tamis.native.view import Buffer, View

DEFINITION = re.compile(r"\bV f_(\w+)\(([^)]*)\) *\{")
BY_MACRO = re.compile(r"^[A-Z_]+\(f_(\w+),", re.MULTILINE)  # of one argument, lane by lane


@pytest.fixture(scope="module")
def arities() -> dict[str, int]:
    """Return the number of arguments of each function that generated code begins with."""
    tensors = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", *([one] for one in tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    code = compile_model(model, {"x": np.zeros((1, 1), np.float32)}).module.code
    defined = {name: parameters.count("V ") for name, parameters in DEFINITION.findall(code)}
    return defined | dict.fromkeys(BY_MACRO.findall(code), 1)


def test_the_table_and_the_header_have_the_same_functions(arities) -> None:
    assert arities == {name: function.arity for name, function in FUNCTIONS.items()}


def test_every_elementwise_operator_maps_to_a_function() -> None:
    assert set(FUNCTION_OF_OPERATOR.values()) <= set(FUNCTIONS)


def test_the_cost_of_an_expression_counts_equal_operands_once() -> None:
    x = Load(View.whole(Buffer("x", 4), (4,)))
    exponential = Call("exp", (x,), (4,))
    square = Call("mul", (exponential, exponential), (4,))
    assert cost(square) == FUNCTIONS["exp"].cost + FUNCTIONS["mul"].cost


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_a_cost_and_an_accuracy(name) -> None:
    function = FUNCTIONS[name]
    assert function.name == name
    assert function.cost >= 1
    assert 0.0 <= function.ulp <= 5.0
