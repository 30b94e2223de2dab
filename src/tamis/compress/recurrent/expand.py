"""Replace the operators GRU and LSTM of a graph by their steps, which share weights and formats."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from tamis._base import ModelError
from tamis.compress.recurrent.cells import CellWeights, GruCell, LateResetGruCell, LstmCell, RecurrentCell
from tamis.compress.recurrent.layout import Layouts, Moved, node_place
from tamis.compress.recurrent.points import ExpansionWriter, SharedPoint, TableFunction

RECURRENT = ("GRU", "LSTM", "RNN")
GATE_ACTIVATIONS = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@dataclass(frozen=True)
class Expansion:
    """A graph without recurrent operators: an Identity stands at every rounding of a point."""

    model: onnx.ModelProto
    points: tuple[SharedPoint, ...]
    tables: tuple[TableFunction, ...]
    owners: dict[str, str]  # the point whose values a tensor has
    layers: dict[str, str]  # names of layers by their weights


def expand_recurrent(model: onnx.ModelProto, name: str) -> Expansion:
    """Return the graph with every GRU and LSTM step by step; constants are initialisers. Raises ModelError for what is not supported."""
    if not any(node.op_type in RECURRENT for node in model.graph.node):
        return Expansion(model, (), (), {}, {})
    return _Expander(model, name).run()


class _Expander:
    """One pass over the nodes."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.name, self.nodes = name, list(model.graph.node)
        self.arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        for node in self.nodes:
            why = _refusal(node, self.arrays) if node.op_type in RECURRENT else ""
            if why:
                raise ModelError(f"the node {node_place(node)} of {name} {why}")
        self.layouts = Layouts(model, name)
        empty = onnx.ModelProto()
        empty.CopyFrom(model)
        del empty.graph.node[:]
        self.writer = ExpansionWriter(empty)
        self.pieces: dict[str, list[str]] = {}  # of each base: tensors (rows, hidden) side by side
        self.written: set[str] = set()
        self.taken: set[str] = set()

    def run(self) -> Expansion:
        outputs = [value.name for value in self.writer.model.graph.output]
        for node in self.nodes:
            if node.op_type in RECURRENT:
                self._expand(node)
            elif not self.layouts.follow(node):
                for name in node.input:
                    self._materialise(name)
                self.writer.model.graph.node.append(node)
        for name in outputs:
            self._materialise(name)
        graph = ir.from_proto(self.writer.model)
        RemoveUnusedNodesPass()(graph)
        write = self.writer
        points, tables = tuple(write.points.values()), tuple(write.tables.values())
        return Expansion(ir.to_proto(graph), points, tables, write.owners, write.layers)

    def _expand(self, node: onnx.NodeProto) -> None:
        """Write the steps of a layer, and note where its results are."""
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        lengths = node.input[4] if len(node.input) > 4 else ""
        if lengths and not self._whole(lengths, node):
            raise ModelError(
                f"the node {node_place(node)} of {self.name} has sequences of different lengths (sequence_lens), which are not supported: "
                "pad them in the input"
            )
        batch_first = bool(attributes.get("layout", 0))
        weights, states = (self.arrays[name] for name in node.input[1:3])
        directions, hidden = states.shape[0], states.shape[2]
        bias = self.arrays[node.input[3]] if len(node.input) > 3 and node.input[3] else None
        if bias is None:
            bias = np.zeros((directions, 2 * weights.shape[1]), np.float32)
        kind: type[RecurrentCell] = LstmCell
        if node.op_type == "GRU":
            kind = LateResetGruCell if attributes.get("linear_before_reset", 0) else GruCell
        layer = self._layer_name(node)
        sequence = self.layouts.sequence(node.input[0], batch_first=batch_first)
        steps = sequence.indices.shape[1]
        xs = self._steps_of(sequence, layer, node)
        found: list[list[list[str]]] = []  # by direction, state and step
        for number in range(directions):
            direction = f"_{'forward' if number == 0 else 'backward'}" if directions > 1 else ""
            split = np.split(bias[number], 2)
            cell = kind(self.writer, layer, direction, CellWeights(weights[number], states[number], *split))
            initial = [
                self.layouts.initial(node, 5 + place, hidden, batch_first=batch_first)[number]
                for place in range(kind.states)
            ]
            backward = attributes.get("direction", b"forward") == b"reverse" or number == 1
            order = range(steps - 1, -1, -1) if backward else range(steps)
            current = cell.begin(self._initial(xs[order[0]], initial, f"{layer}{direction}/initial"))
            made: list[list[str]] = [[""] * steps for _ in current]
            for step in order:
                current = cell.step(xs[step], current, f"{layer}{direction}/step{step + 1}")
                for place, state in enumerate(current):
                    made[place][step] = state
            found.append(made)
        self._note_results(
            node, found, hidden, batch_first=batch_first, reverse=attributes.get("direction") == b"reverse"
        )

    def _whole(self, lengths: str, node: onnx.NodeProto) -> bool:
        axis = 1 if any(one.name == "layout" and one.i for one in node.attribute) else 0
        steps = self.layouts.values[node.input[0]].shape[axis]
        return lengths in self.layouts.constant and bool((self.layouts.values[lengths] == steps).all())

    def _layer_name(self, node: onnx.NodeProto) -> str:
        """Return a name of the layer, from those of the modules that it was exported from."""
        parts = [part for part in node.name.split("/") if part]
        if len(parts) > 1 and parts[-1].split("_")[0] == node.op_type:
            parts = parts[:-1] + ([f"layer{parts[-1].split('_')[1]}"] if "_" in parts[-1] else [])
        base = name = "_".join(parts).lower() or node.op_type.lower()
        count = 2
        while name in self.taken:
            name, count = f"{base}_{count}", count + 1
        self.taken.add(name)
        return name

    def _steps_of(self, sequence: Moved, layer: str, node: onnx.NodeProto) -> list[str]:
        """Return the rounded input of each step."""
        inside = sequence.by_row()
        if inside is None:
            raise ModelError(
                f"the node {node_place(node)} of {self.name} mixes the rows of a batch in its input: export it with the batch as an axis"
            )
        write, steps = self.writer, inside.shape[0]
        if sequence.base in self.pieces:
            return [self._gathered(sequence, inside[step], f"{layer}/x{step + 1}") for step in range(steps)]
        value = sequence.base
        if not np.array_equal(inside, np.arange(sequence.size).reshape(inside.shape)):
            flat = write.node(
                "Reshape", [value, write.constant(np.array([-1, sequence.size]))], f"{layer}/flat"
            )
            chosen = write.node("Gather", [flat, write.constant(inside.ravel())], f"{layer}/chosen", axis=1)
            value = write.node(
                "Reshape", [chosen, write.constant(np.array([-1, *inside.shape]))], f"{layer}/sequence"
            )
        elif self.layouts.values[value].ndim != 3:
            value = write.node(
                "Reshape", [value, write.constant(np.array([-1, *inside.shape]))], f"{layer}/sequence"
            )
        point = SharedPoint(f"{layer}/input", of_channels=True)
        rounded = write.rounded(value, point)
        xs = []
        for step in range(steps):
            place = write.constant(np.array(step))
            xs.append(write.node("Gather", [rounded, place], f"{layer}/x{step + 1}", axis=1))
            write.owners[xs[-1]] = point.name
        return xs

    def _initial(self, x: str, values: list[np.ndarray], prefix: str) -> list[str]:
        """Return constant states for every row of the first input, as results of operators that all steps can follow alike."""
        write = self.writer
        first = write.slice(x, 0, 1, f"{prefix}/row")
        zero = write.node("Mul", [first, write.constant(np.array(0, np.float32))], f"{prefix}/zero")
        return [
            write.node("Add", [zero, write.constant(value[None])], f"{prefix}/{name}")
            for value, name in zip(values, ("h", "c"), strict=False)
        ]

    def _note_results(
        self,
        node: onnx.NodeProto,
        found: list[list[list[str]]],
        hidden: int,
        *,
        batch_first: bool,
        reverse: bool,
    ) -> None:
        """Note where the elements of the results are among the states."""
        layouts, directions, steps = self.layouts, len(found), len(found[0][0])
        rows = len(layouts.values[node.input[0]]) if batch_first else layouts.values[node.input[0]].shape[1]
        names = [*node.output, "", "", ""][:3]
        for place, last in ((0, names[1]), (1, names[2])):
            if place >= len(found[0]):
                continue
            base = f"{names[0] or names[1] or names[2]}/states{place}"
            self.pieces[base] = [state for made in found for state in made[place]]
            size = directions * steps * hidden
            numbers = np.arange(rows * size).reshape(rows, directions, steps, hidden)
            if place == 0 and names[0]:
                order = (0, 2, 1, 3) if batch_first else (2, 1, 0, 3)
                layouts.moved[names[0]] = Moved(base, size, numbers.transpose(order))
            if last:
                ends = [0 if reverse or number == 1 else steps - 1 for number in range(directions)]
                ended = np.stack([numbers[:, number, end] for number, end in enumerate(ends)], 1)
                layouts.moved[last] = Moved(base, size, ended if batch_first else ended.transpose(1, 0, 2))

    def _materialise(self, name: str) -> None:
        """Write a tensor of moved states that other operators read."""
        moved = self.layouts.moved.get(name)
        if moved is None or name in self.written:
            return
        self.written.add(name)
        inside = moved.by_row()
        if inside is None:
            raise ModelError(
                f"{name!r} of {self.name}, which comes from a recurrent layer, is read with the batch not in front: export the model with "
                "batch_first, or with a transposition before its next operator"
            )
        flat = self._gathered(moved, inside.ravel(), f"{name}/flat")
        shape = self.writer.constant(np.array([-1, *inside.shape]))
        self.writer.node("Reshape", [flat, shape], name)
        if flat in self.writer.owners:
            self.writer.owners[name] = self.writer.owners[flat]

    def _gathered(self, moved: Moved, inside: np.ndarray, output: str) -> str:
        """Return elements of the states of a layer, in a row."""
        write, pieces = self.writer, self.pieces[moved.base]
        width = moved.size // len(pieces)
        places = inside.reshape(-1, width) if inside.size % width == 0 else np.zeros((0, width), np.int64)
        whole = (
            len(places)
            and (places == places[:, :1] + np.arange(width)).all()
            and not (places[:, 0] % width).any()
        )
        used = (places[:, 0] // width if whole else np.unique(inside // width)).tolist()
        chosen = [pieces[one] for one in used]
        if whole and len(chosen) == 1:
            return chosen[0]
        result = output if whole else f"{output}/states"
        if len(chosen) > 1:
            write.node("Concat", chosen, result, axis=1)
        else:
            result = chosen[0]
        if not whole:
            indices = np.searchsorted(used, inside // width) * width + inside % width
            result = write.node("Gather", [result, write.constant(indices)], output, axis=1)
        owners = {write.owners.get(one) for one in chosen}
        if len(owners) == 1 and None not in owners:
            write.owners[result] = str(owners.pop())
        return result


def _refusal(node: onnx.NodeProto, constants: Container[str]) -> str:
    """Return why an operator has no steps; nothing if it has."""
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    names = [one.decode() for one in attributes.get("activations", [])]
    default = GATE_ACTIVATIONS.get(node.op_type, [])
    if node.op_type == "RNN":
        return "is not supported: train a GRU or an LSTM instead"
    if attributes.get("clip"):
        return "has the attribute clip, which is not supported: export it without"
    if attributes.get("input_forget"):
        return "has joint input and forget gates, which are not supported: export it with separate ones"
    if names and names != default * (len(names) // len(default)):
        known = " and ".join(dict.fromkeys(default))
        return f"has the activations {', '.join(names)}; only {known} are supported: train it with these"
    if len(node.input) > 7 and node.input[7]:
        return "has peepholes, which are not supported: train it without"
    if any(name and name not in constants for name in node.input[1:4]):
        return "has weights that are computed: export them as constants"
    return ""
