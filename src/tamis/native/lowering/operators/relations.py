"""Products with constant matrices of ones and zeros, such as the relation matrices of interaction networks: gathers, and sums of parts."""

from __future__ import annotations

import numpy as np

from tamis.native.expression import Expression
from tamis.native.lowering.context import Context
from tamis.native.lowering.operators.reduction import reduce
from tamis.native.lowering.operators.selection import take
from tamis.native.sizes import is_fixed


def related(context: Context, value: Expression, axis: int, matrix: np.ndarray) -> Expression | None:
    """Return the product of an axis and a matrix, (old, new), with a single one in each column, or in each row and as many in all columns; None for others."""
    if not is_fixed(*value.shape) or not np.isin(matrix, (0, 1)).all() or matrix.size == 0:
        return None
    if (matrix.sum(axis=0) == 1).all():
        return take(context, value, axis, matrix.argmax(axis=0).tolist())
    each = matrix.shape[0] // matrix.shape[1]
    if (matrix.sum(axis=1) == 1).all() and (matrix.sum(axis=0) == each).all():
        order = np.argsort(matrix.argmax(axis=1), kind="stable")
        ordered = take(context, value, axis, order.tolist())
        parts = (*value.shape[:axis], matrix.shape[1], each, *value.shape[axis + 1 :])
        return reduce(context, "sum", context.reshape(ordered, parts), [axis + 1], keep=False)
    return None
