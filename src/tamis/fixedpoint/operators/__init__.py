"""ONNX operators as steps of a program, one function each."""

from tamis.fixedpoint.operators.elementwise import ELEMENTWISE_OPERATORS
from tamis.fixedpoint.operators.matrices import MATRIX_OPERATORS
from tamis.fixedpoint.operators.moving import MOVING_OPERATORS
from tamis.fixedpoint.operators.operands import Inexact, Operands
from tamis.fixedpoint.operators.trees import TREE_STEPS

OPERATORS = ELEMENTWISE_OPERATORS | MATRIX_OPERATORS | MOVING_OPERATORS | TREE_STEPS

__all__ = ["OPERATORS", "Inexact", "Operands"]
