"""Operators that return zeros of the right shape and compute nothing: for a trace of a model's shapes."""

from __future__ import annotations

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv import Conv as _ComputedConv


class _ShapeOfConv(_ComputedConv):
    """ONNX Conv: one channel is computed, for its shape."""

    def _run(self, X, W, B=None, group=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202, N803
        del B, group
        (one,) = super()._run(X[:, :1], W[:1, :1], None, group=1, **options)
        return (np.broadcast_to(np.zeros((), X.dtype), (one.shape[0], W.shape[0], *one.shape[2:])),)


class _ShapeOfRecurrent(OpRun):
    """Outputs of a recurrent layer."""

    def _run(self, X, W, R, *more, hidden_size=None, layout=None, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN003, ANN202, N803
        del R, more, options
        steps, batch = X.shape[:2][::-1] if layout else X.shape[:2]
        directions, zero = W.shape[0], np.zeros((), X.dtype)
        last = (batch, directions, hidden_size) if layout else (directions, batch, hidden_size)
        every = (batch, steps, directions, hidden_size) if layout else (steps, directions, batch, hidden_size)
        found = [np.broadcast_to(zero, shape) for shape in (every, last, last)]
        return tuple(found[: len(self.onnx_node.output)])


# The evaluator takes the name of an operator from its class.
SHAPE_ONLY_OPERATORS = (
    type("Conv", (_ShapeOfConv,), {}),
    *(type(name, (_ShapeOfRecurrent,), {}) for name in ("LSTM", "GRU", "RNN")),
)
