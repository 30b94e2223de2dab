"""ONNX operators in torch: operator name -> translation, which reads a node once and returns a function of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from tamis.engines.torch_indexing import INDEXING
from tamis.engines.torch_layers import LAYERS

Fn = Callable[..., Any]
Translate = Callable[[Any], Fn]


def _plain(function: Any) -> Translate:
    return lambda _node: function


def _ints(value: Any) -> list[int]:
    return [int(v) for v in (value.tolist() if isinstance(value, torch.Tensor) else value)]


def _axes(node: Any, index: int = 1) -> Fn:
    """Return a function that reads the axes: an attribute in old opsets, an input (constant or computed) in new ones."""
    fixed = node.get("axes")
    if fixed is None:
        fixed = node.constant(index)
    if fixed is not None:
        values = list(fixed) if isinstance(fixed, (list, tuple)) else [fixed]
        return lambda *_: values
    return lambda *args: _ints(args[index]) if len(args) > index and args[index] is not None else []


def _squeeze(node: Any) -> Fn:
    axes = _axes(node)

    def run(x: Any, *rest: Any) -> Any:
        chosen = axes(x, *rest)
        return torch.squeeze(x, tuple(chosen)) if chosen else torch.squeeze(x)

    return run


def _unsqueeze(node: Any) -> Fn:
    axes = _axes(node)

    def run(x: Any, *rest: Any) -> Any:
        chosen = axes(x, *rest)
        rank = x.dim() + len(chosen)
        for axis in sorted(a % rank for a in chosen):
            x = torch.unsqueeze(x, axis)
        return x

    return run


def _reduce(function: Callable[[Any, list[int], bool], Any]) -> Translate:
    def translate(node: Any) -> Fn:
        axes, keep, noop = (
            _axes(node),
            bool(node.get("keepdims", 1)),
            bool(node.get("noop_with_empty_axes", 0)),
        )

        def run(x: Any, *rest: Any) -> Any:
            chosen = axes(x, *rest)
            if not chosen and noop:
                return x
            return function(x, chosen or list(range(x.dim())), keep)

        return run

    return translate


def _prod(x: Any, axes: list[int], keep: bool) -> Any:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _mean(x: Any, axes: list[int], keep: bool) -> Any:
    return torch.mean(x, axes, keepdim=keep)


def _arg(function: Fn) -> Translate:
    def translate(node: Any) -> Fn:
        axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
        if node.get("select_last_index", 0):
            raise node.unsupported("select_last_index")
        return lambda x: function(x, dim=axis, keepdim=keep)

    return translate


def _reshape(node: Any) -> Fn:
    fixed, allow_zero = node.constant(1), bool(node.get("allowzero", 0))

    def run(x: Any, shape: Any) -> Any:
        target = fixed if fixed is not None else _ints(shape)
        if not allow_zero:
            target = [x.shape[i] if size == 0 else size for i, size in enumerate(target)]
        return torch.reshape(x, target)

    return run


def _flatten(node: Any) -> Fn:
    axis = node.get("axis", 1)

    def run(x: Any) -> Any:
        split = axis if axis >= 0 else x.dim() + axis
        rows = int(np.prod(x.shape[:split], dtype=np.int64))
        return torch.reshape(
            x, (rows, -1) if x.numel() else (rows, int(np.prod(x.shape[split:], dtype=np.int64)))
        )

    return run


def _transpose(node: Any) -> Fn:
    order = node.get("perm")
    return lambda x: torch.permute(x, tuple(order) if order is not None else tuple(range(x.dim()))[::-1])


def _concat(node: Any) -> Fn:
    axis = node.get("axis")
    return lambda *xs: torch.cat(xs, dim=axis)


def _split(node: Any) -> Fn:
    axis, parts = node.get("axis", 0), node.get("split")
    outputs = len(node.node.output)

    def run(x: Any, sizes: Any = None) -> Any:
        if parts is not None:
            return torch.split(x, list(parts), dim=axis)
        if sizes is not None:
            return torch.split(x, _ints(sizes), dim=axis)
        return torch.split(x, -(-x.shape[axis] // outputs), dim=axis)  # the last part is the remainder

    return run


def _slice(node: Any) -> Fn:
    old = None
    if node.get("starts") is not None:
        axes = node.get("axes") or list(range(len(node.get("starts"))))
        old = (node.get("starts"), node.get("ends"), axes, [1] * len(axes))

    def run(x: Any, *rest: Any) -> Any:
        if old is not None:
            starts, ends, chosen, steps = old
        else:
            starts, ends = _ints(rest[0]), _ints(rest[1])
            chosen = _ints(rest[2]) if len(rest) > 2 and rest[2] is not None else list(range(len(starts)))
            steps = _ints(rest[3]) if len(rest) > 3 and rest[3] is not None else [1] * len(starts)
        for start, end, axis, step in zip(starts, ends, chosen, steps, strict=True):
            size = x.shape[axis]
            if step > 0:
                index = [slice(None)] * x.dim()
                index[axis] = slice(
                    *slice(start, end, step).indices(size)
                )  # clipped: torch warns about far out-of-range ends
                x = x[tuple(index)]
            else:
                rows = range(size)[slice(start, end if end > -size - 1 else None, step)]
                x = torch.index_select(x, axis, torch.tensor(list(rows), dtype=torch.int64))
        return x

    return run


def _expand(_node: Any) -> Fn:
    def run(x: Any, shape: Any) -> Any:
        return torch.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape))))

    return run


def _constant_of_shape(node: Any) -> Fn:
    value = node.get("value")
    array = onnx.numpy_helper.to_array(value).reshape(-1) if value is not None else np.zeros(1, np.float32)
    filler, dtype = array[0].item(), getattr(torch, array.dtype.name)
    return lambda shape: torch.full(tuple(_ints(shape)), filler, dtype=dtype)


def _shape(node: Any) -> Fn:
    start, end = node.get("start", 0), node.get("end")
    return lambda x: torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


def _topk(node: Any) -> Fn:
    axis, largest, ordered = node.get("axis", -1), bool(node.get("largest", 1)), bool(node.get("sorted", 1))

    def run(x: Any, k: Any = None) -> Any:
        count = node.get("k") if k is None else int(k.reshape(-1)[0])  # an attribute before opset 10
        return torch.topk(x, count, dim=axis, largest=largest, sorted=ordered)

    return run


def _softmax(function: Fn) -> Translate:
    def translate(node: Any) -> Fn:
        if node.opset >= 13:
            axis = node.get("axis", -1)
            return lambda x: function(x, dim=axis)
        start = node.get("axis", 1)

        def run(x: Any) -> Any:
            rows = int(np.prod(x.shape[: start % x.dim()], dtype=np.int64))
            return function(x.reshape(rows, -1), dim=1).reshape(x.shape)

        return run

    return translate


def _gemm(node: Any) -> Fn:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    trans_a, trans_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    if alpha == 1.0 and beta == 1.0 and not trans_a:
        if trans_b:
            return lambda a, b, c=None: F.linear(a, b, c) if c is None or c.dim() == 1 else F.linear(a, b) + c
        return lambda a, b, c=None: torch.mm(a, b) if c is None else torch.addmm(c, a, b)

    def run(a: Any, b: Any, c: Any = None) -> Any:
        product = torch.mm(a.T if trans_a else a, b.T if trans_b else b) * alpha
        return product if c is None else product + c * beta

    return run


def _clip(node: Any) -> Fn:
    low, high = node.get("min"), node.get("max")

    def run(x: Any, lower: Any = None, upper: Any = None) -> Any:
        lower, upper = low if lower is None else lower, high if upper is None else upper
        if lower is not None:
            x = torch.maximum(x, torch.as_tensor(lower, dtype=x.dtype))
        if upper is not None:
            x = torch.minimum(x, torch.as_tensor(upper, dtype=x.dtype))
        return x

    return run


def _pad(node: Any) -> Fn:
    mode, old, filler = node.get("mode", "constant"), node.get("pads"), node.get("value", 0.0)
    if mode not in ("constant", "reflect", "edge"):
        raise node.unsupported(f"the mode {mode}")

    def run(x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
        amounts = list(old) if old is not None else _ints(pads)
        chosen = _ints(axes) if axes is not None else list(range(x.dim()))
        full = [[0, 0] for _ in range(x.dim())]
        for i, axis in enumerate(chosen):
            full[axis] = [amounts[i], amounts[i + len(chosen)]]
        if mode == "constant":
            flat = [n for pair in reversed(full) for n in pair]
            return F.pad(x, flat, value=float(value) if value is not None else filler)
        for axis, (before, after) in enumerate(full):
            if before or after:
                size = x.shape[axis]
                indices = torch.arange(-before, size + after)
                if mode == "edge":
                    indices = indices.clamp(0, size - 1)
                else:  # reflected without the edge
                    period = max(1, 2 * (size - 1))
                    indices = indices.abs() % period
                    indices = torch.where(indices >= size, period - indices, indices)
                x = torch.index_select(x, axis, indices)
        return x

    return run


def _resize(node: Any) -> Fn:
    if node.get("mode", "nearest") != "nearest":
        raise node.unsupported(f"the mode {node.get('mode')}")
    if node.node.op_type == "Resize":
        sampling = (
            node.get("coordinate_transformation_mode", "half_pixel"),
            node.get("nearest_mode", "round_prefer_floor"),
        )
        repeating = (  # equal to repeating each element, for integer scales
            ("half_pixel", "round_prefer_floor"),
            ("half_pixel", "round_prefer_ceil"),
            ("asymmetric", "floor"),
        )
        if (
            sampling not in repeating
            or node.get("axes")
            or node.get("keep_aspect_ratio_policy", "stretch") != "stretch"
        ):
            raise node.unsupported(f"{sampling[0]} and {sampling[1]}, axes or an aspect ratio policy")
    fixed = node.get("scales")

    def run(x: Any, *rest: Any) -> Any:
        present = [value for value in rest if value is not None and value.numel()]
        scales = list(fixed) if fixed else present[-1].tolist()
        if not fixed and present[-1].dtype == torch.int64:
            scales = [size / old for size, old in zip(scales, x.shape, strict=True)]
        for axis, scale in enumerate(scales):
            if scale != 1:
                if scale != int(scale):
                    raise node.unsupported("non-integer scales")
                x = torch.repeat_interleave(x, int(scale), dim=axis)
        return x

    return run


def _cast(node: Any) -> Fn:
    if node.get("to") in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        raise node.unsupported("strings")
    dtype = getattr(torch, onnx.helper.tensor_dtype_to_np_dtype(node.get("to")).name)
    return lambda x: x.to(dtype)


def _where(_node: Any) -> Fn:
    return torch.where


def _div(_node: Any) -> Fn:
    def run(a: Any, b: Any) -> Any:
        return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")

    return run


def _mod(node: Any) -> Fn:
    return torch.fmod if node.get("fmod", 0) else torch.remainder


def _range(_node: Any) -> Fn:
    return lambda start, limit, step: torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _fold(function: Fn) -> Translate:
    def run(*xs: Any) -> Any:
        total = xs[0]
        for x in xs[1:]:
            total = function(total, x)
        return total

    return lambda _node: run


def _gelu(node: Any) -> Fn:
    approximate = node.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def _selu(node: Any) -> Fn:
    alpha, gamma = node.get("alpha", 1.6732632423543772), node.get("gamma", 1.0507009873554805)
    return lambda x: gamma * F.elu(x, alpha)


def _hard_sigmoid(node: Any) -> Fn:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


def _einsum(node: Any) -> Fn:
    equation = node.get("equation")
    return lambda *xs: torch.einsum(equation, *xs)


OPERATORS: dict[str, Translate] = {
    **{name: _plain(function) for name, function in {
        "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Floor": torch.floor,
        "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "Erf": torch.erf, "Tanh": torch.tanh, "Sigmoid": torch.sigmoid,
        "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Atan": torch.atan, "Asin": torch.asin, "Acos": torch.acos,
        "Sinh": torch.sinh, "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
        "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Softplus": F.softplus, "Softsign": F.softsign, "Mish": F.mish,
        "HardSwish": F.hardswish, "Not": torch.logical_not, "IsNaN": torch.isnan, "IsInf": torch.isinf,
        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Pow": lambda a, b: torch.pow(a, b).to(a.dtype), "CastLike": lambda x, like: x.to(like.dtype), "MatMul": torch.matmul,
        "Equal": torch.eq, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le,
        "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
        "PRelu": lambda x, slope: torch.where(x >= 0, x, x * slope),
        "Size": lambda x: torch.tensor(x.numel(), dtype=torch.int64),
        "NonZero": lambda x: torch.stack(torch.nonzero(x, as_tuple=True)),
        "Tile": lambda x, repeats: torch.tile(x, tuple(_ints(repeats))),
        "Identity": lambda x: x, "Dropout": lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool)),
    }.items()},
    "LeakyRelu": lambda n: lambda x: F.leaky_relu(x, n.get("alpha", 0.01)),
    "Elu": lambda n: lambda x: F.elu(x, n.get("alpha", 1.0)),
    "Selu": _selu, "ThresholdedRelu": lambda n: lambda x: F.threshold(x, n.get("alpha", 1.0), 0.0), "Celu": lambda n: lambda x: F.celu(x, n.get("alpha", 1.0)), "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid, "Div": _div, "Mod": _mod, "Where": _where, "Cast": _cast, "Clip": _clip,
    "Max": _fold(torch.maximum), "Min": _fold(torch.minimum), "Sum": _fold(torch.add),
    "Mean": lambda _n: lambda *xs: sum(xs) / len(xs),
    "ReduceSum": _reduce(lambda x, a, k: torch.sum(x, a, keepdim=k, dtype=x.dtype)), "ReduceMean": _reduce(_mean),
    "ReduceMax": _reduce(lambda x, a, k: torch.amax(x, a, keepdim=k)), "ReduceMin": _reduce(lambda x, a, k: torch.amin(x, a, keepdim=k)),
    "ReduceProd": _reduce(_prod), "ReduceL1": _reduce(lambda x, a, k: torch.sum(torch.abs(x), a, keepdim=k)),
    "ReduceL2": _reduce(lambda x, a, k: torch.sqrt(torch.sum(x * x, a, keepdim=k))),
    "ReduceSumSquare": _reduce(lambda x, a, k: torch.sum(x * x, a, keepdim=k)),
    "ReduceLogSum": _reduce(lambda x, a, k: torch.log(torch.sum(x, a, keepdim=k))),
    "ReduceLogSumExp": _reduce(lambda x, a, k: torch.logsumexp(x, a, keepdim=k)),
    "ArgMax": _arg(torch.argmax), "ArgMin": _arg(torch.argmin), "TopK": _topk, "Range": _range,
    "Softmax": _softmax(torch.softmax), "LogSoftmax": _softmax(torch.log_softmax),
    "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Expand": _expand, "Shape": _shape,
    "ConstantOfShape": _constant_of_shape, "Pad": _pad, "Resize": _resize, "Upsample": _resize, "Gemm": _gemm, "Einsum": _einsum,
    **INDEXING, **LAYERS,
}  # fmt: skip
