"""Operators of the reference engine that mean another thing in older opsets, which most models of experiments have.

The ONNX project's own normalise with the mean of the batch in BatchNormalization (below opset 14), take the softmax
over one axis (below 13, where it goes over all from that axis on), and know no Resize of opset 10 and no Upsample
but of whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_23 as _DequantizeLinear
from onnx.reference.ops.op_resize import Resize as _Resize


class BatchNormalization(OpRun):
    """Normalisation by the stored mean and variance, in every opset."""

    def _run(self, x, scale, bias, mean, var, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202
        if options.get("training_mode"):
            raise NotImplementedError(
                "BatchNormalization in training mode: export the model after model.eval()"
            )
        wide = (-1, *[1] * (x.ndim - 2))
        if options.get("spatial") == 0:  # below opset 9: one mean for every element instead of every channel
            wide = x.shape[1:]
        epsilon = 1e-5 if options.get("epsilon") is None else options["epsilon"]
        factor = scale / np.sqrt(var + epsilon)
        return ((x - mean.reshape(wide)) * factor.reshape(wide) + bias.reshape(wide),)


def _softmax(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _log_softmax(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    y = x - x.max(axis=axis, keepdims=True)
    return y - np.log(np.exp(y).sum(axis=axis, keepdims=True))


class Softmax(OpRun):
    """The softmax over one axis; before opset 13 over that axis and all that follow."""

    function = staticmethod(_softmax)

    def _run(self, x, axis=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        old = self.run_params["opsets"].get("", 1) < 13
        given = any(a.name == "axis" for a in self.onnx_node.attribute)
        first = (axis if given else (1 if old else -1)) % max(x.ndim, 1)
        axes = tuple(range(first, x.ndim)) if old else (first,)
        return (self.function(x, axes) if x.size else x,)


class LogSoftmax(Softmax):
    """The logarithm of the softmax."""

    function = staticmethod(_log_softmax)


class DequantizeLinear(_DequantizeLinear):
    """The numbers that integers stand for; the ONNX project's own begins at opset 19."""

    def _run(self, x, scale, zero=None, axis=None, block_size=None, output_dtype=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, ARG002 - floats are doubles here
        given = [x, scale] if zero is None else [x, scale, zero]
        return super()._run(*given, axis=1 if axis is None else axis, block_size=block_size or 0)


class Resize(_Resize):
    """Resizing; opset 10 has two inputs and one way of placing the samples."""

    def _run(self, x, *inputs, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN003, ANN202
        if self.run_params["opsets"].get("", 1) > 10:
            return super()._run(x, *inputs, **options)
        return _resize_10(super()._run, x, inputs[0], options.get("mode"))


class Upsample(_Resize):
    """What Resize was called before opset 10; before opset 9 its scales were an attribute."""

    def _run(self, x, scales=None, mode=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        attribute = next((list(a.floats) for a in self.onnx_node.attribute if a.name == "scales"), None)
        return _resize_10(super()._run, x, scales if attribute is None else np.array(attribute), mode)


def _resize_10(run: Any, x: np.ndarray, scales: np.ndarray, mode: str | None) -> Any:
    return run(
        x,
        None,
        scales,
        mode=mode or "nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
