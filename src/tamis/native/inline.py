"""Functions in place of their calls: those of the model, and ONNX operators without a rule that ONNX defines by others."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx.inliner
from onnx import shape_inference

from tamis.native.lowering import RULES

PLAIN_DOMAINS = ("", "ai.onnx")
FUNCTION_DOMAIN = "tamis.inlined"
KEPT_OPERATORS = {
    "Bernoulli",  # draws random numbers
    "Range",  # a loop, and constant wherever it can be compiled
    "SequenceMap",  # tensors are all that is compiled
}


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose nodes have rules, as far as functions allow that; Attention becomes products of matrices and a softmax."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    while any(_schema(model, node) for node in model.graph.node):
        changed = _with_functions(model)
        if not changed.functions:  # types that some definitions depend on are unknown
            break
        model = onnx.inliner.inline_local_functions(changed)
    return model


def _schema(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.defs.OpSchema | None:
    """Return the definition of an operator without a rule, None if ONNX does not have one."""
    domain = "" if node.domain in PLAIN_DOMAINS else node.domain
    kind = f"{domain}.{node.op_type}" if domain else node.op_type
    if kind in RULES or kind in KEPT_OPERATORS:
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, opset_of(model, domain), domain)
    except onnx.defs.SchemaError:
        return None
    return schema if schema.has_function or schema.has_context_dependent_function else None


def opset_of(model: onnx.ModelProto, domain: str = "") -> int:
    """Return the opset of a domain that a model imports, 1 if it does not."""
    names = PLAIN_DOMAINS if domain in PLAIN_DOMAINS else (domain,)
    return next((one.version for one in model.opset_import if one.domain in names), 1)


def _with_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that calls the definitions of operators without a rule as its own functions."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    types = _types(model)
    for number, node in enumerate(changed.graph.node):
        schema = _schema(model, node)
        body = None if schema is None else _body(model, node, schema, types)
        if schema is None or body is None:
            continue
        given = {one.name for one in node.attribute}
        node.attribute.extend(
            one.default_value
            for name, one in schema.attributes.items()
            if name not in given and one.default_value.name
        )
        node.op_type = body.name = f"{node.op_type}_{number}"
        node.domain = body.domain = FUNCTION_DOMAIN
        changed.functions.append(body)
    if all(one.domain != FUNCTION_DOMAIN for one in changed.opset_import):
        changed.opset_import.append(onnx.helper.make_opsetid(FUNCTION_DOMAIN, 1))
    return changed


def _body(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    schema: onnx.defs.OpSchema,
    types: Mapping[str, onnx.TypeProto],
) -> onnx.FunctionProto | None:
    """Return the definition of an operator in the model's opset; of some it depends on the types of the inputs."""
    opset = opset_of(model, "")
    plain, dependent = (
        [one for one in versions if one <= opset]
        for versions in (schema.function_opset_versions, schema.context_dependent_function_opset_versions)
    )
    if plain:
        text = schema.get_function_with_opset_version(max(plain))
    elif dependent and all(not name or name in types for name in node.input):
        of_inputs = [types.get(name, onnx.TypeProto()).SerializeToString() for name in node.input]
        text = schema.get_context_dependent_function_with_opset_version(
            max(dependent), node.SerializeToString(), of_inputs
        )
    else:
        return None
    body = onnx.FunctionProto.FromString(text)
    del body.opset_import[:]
    body.opset_import.extend(model.opset_import)
    return body


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Return the type of each tensor, as far as it can be inferred."""
    try:
        graph = shape_inference.infer_shapes(model).graph
    except (shape_inference.InferenceError, RuntimeError):
        graph = model.graph
    found = {one.name: one.type for one in (*graph.input, *graph.value_info, *graph.output)}
    for one in graph.initializer:
        found[one.name] = onnx.helper.make_tensor_type_proto(one.data_type, one.dims)
    return found
