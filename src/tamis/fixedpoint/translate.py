"""Find the integer part of an ONNX graph and translate it to a program.

A quantised graph has a host side (floats become bounded integers: scale, round, clip), a core whose every operation is exact,
and a host side again (softmax, score). The core is found by what the graph computes, not by names: it begins at tensors that
were rounded and clipped, or at integer inputs, and goes on while floats of the graph's own type hold every result exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from tamis._base import ModelError
from tamis.bundle.model import graphs
from tamis.bundle.reference import Reference, evaluate_node
from tamis.fixedpoint.grids import FixedGrid, Ranges
from tamis.fixedpoint.host import host_grid, modulus_of
from tamis.fixedpoint.names import LAYER_OPERATORS, layer_name
from tamis.fixedpoint.operators import TRANSLATIONS, Choices, Inexact, Operands, wrapped
from tamis.fixedpoint.program import FixedProgram, LookUp, ProgramInput, Scale, Step, Take
from tamis.fixedpoint.tables import Tables, tabulated

INPUT_LAYER = "inputs"  # the name of what precedes the first layer
MANTISSA_BITS = {"float16": 11, "float32": 24, "float64": 53, "int32": 31, "int64": 62}


@dataclass(frozen=True)
class TranslatedNode:
    """A node of the graph as steps of the program; an input is a value of the program, a constant, or absent."""

    node: onnx.NodeProto
    layer: str
    values: tuple[int | None, ...]
    constants: tuple[np.ndarray | None, ...]
    steps: tuple[int, ...]  # indices of steps
    results: tuple[int, ...]  # values


@dataclass(frozen=True)
class QuantisedGraph:
    """A graph in three parts: the model before the program, which makes its integers; the program; the model after it."""

    before: onnx.ModelProto | None
    program: FixedProgram
    after: onnx.ModelProto | None
    dtypes: dict[str, np.dtype]  # of the tensors between the parts
    nodes: tuple[TranslatedNode, ...]  # that the program was made from, in order
    doubts: tuple[
        str, ...
    ] = ()  # sentences: where engines that compute in floating point may differ from the program


def split_graph(model: onnx.ModelProto, example: dict[str, np.ndarray]) -> QuantisedGraph:
    """Split a graph into host side, program and host side; `example` is one row of every input."""
    model = onnx.inliner.inline_local_functions(model) if model.functions else model
    if any(True for graph in graphs(model.graph) if graph is not model.graph):
        raise ModelError(
            "the model has branches or loops (If, Loop, Scan), which have no fixed-point program"
        )
    return _Splitter(model, example).split()


class _Splitter:
    """One pass over the nodes of a graph, which sorts its tensors into constants, the program's values, and the rest."""

    def __init__(self, model: onnx.ModelProto, example: dict[str, np.ndarray]) -> None:
        self.model, self.graph = model, model.graph
        self.trace = Reference(model, double=False).trace(example)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.inputs: list[ProgramInput] = []
        self.steps: list[Step] = []  # their inputs are numbered as in `core`
        self.core: dict[str, int] = {}  # tensor -> value: inputs count up from 0, steps down from -1
        self.grids: list[FixedGrid] = []
        self.translated: list[TranslatedNode] = []  # their values are numbered as in `core`
        self.unbounded: dict[
            str, FixedGrid
        ] = {}  # tensors of the host side that were rounded; bounds may be infinite
        self.inexact: dict[str, str] = {}  # tensor after the core -> why it is not in it
        self.makers = {name: node for node in self.graph.node for name in node.output if name}
        self.layer, self.layers = INPUT_LAYER, {INPUT_LAYER}
        self.choices = Choices()
        self.names: dict[tuple[str, ...], str] = {}  # of layers by their constants
        self.doubts: list[str] = []

    def split(self) -> QuantisedGraph:
        """Visit the nodes, and cut."""
        for value in self.graph.input:
            if value.name not in self.constants:
                self._read_input(value.name)
        for node in self.graph.node:
            self._visit(node)
        outputs = [value.name for value in self.graph.output]
        needed = self._needed(outputs)
        if not self.steps:
            raise ModelError(
                "no part of the model is quantised: no input is rounded and clipped to integers, followed by exact "
                "operations; make a quantised model with `tamis compress`"
            )
        program = FixedProgram(
            tuple(self.inputs),
            tuple(replace(step, inputs=tuple(map(self._number, step.inputs))) for step in self.steps),
            tuple(self._number(self.core[name]) for name in needed),
            tuple(needed),
        )
        names = [one.tensor for one in self.inputs]
        is_input = {value.name for value in self.graph.input}
        before = None if set(names) <= is_input else self._part(is_input - set(self.constants), names)
        after = None if set(outputs) <= set(needed) else self._part(set(needed) | is_input, outputs)
        dtypes = {name: self.trace[name].dtype for name in (*names, *needed)}
        nodes = [
            replace(
                one,
                values=tuple(None if value is None else self._number(value) for value in one.values),
                results=tuple(map(self._number, one.results)),
            )
            for one in self.translated
        ]
        return QuantisedGraph(before, program, after, dtypes, tuple(nodes), tuple(self.doubts))

    def _number(self, value: int) -> int:
        """Return the number of a value in the program: inputs come first, whenever they were found."""
        return value if value >= 0 else len(self.inputs) - 1 - value

    def _read_input(self, name: str) -> None:
        kind = self.trace[name].dtype
        if kind.kind in "iu" and kind.itemsize <= 2:
            limits = np.iinfo(kind)
            self._begin(
                name, FixedGrid(np.array(float(limits.min)), np.array(float(limits.max)), np.array(0))
            )

    def _begin(self, name: str, grid: FixedGrid) -> None:
        """Make a tensor an input of the program."""
        shape = self.trace[name].shape
        if shape[:1] != (1,):
            return
        low, high, fraction = (
            np.broadcast_to(bound, shape)[0].copy() for bound in (grid.low, grid.high, grid.fraction)
        )
        self.inputs.append(ProgramInput(name, shape[1:], low, high, fraction))
        self.core[name] = len(self.inputs) - 1

    def _visit(self, node: onnx.NodeProto) -> None:
        names = [name for name in node.input if name]
        never = node.op_type == "IsNaN" and names[0] in self.core
        if node.op_type == "Shape" or never or (node.op_type == "Sub" and names[0] == names[1]):
            self.constants[node.output[0]] = self.trace[node.output[0]]  # of one event, false, and zero
            return
        if all(name in self.constants for name in names):
            results = evaluate_node(node, [self.constants.get(name) for name in node.input], self.model)
            self.constants.update(zip(node.output, results, strict=False))
            return
        if self.choices.note(node, self.core, self.constants):
            return
        outside = [name for name in names if name not in self.constants and name not in self.core]
        if outside and not self.choices.chooses(node, self.core, self.constants):
            self._visit_host(node, outside)
            return
        try:
            self._translate(node)
        except Inexact as reason:
            for name in node.output:
                self.inexact[name] = f"{node.op_type} of {node.output[0]!r}: {reason}"

    def _visit_host(self, node: onnx.NodeProto, outside: Sequence[str]) -> None:
        """Follow integers on the host side to where they are clipped, which is where the program begins."""
        after = next((self.inexact[name] for name in outside if name in self.inexact), None)
        if any(name in self.core for name in node.input) and after is None:
            after = f"{node.op_type} of {node.output[0]!r}: it reads a tensor that is not quantised"
        if after is not None:
            self.inexact |= dict.fromkeys(node.output, after)
        grid = host_grid(node, self.unbounded, self.constants, self.makers)
        if grid is None:
            return
        if after is not None:  # a function between a quantised value and its next rounding
            self._tabulate(node, after)
        elif not (np.isfinite(grid.low).all() and np.isfinite(grid.high).all()):
            self.unbounded[node.output[0]] = grid
        else:
            self._begin(node.output[0], grid)

    def _tabulate(self, node: onnx.NodeProto, after: str) -> None:
        """Make a table of everything between one value of the program and a rounding, such as a rounded sigmoid."""
        name = node.output[0]
        try:
            (source,) = self._needed([name])
            value = self.core[source]
            model = self._part({source}, [name, node.input[0]])
            found = tabulated(model, source, self.range_of(value), self.trace[source].dtype)
        except (Inexact, ValueError) as reason:
            raise ModelError(
                f"a quantised layer follows one that hardware cannot compute exactly: {after}"
                + (f" ({reason})" if isinstance(reason, Inexact) else "")
            ) from reason
        if len(found.doubtful):
            self.doubts.append(found.doubt)
        shape = self.range_of(value).low.shape
        mark = len(self.steps)
        scaled = self.append(Scale(self.layer, (value,), shape, np.full(shape, 2.0**found.fraction)))
        self.core[name] = self._look_up(scaled, shape, found)
        steps = tuple(range(mark, len(self.steps)))
        self.translated.append(TranslatedNode(node, self.layer, (value,), (None,), steps, (self.core[name],)))

    def _look_up(self, value: int, shape: tuple[int, ...], found: Tables) -> int:
        """Append the tables of a value, one for all elements or one for each group of them."""
        if len(found.tables) == 1:
            return self.append(LookUp(self.layer, (value,), shape, found.tables[0], found.low))
        groups = [np.flatnonzero(found.table_of == number) for number in range(len(found.tables))]
        parts = [
            self.append(
                LookUp(
                    self.layer,
                    (self.append(Take(self.layer, (value,), places.shape, places)),),
                    places.shape,
                    table,
                    found.low,
                )
            )
            for places, table in zip(groups, found.tables, strict=True)
        ]
        order = np.argsort(np.concatenate(groups)).reshape(shape)
        return self.append(Take(self.layer, tuple(parts), shape, order))

    def _needed(self, outputs: Sequence[str]) -> list[str]:
        """Return the tensors of the program that outputs depend on directly, in the order of the graph."""
        wanted, seen, found = list(outputs), set[str](), set[str]()
        while wanted:
            name = wanted.pop()
            if name in self.core:
                found.add(name)
            elif name not in seen and name in self.makers:
                wanted += [one for one in self.makers[name].input if one]
            seen.add(name)
        return [name for name in self.core if name in found]

    def _translate(self, node: onnx.NodeProto) -> None:
        """Append the steps of a node; raise Inexact if there are none or a float cannot hold the results."""
        operator = TRANSLATIONS.get(node.op_type)
        if self.choices.chooses(node, self.core, self.constants):
            operator = self.choices.saturated
        if operator is None or node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
            raise Inexact("no fixed-point form is known of this operator")
        result = self.trace[node.output[0]]
        if result.shape[:1] != (1,):
            raise Inexact(f"its leading axis has {result.shape[:1]} rows for one event")
        layer = self._layer(node)
        if (modulus := modulus_of(node, self.constants, self.makers)) is not None:
            operator = partial(wrapped, moduli=modulus)
        builder = Operands(self, node, layer)
        mark = len(self.steps)
        try:
            produced = operator(builder)
            self._check_exact(mark, result.dtype)
        except Inexact:
            del self.steps[mark:], self.grids[mark:]
            raise
        self.layer = layer
        self.layers.add(layer)
        self.core.update(zip(node.output, produced, strict=False))
        self.translated.append(
            TranslatedNode(
                node,
                layer,
                tuple(builder.values),
                tuple(builder.constants),
                tuple(range(mark, len(self.steps))),
                tuple(produced),
            )
        )

    def _check_exact(self, mark: int, dtype: np.dtype) -> None:
        """Raise Inexact if a float of the graph cannot hold the results and partial sums of new steps."""
        bits = MANTISSA_BITS.get(dtype.name, 24)
        needed = max((grid.exact_bits for grid in self.grids[mark:]), default=0)
        if needed > bits:
            raise Inexact(
                f"its sums need {needed} bits and {dtype} holds {bits}; use fewer bits for weights or activations, or float64"
            )

    def append(self, step: Step) -> int:
        """Append a step and return its value."""
        inputs = [self.range_of(value) for value in step.inputs]
        self.grids.append(step.apply(Ranges(), inputs))
        self.steps.append(step)
        return -len(self.steps)

    def range_of(self, value: int) -> FixedGrid:
        """Return the range of a value."""
        if value < 0:
            return self.grids[-value - 1]
        one = self.inputs[value]
        return FixedGrid(one.low, one.high, one.fraction)

    def _layer(self, node: onnx.NodeProto) -> str:
        """Return the name of the layer that a node belongs to; each product with weights begins one."""
        if node.op_type not in LAYER_OPERATORS or not any(name in self.constants for name in node.input):
            return self.layer
        key = (node.op_type, *(name for name in node.input if name in self.constants))
        if key not in self.names:
            self.names[key] = layer_name(node, self.constants, self.layers)
        return self.names[key]  # steps of a recurrent layer are one layer

    def _part(self, given: set[str], outputs: Sequence[str]) -> onnx.ModelProto:
        """Return the model from given tensors to outputs."""
        wanted, nodes, read = list(outputs), set[int](), set[str]()
        seen = set(given)
        while wanted:
            name = wanted.pop()
            if name in given:
                read.add(name)
            if name in seen or name not in self.makers or name in self.constants:
                continue
            seen.add(name)
            nodes.add(id(self.makers[name]))
            wanted += [one for one in self.makers[name].input if one]
        kept = [node for node in self.graph.node if id(node) in nodes]
        used = {name for node in kept for name in node.input}
        inputs = [self._described(name) for name in self.trace if name in read]
        graph = onnx.helper.make_graph(
            kept,
            self.graph.name,
            inputs,
            [self._described(name) for name in outputs],
            [
                numpy_helper.from_array(np.asarray(self.constants[name]), name)
                for name in sorted(used & self.constants.keys())
            ],
        )
        return onnx.helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )

    def _described(self, name: str) -> onnx.ValueInfoProto:
        array = self.trace[name]
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        shape = ["N", *array.shape[1:]] if array.shape[:1] == (1,) else list(array.shape)
        return onnx.helper.make_tensor_value_info(name, kind, shape)
