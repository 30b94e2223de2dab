"""ONNX operators as steps of a program, one function each."""

from tamis.fixedpoint.operators.elementwise import ELEMENTWISE
from tamis.fixedpoint.operators.matrices import MATRICES
from tamis.fixedpoint.operators.moving import MOVING
from tamis.fixedpoint.operators.operands import Inexact, Operands
from tamis.fixedpoint.operators.trees import TREES

OPERATORS = ELEMENTWISE | MATRICES | MOVING | TREES

__all__ = ["OPERATORS", "Inexact", "Operands"]
