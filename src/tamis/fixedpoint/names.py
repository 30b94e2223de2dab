"""Names of layers, from the names that a graph gives to weights and nodes."""

from __future__ import annotations

import re
from collections.abc import Container

import onnx

LAYER_OPERATORS = frozenset(["MatMul", "Gemm", "Conv", "Einsum"])


def layer_name(node: onnx.NodeProto, constants: Container[str], taken: Container[str]) -> str:
    """Return the name of the layer that a node with weights begins, of letters, digits and underscores, not among those taken."""
    weights = [name for name in node.input if name in constants]
    candidates = [re.sub(r"[./](weight|kernel|w)$", "", weights[0])] if weights else []
    candidates += [name for name in (node.name, node.output[0]) if name]
    plain = [name for name in candidates if not name.startswith(("onnx::", "/", "_"))]
    base = re.sub(r"\W+", "_", (plain or candidates)[0]).strip("_").lower() or node.op_type.lower()
    base = f"layer_{base}" if base[0].isdigit() else base
    name, count = base, 2
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    return name
