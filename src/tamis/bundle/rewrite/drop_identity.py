"""Drop operators that change nothing.

1. Identity(x)            -> x
2. Dropout(x), inference  -> x, where the mask is not read
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.bundle.rewrite.graph import constant


def drop_identity(graph: ir.Graph) -> int:
    """Remove Identity and inference Dropout; return how many."""
    count = 0
    for node in list(graph):
        if node.domain not in ("", "ai.onnx") or not _changes_nothing(node):
            continue
        source, result = node.inputs[0], node.outputs[0]
        if source is None or result.is_graph_output():
            continue  # keep the name of the graph output
        result.replace_all_uses_with(source)
        graph.remove(node, safe=True)
        count += 1
    return count


def _changes_nothing(node: ir.Node) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):
        return False
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        training = constant(node.inputs[2])
        return training is not None and not training.any()
    return True
