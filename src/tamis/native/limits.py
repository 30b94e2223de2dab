"""How large a model may be: what would take hours to compile, or all memory, is refused before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import shape_inference

from tamis._base import ModelError, human_bytes

NODES = 20_000
EXACT = 2**24  # whole numbers up to here are floats, exactly
ELEMENTS = 2**26  # of one tensor of one event: 256 MiB
TOGETHER = 2**28  # of all tensors of one event, and of what is kept between statements: 1 GiB
MEND = "use engine='onnxruntime' or 'auto'"


def refuse_large(model: onnx.ModelProto, event: Mapping[str, np.ndarray]) -> None:
    """Refuse a model of too many nodes, or with a tensor that is seen to be too large without computing it."""
    if len(model.graph.node) > NODES:
        raise ModelError(
            f"the native engine compiles graphs of up to {NODES} nodes, and this one has {len(model.graph.node)}; {MEND}"
        )
    _refuse(_inferred(model, event))


def refuse_large_tensors(values: Mapping[str, np.ndarray]) -> None:
    """Refuse an event of which a tensor is too large, or all of them are."""
    _refuse({name: np.asarray(value).shape for name, value in values.items()})


def refuse_large_scratch(floats: int) -> None:
    """Refuse a model that keeps too much between its statements."""
    if floats > TOGETHER:
        raise ModelError(
            f"the native engine keeps up to {human_bytes(4 * TOGETHER)} while it does an event, and this model needs {human_bytes(4 * floats)}; {MEND}"
        )


def _refuse(shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if prod(shape) > ELEMENTS:
            raise ModelError(
                f"the native engine holds tensors of up to {ELEMENTS} numbers for an event, and {name!r} has the shape {list(shape)}; {MEND}"
            )
    together = sum(map(prod, shapes.values()))
    if together > TOGETHER:
        raise ModelError(
            f"the native engine compiles models whose tensors have up to {TOGETHER} numbers for an event together, and these have {together}; {MEND}"
        )


def _inferred(model: onnx.ModelProto, event: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors, as far as they follow from those of the event."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for one in copy.graph.input:
        if one.name in event:
            kind = one.type.tensor_type
            kind.ClearField("shape")
            for size in event[one.name].shape:
                kind.shape.dim.add().dim_value = size
    del copy.graph.value_info[:]
    for one in copy.graph.output:
        one.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(copy, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError):
        return {}
    return {
        one.name: tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim)
        for one in (*inferred.graph.value_info, *inferred.graph.output)
        if one.type.tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") for dim in one.type.tensor_type.shape.dim)
    }
