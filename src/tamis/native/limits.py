"""How large a model may be: one that would take hours to compile, or all memory, is rejected before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import shape_inference

from tamis._base import ModelError, human_bytes

MOST_NODES = 20_000
MOST_STATEMENTS = 6000  # a C compiler takes minutes for more
MOST_ELEMENTS = 2**26  # of one tensor for one event: 256 MiB
MOST_ELEMENTS_TOGETHER = 2**28  # of all tensors for one event, and of scratch memory: 1 GiB
LONGEST_SORTED = 4096  # elements that are selected from a row in order
MOST_HELD = 64  # elements of an input that is held at the value of the example event
LARGEST_EXACT_INTEGER = 2**24  # all integers up to this are floats
OTHER_ENGINES = "use engine='onnxruntime' or 'auto'"


def refuse_large(model: onnx.ModelProto, event: Mapping[str, np.ndarray]) -> None:
    """Raise ModelError for a model of too many nodes, or with a tensor whose inferred shape is too large."""
    if len(model.graph.node) > MOST_NODES:
        raise ModelError(
            f"the native engine compiles graphs of up to {MOST_NODES} nodes, and this one has {len(model.graph.node)}; {OTHER_ENGINES}"
        )
    _refuse_shapes(_inferred(model, event))


def refuse_large_tensors(values: Mapping[str, np.ndarray]) -> None:
    """Raise ModelError if a tensor of the example event is too large, or all of them together are."""
    _refuse_shapes({name: np.asarray(value).shape for name, value in values.items()})


def refuse_large_scratch(floats: int) -> None:
    """Raise ModelError for a model whose temporaries take too much memory."""
    if floats > MOST_ELEMENTS_TOGETHER:
        raise ModelError(
            f"the native engine uses up to {human_bytes(4 * MOST_ELEMENTS_TOGETHER)} of scratch memory per event, "
            f"and this model needs {human_bytes(4 * floats)}; {OTHER_ENGINES}"
        )


def _refuse_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if prod(shape) > MOST_ELEMENTS:
            raise ModelError(
                f"the native engine handles tensors of up to {MOST_ELEMENTS} elements per event, and {name!r} has shape {list(shape)}; {OTHER_ENGINES}"
            )
    together = sum(map(prod, shapes.values()))
    if together > MOST_ELEMENTS_TOGETHER:
        raise ModelError(
            f"the native engine handles up to {MOST_ELEMENTS_TOGETHER} elements per event in all tensors together, and this model has {together}; {OTHER_ENGINES}"
        )


def _inferred(model: onnx.ModelProto, event: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors as far as they follow from those of the event."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for one in copy.graph.input:
        if one.name in event:
            tensor_type = one.type.tensor_type
            tensor_type.ClearField("shape")
            for size in event[one.name].shape:
                tensor_type.shape.dim.add().dim_value = size
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
