"""Operators of the reference engine with their meaning in older opsets, which most models of experiments use.

The ONNX project's implementation uses the batch mean in BatchNormalization below opset 14, takes the softmax over a single axis
below opset 13 (where it is over that axis and all later ones), and lacks Resize of opset 10 and Upsample with non-integer scales.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_23 as _DequantizeLinear
from onnx.reference.ops.op_resize import Resize as _Resize


class BatchNormalization(OpRun):
    """BatchNormalization with the stored mean and variance, in every opset."""

    def _run(self, x, scale, bias, mean, var, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003, ANN202
        if options.get("training_mode"):
            raise NotImplementedError(
                "BatchNormalization in training mode: export the model after model.eval()"
            )
        shape = (-1, *[1] * (x.ndim - 2))
        if options.get("spatial") == 0:  # below opset 9: one mean per element instead of per channel
            shape = x.shape[1:]
        epsilon = 1e-5 if options.get("epsilon") is None else options["epsilon"]
        factor = scale / np.sqrt(var + epsilon)
        return ((x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape),)


def _softmax(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


def _log_softmax(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    y = x - x.max(axis=axis, keepdims=True)
    return y - np.log(np.exp(y).sum(axis=axis, keepdims=True))


class Softmax(OpRun):
    """The softmax over one axis; below opset 13 over that axis and all later ones."""

    function = staticmethod(_softmax)

    def _run(self, x, axis=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        old = self.run_params["opsets"].get("", 1) < 13
        has_axis = any(a.name == "axis" for a in self.onnx_node.attribute)
        first = (axis if has_axis else (1 if old else -1)) % max(x.ndim, 1)
        axes = tuple(range(first, x.ndim)) if old else (first,)
        return (self.function(x, axes) if x.size else x,)


class LogSoftmax(Softmax):
    """The logarithm of the softmax."""

    function = staticmethod(_log_softmax)


class DequantizeLinear(_DequantizeLinear):
    """DequantizeLinear in every opset; the ONNX project's implementation starts at opset 19."""

    def _run(self, x, scale, zero=None, axis=None, block_size=None, output_dtype=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, ARG002 - floats are doubles here
        inputs = [x, scale] if zero is None else [x, scale, zero]
        return super()._run(*inputs, axis=1 if axis is None else axis, block_size=block_size or 0)


class Resize(_Resize):
    """Resize in every opset; opset 10 has two inputs and one coordinate transformation."""

    def _run(self, x, *inputs, **options):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN003, ANN202
        if self.run_params["opsets"].get("", 1) > 10:
            return super()._run(x, *inputs, **options)
        return _resize_10(super()._run, x, inputs[0], options.get("mode"))


class Upsample(_Resize):
    """Upsample, the name of Resize below opset 10; below opset 9 its scales are an attribute."""

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
