"""What of a model stays outside its hardware: preprocessing, a softmax, and layers whose inputs are not quantised."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from tamis.fixedpoint import QuantisedGraph
from tamis.fixedpoint.names import LAYER_OPERATORS

TRIVIAL = frozenset(
    [
        "Cast",
        "Concat",
        "Constant",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Shape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)
MOST_NAMED = 6


def outside_hardware(graph: QuantisedGraph) -> list[str]:
    """Return sentences about what the host computes in floating point, before the hardware and after it."""
    result = []
    for part, place in ((graph.before, "Before the hardware"), (graph.after, "After the hardware")):
        operators = [] if part is None else list(dict.fromkeys(node.op_type for node in part.graph.node))
        operators = [one for one in operators if one not in TRIVIAL]
        if operators:
            more = ", ..." * (len(operators) > MOST_NAMED)
            result.append(
                f"{place}, the host computes in floating point: {', '.join(operators[:MOST_NAMED])}{more}."
            )
    weights = 0 if graph.before is None else _weights(graph.before)
    if weights:
        result.append(
            f"Among it are layers with {weights} weights, which are not in hardware because the inputs of the model are not quantised: quantise them as well, "
            "by `tamis compress` or in the training."
        )
    return result


def _weights(model: onnx.ModelProto) -> int:
    """Return the number of weights of layers."""
    sizes = {tensor.name: numpy_helper.to_array(tensor).size for tensor in model.graph.initializer}
    return sum(
        sizes.get(name, 0)
        for node in model.graph.node
        if node.op_type in LAYER_OPERATORS
        for name in node.input[:2]
    )
