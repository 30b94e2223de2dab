"""ONNX operators as steps of a program, one function each."""

from tamis.fixedpoint.operators.einsum import EINSUM_OPERATORS
from tamis.fixedpoint.operators.elementwise import ELEMENTWISE_OPERATORS, wrapped
from tamis.fixedpoint.operators.matrices import MATRIX_OPERATORS
from tamis.fixedpoint.operators.moving import MOVING_OPERATORS
from tamis.fixedpoint.operators.operands import Inexact, Operands
from tamis.fixedpoint.operators.saturation import Choices
from tamis.fixedpoint.operators.trees import FOREST_OPERATORS

TRANSLATIONS = (
    ELEMENTWISE_OPERATORS | MATRIX_OPERATORS | EINSUM_OPERATORS | MOVING_OPERATORS | FOREST_OPERATORS
)

__all__ = ["TRANSLATIONS", "Choices", "Inexact", "Operands", "wrapped"]
