"""From an ONNX model to the graph of one event.

The model is evaluated once on one event, which gives every shape; tensors that do not depend on the event (weights, and arithmetic on
shapes) become constants. Nodes that no output needs are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.bundle.model import RANDOM_OPERATORS
from tamis.native.graph import Attribute, Graph, Node, TensorType, Varying
from tamis.native.inline import PLAIN_DOMAINS, inlined, opset_of
from tamis.native.interpolate import Traced, corner, evaluated_rows, interpolated
from tamis.native.limits import OTHER_ENGINES, refuse_large, refuse_large_tensors
from tamis.native.sizes import SizeTable
from tamis.native.unroll import CONTROL_FLOW, GRAPH_ATTRIBUTES, is_decided, unrolled

# operators that read the values of their first inputs only: of the others the shape or the type
VALUES_READ = {"Shape": 0, "Size": 0, "EyeLike": 0, "CastLike": 1}


def specialise(model: onnx.ModelProto, event: Mapping[str, np.ndarray], held: Collection[str] = ()) -> Graph:
    """Return the graph of one event; `event` is an example, with the batch size that the model takes.

    Inputs that are `held` have the values of the example in every event, such as axes and sizes.
    """
    model = inlined(model)
    refuse_large(model, event)
    fixed = {name: np.asarray(event[name]) for name in held}
    model, values, constants = _traced(model, event, fixed)
    nodes = _needed(_nodes(model, constants), {one.name for one in model.graph.output})
    refuse_large_tensors(values)
    types = {
        name: TensorType(np.asarray(value).shape, np.asarray(value).dtype) for name, value in values.items()
    }
    used = _used(model, nodes)
    return Graph(
        _inputs(model, constants, held), tuple(one.name for one in model.graph.output), nodes, types,
        {name: value for name, value in constants.items() if name in used}, held=fixed,
    )  # fmt: skip


def specialise_sizes(
    model: onnx.ModelProto,
    events: Sequence[Mapping[str, np.ndarray]],
    typical: int,
    free: np.ndarray | None = None,
) -> Graph:
    """Return the graph of events of several sizes, given an example of each, the smallest first; `typical` is the number of one of them.

    The smallest ones may be too small for the model; its tables have no rows for them. With `free`, the sizes of the free dimensions of each event,
    (events, dimensions), not all of them are evaluated. Where these are several, the events are examples, all of which the model takes, the last one
    with the largest size of each dimension; code computes what follows from other sizes.
    """
    model = inlined(model)
    refuse_large(model, events[-1])
    tracer = _SizeTracer(model)
    several = free is not None and free.shape[1] > 1
    first = 0
    if not several:
        first = next((row for row in range(len(events) - 1) if tracer.admits(events[row])), len(events) - 1)
    if several:
        tracer.compute_numbers(events[0], events[-1])
    traced, found = _evaluated(tracer, events, first, free)
    if found is None:
        found = [traced.get(row) or tracer.trace(events[row]) for row in range(first, len(events))]
    table = SizeTable(len(found), max(0, typical - first), free if several else None)
    return Graph(
        _inputs(tracer.model, found[0].known),
        tuple(one.name for one in tracer.model.graph.output),
        tracer.nodes,
        {
            name: TensorType(_shape(table, name, [one.shapes[name] for one in found]), dtype)
            for name, dtype in tracer.dtypes.items()
        },
        *_split(table, [one.known for one in found]),
        table,
    )


def admits(model: onnx.ModelProto) -> Callable[[Mapping[str, np.ndarray]], bool]:
    """Return a function that returns whether a model takes events of a size."""
    return _SizeTracer(inlined(model)).admits


def _evaluated(
    tracer: _SizeTracer, events: Sequence[Mapping[str, np.ndarray]], first: int, free: np.ndarray | None
) -> tuple[dict[int, Traced], list[Traced] | None]:
    """Return the rows that were evaluated, and all of them if the others follow from those."""
    if free is None:
        return {row: tracer.trace(events[row]) for row in range(first, len(events))}, None
    traced = {row: tracer.trace(events[row]) for row in evaluated_rows(first, len(events), free.shape[1])}
    return traced, interpolated(free, traced)


class _SizeTracer:
    """Evaluates a model on events of several sizes, of which all must have the same nodes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self._evaluator = model, Reference(model, double=False, shapes_only=True)
        self.nodes: tuple[Node, ...] = ()
        self.dtypes: dict[str, np.dtype] = {}
        self._used: set[str] = set()
        self._computed: set[str] = set()

    def admits(self, event: Mapping[str, np.ndarray]) -> bool:
        """Return whether the model takes events of this size: some need a few particles, such as the neighbours of each."""
        try:
            self._evaluator.trace(dict(event))
        except ModelError:
            return False
        return True

    def compute_numbers(self, smallest: Mapping[str, np.ndarray], largest: Mapping[str, np.ndarray]) -> None:
        """Leave what differs between two sizes and is not an integer, such as a mean's divisor, to the code."""
        one, other = (
            _known(self.model.graph, self._evaluator.trace(dict(event))) for event in (smallest, largest)
        )
        for name, value in one.items():
            is_part = value.ndim == other[name].ndim and np.array_equal(
                other[name][corner(value.shape)], value
            )
            if value.dtype.kind == "f" and not is_part:
                self._computed.add(name)

    def trace(self, event: Mapping[str, np.ndarray]) -> Traced:
        """Return what depends on the size of an event."""
        values = self._evaluator.trace(dict(event))
        constants = _known(self.model.graph, values)
        model = self.model
        if any(is_decided(model, node, constants) for node in model.graph.node):
            model, values, constants = _traced(model, event, {})
        constants = {name: value for name, value in constants.items() if name not in self._computed}
        refuse_large_tensors(values)
        nodes = self.nodes
        if not nodes or model is not self.model:
            nodes = _needed(_nodes(model, constants), {one.name for one in model.graph.output})
        if not self.nodes:
            self.nodes, self._used = nodes, _used(model, nodes)
            self.dtypes = {name: np.asarray(value).dtype for name, value in values.items()}
        elif nodes is not self.nodes and list(map(str, nodes)) != list(map(str, self.nodes)):
            raise ModelError(
                f"the native engine compiles one graph for all sizes, and this model has another one from size to size; {OTHER_ENGINES}"
            )
        known = {name: np.asarray(value) for name, value in constants.items() if name in self._used}
        return Traced({name: np.asarray(values[name]).shape for name in self.dtypes}, known)


def _shape(table: SizeTable, name: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return a shape whose axes may vary."""
    if len({len(one) for one in shapes}) > 1:
        raise ModelError(f"{name!r} has another number of axes from size to size; {OTHER_ENGINES}")
    return tuple(table.size(axis) for axis in zip(*shapes, strict=True))


def _split(
    table: SizeTable, known: Sequence[Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], dict[str, Varying]]:
    """Return the constants that are the same in all rows, and the others."""
    constants, varying = {}, {}
    for name, value in known[0].items():
        rows = [one[name] for one in known]
        if all(one is value or (one.shape == value.shape and (one == value).all()) for one in rows):
            constants[name] = value
        else:
            varying[name] = Varying(table, tuple(rows))
    return constants, varying


def _traced(
    model: onnx.ModelProto, event: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray]
) -> tuple[onnx.ModelProto, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a model without decided branches and loops, the values of all its tensors, and those that do not depend on the event."""
    values = Reference(model, double=False).trace(dict(event))
    constants = _known(model.graph, values, held)
    while any(is_decided(model, node, constants) for node in model.graph.node):
        model = inlined(unrolled(model, constants, values))
        refuse_large(model, event)
        values = Reference(model, double=False).trace(dict(event))
        constants = _known(model.graph, values, held)
    return model, values, constants


def _inputs(
    model: onnx.ModelProto, constants: Mapping[str, np.ndarray], held: Collection[str] = ()
) -> tuple[str, ...]:
    return tuple(one.name for one in model.graph.input if one.name not in constants or one.name in held)


def _nodes(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> list[Node]:
    """Return the nodes that depend on the event."""
    opset = opset_of(model)
    nodes: list[Node] = []
    for place, proto in enumerate(model.graph.node):
        if any(name in constants for name in proto.output):
            continue
        name = proto.name or f"{proto.op_type}_{place}"
        kind = proto.op_type if proto.domain in PLAIN_DOMAINS else f"{proto.domain}.{proto.op_type}"
        nodes.append(
            Node(kind, name, tuple(proto.input), tuple(proto.output), _attributes(proto, name), opset)
        )
    return nodes


def _needed(nodes: Sequence[Node], results: set[str]) -> tuple[Node, ...]:
    """Return the nodes that the results need."""
    needed = set(results)
    for node in reversed(nodes):
        if needed & set(node.outputs):
            needed |= set(node.inputs)
    return tuple(node for node in nodes if needed & set(node.outputs))


def _used(model: onnx.ModelProto, nodes: Sequence[Node]) -> set[str]:
    return {name for node in nodes for name in node.inputs} | {one.name for one in model.graph.output}


def _known(
    graph: onnx.GraphProto, values: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return the tensors that do not depend on the event."""
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer} | dict(held or {})
    for node in graph.node:
        if node.op_type in RANDOM_OPERATORS or any(one.type in GRAPH_ATTRIBUTES for one in node.attribute):
            continue  # a nested graph may read any outer tensor
        is_plain = node.domain in PLAIN_DOMAINS
        count = VALUES_READ.get(node.op_type, len(node.input)) if is_plain else len(node.input)
        if all(not name or name in constants for name in node.input[:count]):
            constants |= {name: np.asarray(values[name]) for name in node.output if name}
    return constants


def _attributes(node: onnx.NodeProto, name: str) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {}
    for one in node.attribute:
        if one.type == AttributeProto.TENSOR:
            attributes[one.name] = numpy_helper.to_array(one.t)
        elif one.type == AttributeProto.STRING:
            attributes[one.name] = one.s.decode()
        elif one.type == AttributeProto.STRINGS:
            attributes[one.name] = ",".join(text.decode() for text in one.strings)
        elif one.type in (AttributeProto.INT, AttributeProto.FLOAT):
            attributes[one.name] = onnx.helper.get_attribute_value(one)
        elif one.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            attributes[one.name] = tuple(onnx.helper.get_attribute_value(one))
        elif node.op_type not in CONTROL_FLOW:
            raise ModelError(
                f"the native engine does not support {node.op_type} with a nested graph (node {name!r}, attribute {one.name!r}); "
                "use engine='onnxruntime', or export the model without control flow"
            )
    return attributes
