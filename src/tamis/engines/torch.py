"""PyTorch in eager mode: the cost of a model in the framework that it was trained in."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tamis._base import ModelError, did_you_mean, require
from tamis.bundle import Signature
from tamis.bundle.model import parse_model
from tamis.bundle.rewrite import expand_trees
from tamis.engines.engine import Arrays, Engine, Options, Runner, model_error, writable

TUPLE_OPERATORS = frozenset(
    ["Dropout", "GRU", "LSTM", "Split", "TopK"]
)  # return tuples even for one used output


class TorchEngine(Engine):
    """Translates the graph node by node into a `torch.fx` module and runs it eagerly."""

    name = "torch"
    batch_bound = 1e-5

    def prepare(self) -> None:
        """Import torch."""
        require("torch", extra="torch", purpose="the engine torch")

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Translate the graph; torch's number of threads is set for the whole process."""
        torch = require("torch", extra="torch", purpose="the engine torch")
        if torch.get_num_threads() != options.threads:
            torch.set_num_threads(options.threads)
        module = translate(expand_trees(parse_model(model, "the model")))
        dtypes = [np.dtype(spec.dtype) for spec in signature.outputs]

        def run(arrays: Arrays) -> Arrays:
            try:
                with torch.inference_mode():
                    results = module(*[torch.from_numpy(writable(array)) for array in arrays])
            except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError) as error:
                raise model_error(self.name, error) from error
            outputs: list[np.ndarray] = []
            for value, dtype in zip(results, dtypes, strict=True):
                result: np.ndarray = value.numpy().astype(dtype, copy=False)
                owned = result.flags.owndata or not any(np.may_share_memory(result, one) for one in arrays)
                outputs.append(result if owned else result.copy())  # never a view of an input
            return outputs

        return Runner(run)


Taps = Mapping[str, Callable[[Any], Any]]


def translate(model: onnx.ModelProto, taps: Taps | None = None) -> Any:
    """Translate an ONNX graph into a torch.fx module; each tap replaces a named weight or result by a function of it."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    return _module(model.graph, opset, (), {}, taps or {})


def _module(
    proto: onnx.GraphProto,
    opset: int,
    outer: Sequence[str],
    known: Mapping[str, np.ndarray],
    taps: Taps = MappingProxyType({}),
) -> Any:
    """Translate a graph or a branch of an If; `outer` names captured values, `known` holds the constant ones."""
    torch = require("torch", extra="torch", purpose="the engine torch")
    graph, root = torch.fx.Graph(), torch.nn.Module()
    values: dict[str, Any] = {"": None}
    initializers = {t.name: numpy_helper.to_array(t) for t in proto.initializer}
    for name in (*outer, *(value.name for value in proto.input if value.name not in initializers)):
        values[name] = graph.placeholder(f"input_{len(values)}")
    constants = {**known, **initializers}
    for name, array in initializers.items():
        value = _constant(torch, graph, root, array)
        values[name] = graph.call_function(taps[name], (value,)) if name in taps else value
    for node in proto.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            array = _constant_node(node, attributes)
            constants[node.output[0]] = array
            values[node.output[0]] = _constant(torch, graph, root, array)
            continue
        if node.op_type == "If":
            captured = sorted({name for branch in attributes.values() for name in _captured(branch)})
            inside = {name: constants[name] for name in captured if name in constants}
            then, otherwise = (
                _module(attributes[name], opset, captured, inside) for name in ("then_branch", "else_branch")
            )
            inputs = (values[node.input[0]], *(values[name] for name in captured))
            result = graph.call_function(_branch(then, otherwise), inputs)
        else:
            static = [constants.get(name) for name in node.input]
            call = _operator(_Node(node, attributes, static, opset))
            result = graph.call_function(call, tuple(values[name] for name in node.input))
        if len(node.output) == 1 and node.op_type not in (*TUPLE_OPERATORS, "If"):
            name = node.output[0]
            values[name] = graph.call_function(taps[name], (result,)) if name in taps else result
        else:
            for index, name in enumerate(node.output):
                if name:
                    values[name] = graph.call_function(operator.getitem, (result, index))
    graph.output(tuple(values[value.name] for value in proto.output))
    graph.eliminate_dead_code()
    return torch.fx.GraphModule(root, graph).eval()


def _branch(then: Any, otherwise: Any) -> Any:
    def run(condition: Any, *values: Any) -> Any:
        return (then if bool(condition) else otherwise)(*values)

    return run


def _captured(proto: onnx.GraphProto) -> set[str]:
    """Return the names that a branch reads from the enclosing graph."""
    defined = {t.name for t in proto.initializer} | {value.name for value in proto.input} | {""}
    captured: set[str] = set()
    for node in proto.node:
        captured |= set(node.input) - defined
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                captured |= _captured(inner) - defined
        defined |= set(node.output)
    return captured | ({value.name for value in proto.output} - defined)


def _operator(node: _Node) -> Any:
    """Return the translation of a node; raise ModelError for an unknown operator."""
    from tamis.engines.torch_operators import OPERATORS

    proto = node.node
    place = proto.name or proto.output[0]
    if proto.domain not in ("", "ai.onnx") or proto.op_type not in OPERATORS:
        hint = did_you_mean(proto.op_type, OPERATORS).removeprefix("did you mean ").rstrip("?")
        similar = f"; similar: {hint}" if hint else ""
        raise ModelError(
            f"the engine torch does not support the operator {proto.domain + '.' if proto.domain else ''}{proto.op_type} "
            f"(node {place!r}{similar}): use another engine"
        )
    if proto.op_type == "BatchNormalization" and len([name for name in proto.output if name]) > 1:
        raise ModelError(
            f"the engine torch does not support BatchNormalization in training mode (node {place!r}): "
            "export the model in evaluation mode"
        )
    return OPERATORS[proto.op_type](node)


class _Node:
    """A node as translations read it: attributes, constant inputs, the opset."""

    def __init__(
        self, node: onnx.NodeProto, attributes: dict[str, Any], static: list[np.ndarray | None], opset: int
    ) -> None:
        self.node, self.attributes, self.static, self.opset = node, attributes, static, opset

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def constant(self, index: int) -> Any:
        """Return a constant input as Python numbers, or None where it is absent or computed."""
        value = self.static[index] if index < len(self.static) else None
        return None if value is None else value.tolist()

    def has(self, index: int) -> bool:
        """Return whether an optional input is present."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def unsupported(self, what: str) -> ModelError:
        """Return an error about an unsupported variant of the operator."""
        place = self.node.name or (self.node.output[0] if self.node.output else "?")
        return ModelError(
            f"the engine torch does not support {self.node.op_type} with {what} (node {place!r}): use another engine"
        )


def _constant(torch: Any, graph: Any, root: Any, array: np.ndarray) -> Any:
    name = f"constant_{len(list(root.buffers()))}"
    tensor = torch.from_numpy(np.array(array, copy=True))
    root.register_buffer(name, tensor)
    return graph.get_attr(name)


def _constant_node(node: onnx.NodeProto, attributes: dict[str, Any]) -> np.ndarray:
    key, value = next(iter(attributes.items()))
    if key == "value":
        return numpy_helper.to_array(value)
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if key not in kinds:
        raise ModelError(
            f"the engine torch does not support Constant with {key} (node {node.name or node.output[0]!r})"
        )
    return np.array(value, kinds[key])
