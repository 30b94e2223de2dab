"""PyTorch, eager: what the model costs in the framework that it was trained in."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from quickbeam._base import ModelError, did_you_mean, require
from quickbeam.bundle import Signature
from quickbeam.bundle.model import parse_model
from quickbeam.engines.engine import Arrays, Engine, Options, Runner, refuse, writable

SEVERAL = frozenset(["Dropout", "GRU", "LSTM", "Split", "TopK"])  # return tuples, even where one part is used


class TorchEngine(Engine):
    """Translates the graph node by node into a `torch.fx` module and runs it eagerly."""

    name = "torch"
    batch_bound = 1e-5

    def prepare(self) -> None:
        """Import torch."""
        require("torch", extra="torch", purpose="the engine torch")

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Translate; the number of threads is torch's own and global to the process."""
        torch = require("torch", extra="torch", purpose="the engine torch")
        if torch.get_num_threads() != options.threads:
            torch.set_num_threads(options.threads)
        module = translate(parse_model(model, "the model"))
        dtypes = [np.dtype(spec.dtype) for spec in signature.outputs]

        def run(arrays: Arrays) -> Arrays:
            try:
                with torch.inference_mode():
                    results = module(*[torch.from_numpy(writable(array)) for array in arrays])
            except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError) as error:
                raise refuse(self.name, error) from error
            return [_own(value, t, arrays) for value, t in zip(results, dtypes, strict=True)]

        return Runner(run)


def _own(value: Any, dtype: np.dtype[Any], arrays: Arrays) -> np.ndarray:
    """Return a result as an array of its own: a view of an input would change with it."""
    found: np.ndarray = value.numpy().astype(dtype, copy=False)
    shared = not found.flags.owndata and any(np.may_share_memory(found, array) for array in arrays)
    return found.copy() if shared else found


def translate(model: onnx.ModelProto) -> Any:
    """Make a torch.fx module of an ONNX graph."""
    torch = require("torch", extra="torch", purpose="the engine torch")
    from quickbeam.engines.torch_operators import OPERATORS

    graph, root = torch.fx.Graph(), torch.nn.Module()
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    values: dict[str, Any] = {"": None}
    constants: dict[str, np.ndarray] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants:
            values[value.name] = graph.placeholder(f"input_{len(values)}")
    for name, array in constants.items():
        values[name] = _constant(torch, graph, root, array)
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            array = _constant_node(node, attributes)
            constants[node.output[0]] = array
            values[node.output[0]] = _constant(torch, graph, root, array)
            continue
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            near = did_you_mean(node.op_type, OPERATORS)
            raise ModelError(
                f"the engine torch does not know the operator {node.domain + '.' if node.domain else ''}{node.op_type} "
                f"(node {node.name or node.output[0]!r}; {near.removeprefix('did you mean ')}): use another engine"
            )
        if node.op_type == "BatchNormalization" and len([name for name in node.output if name]) > 1:
            raise ModelError(
                f"the engine torch does not know BatchNormalization in training (node {node.name or node.output[0]!r}): "
                "export the model in evaluation mode"
            )
        static = [constants.get(name) for name in node.input]
        call = OPERATORS[node.op_type](_Node(node, attributes, static, opset))
        result = graph.call_function(call, tuple(values[name] for name in node.input))
        if len(node.output) == 1 and node.op_type not in SEVERAL:
            values[node.output[0]] = result
        else:
            for index, name in enumerate(node.output):
                if name:
                    values[name] = graph.call_function(operator.getitem, (result, index))
    graph.output(tuple(values[value.name] for value in model.graph.output))
    graph.eliminate_dead_code()
    return torch.fx.GraphModule(root, graph).eval()


class _Node:
    """What an operator's translation looks at: attributes, the inputs that are constants, the opset."""

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
        """Tell whether an optional input is given."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def unsupported(self, what: str) -> ModelError:
        """Return the sentence about a variant that is not translated."""
        place = self.node.name or (self.node.output[0] if self.node.output else "?")
        return ModelError(
            f"the engine torch does not know {self.node.op_type} with {what} (node {place!r}): use another engine"
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
            f"the engine torch does not know Constant with {key} (node {node.name or node.output[0]!r})"
        )
    return np.array(value, kinds[key])
