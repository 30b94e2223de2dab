"""A score that is one column of an output, such as one of a tagger's class probabilities."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tamis._base import UsageError


def with_score_column(model: onnx.ModelProto, score: str | None) -> tuple[onnx.ModelProto, str | None]:
    """Return the model and the name of its score; the score `NAME:K` adds an output `NAME_K` with column K of NAME."""
    outputs = {value.name: value for value in model.graph.output}
    name, colon, column = (score or "").rpartition(":")
    if score is None or score in outputs or not colon or name not in outputs:
        return model, score  # the caller reports an unknown output
    if not column.isdecimal():
        raise UsageError(
            f"the score {score!r} names the column {column!r} of {name}; expected an integer from 0"
        )
    shape = outputs[name].type.tensor_type.shape.dim
    width = shape[-1].dim_value if len(shape) == 2 else 0
    if len(shape) not in (0, 2) or (width and int(column) >= width):
        sizes = "×".join(dim.dim_param or str(dim.dim_value or "?") for dim in shape)
        raise UsageError(f"the score {score!r} names a column that the output {name} ({sizes}) does not have")
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph, new = changed.graph, f"{name}_{column}"
    names = {value for node in graph.node for value in node.output}
    while new in names:
        new += "_"
    index = numpy_helper.from_array(np.array(int(column), np.int64), f"{new}_index")
    graph.initializer.append(index)
    graph.node.append(helper.make_node("Gather", [name, index.name], [new], name=f"{new}_column", axis=1))
    added = helper.make_tensor_value_info(new, outputs[name].type.tensor_type.elem_type, None)
    if len(shape) == 2:
        added.type.tensor_type.shape.dim.append(shape[0])
    graph.output.append(added)
    return changed, new
