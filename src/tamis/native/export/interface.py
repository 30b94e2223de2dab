"""The C interface of an exported model: its function, parameters, names and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from tamis._base import ModelError
from tamis.bundle import Bundle, Tensor, inner_dims
from tamis.native.graph import Graph

KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool class
namespace new this template private public main tamis and or not xor delete operator try catch throw typename using virtual
friend explicit mutable export concept requires true false nullptr events scratch batches offsets row run inputs outputs
floats workspace in out s e r i k now code target aligned choose propagate_nan has_nan fill_nan row_of NAN span Status Tensor Sizes message
"""  # of C and C++, and the names of our own parameters and members
RESERVED_NAMES = frozenset(KEYWORDS.split())

Shape = tuple[int, ...]
Axes = tuple[int | str, ...]  # sizes; those that are known at run time as an expression in C


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """Return a name as a C identifier that is neither reserved nor taken."""
    found = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "model"
    if found[0].isdigit():
        found = f"m{found}"
    unavailable = RESERVED_NAMES | set(taken)
    chosen, count = found, 1
    while chosen in unavailable:
        count += 1
        chosen = f"{found}_{count}"
    return chosen


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return distinct C identifiers for several names."""
    found: list[str] = []
    for name in names:
        found.append(identifier(name, [*taken, *found]))
    return found


@dataclass(frozen=True)
class RunTimeSizes:
    """The sizes that are parameters: the free dimensions, and the row of each combination in the code's table."""

    names: tuple[str, ...]  # in C
    dims: tuple[str, ...]  # in the model
    rows: Mapping[Shape, int]  # of the admitted combinations

    def ends(self, number: int) -> tuple[int, int]:
        """Return the smallest and the largest size of a dimension."""
        sizes = [one[number] for one in self.rows]
        return min(sizes), max(sizes)


@dataclass(frozen=True)
class Port:
    """An input or an output: its C name, and its shape for one event, or for the batch that the graph is fixed to."""

    name: str
    spec: Tensor
    axes: Axes
    shape: Shape  # at the sizes that the code is tuned for
    largest: int  # floats, over all sizes
    per_row: tuple[int, ...]  # floats in each row of the table, where no expression gives them
    held: str = ""  # the only value that the code is for

    @property
    def floats(self) -> str:
        """Return the floats of one event, or one batch, in C."""
        if self.per_row:
            return f"{self.name}_floats[row]"
        sizes = [axis for axis in self.axes if isinstance(axis, str)]
        fixed = prod(axis for axis in self.axes if isinstance(axis, int))
        return " * ".join([*([str(fixed)] if fixed != 1 or not sizes else []), *sizes])

    @property
    def is_fixed(self) -> bool:
        """Return whether no axis is known at run time only."""
        return not self.per_row and all(isinstance(axis, int) for axis in self.axes)

    @property
    def is_float(self) -> bool:
        """Return whether the model has floats here, which may be NaN."""
        return self.spec.dtype.startswith("float")


@dataclass(frozen=True)
class Interface:
    """The names and shapes of an exported model."""

    name: str
    bundle: Bundle
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sizes: RunTimeSizes | None  # none: all sizes are fixed

    @property
    def ports(self) -> tuple[Port, ...]:
        """Return the inputs, then the outputs."""
        return (*self.inputs, *self.outputs)

    @property
    def count(self) -> str:
        """Return the name of the parameter for the number of events, or batches; empty if the graph has no batch."""
        rows = self.bundle.manifest.signature.rows
        return {"free": "events", "fixed": "batches", "none": ""}[rows]

    @property
    def size_names(self) -> tuple[str, ...]:
        """Return the names of the parameters for sizes."""
        return self.sizes.names if self.sizes else ()

    @property
    def arrays(self) -> str:
        """Return the parameters for inputs and outputs, in C."""
        parameters = [f"const float *{port.name}" for port in self.inputs]
        return ", ".join([*parameters, *(f"float *{port.name}" for port in self.outputs)])

    @property
    def parameters(self) -> str:
        """Return the parameters of the model's function, in C."""
        counts = [f"size_t {one}" for one in (self.count, *self.size_names) if one]
        return ", ".join([self.arrays, *counts, "void *scratch"])

    @property
    def size_parameters(self) -> str:
        """Return the parameters for sizes, in C."""
        return ", ".join(f"size_t {name}" for name in self.size_names)

    @property
    def result(self) -> str:
        """Return the type of the result of the model's function: a status where sizes may be wrong."""
        return "int" if self.sizes else "void"

    @property
    def why_not_ragged(self) -> str:
        """Return why there is no function for ragged batches; empty if there is one."""
        if self.sizes is None:
            return "all sizes are fixed"
        if self.count != "events":
            return "the number of events is not free"
        for port in self.ports:
            if port.per_row or sum(isinstance(axis, str) for axis in port.axes) > 1:
                return f"{port.name} does not have one free axis"
        return ""

    def described(self) -> str:
        """Return a line for each input and output, for the header's comment."""
        return "\n".join(f"   {port.name}: {_described(port, self.count)}" for port in self.ports)


def free_axis(port: Port) -> int | None:
    """Return the axis that is known at run time only; the first axis is that of events."""
    return next((number for number, axis in enumerate(port.axes) if isinstance(axis, str)), None)


def _described(port: Port, count: str) -> str:
    axes = port.axes[1:] if count == "events" else port.axes
    shape = " x ".join(map(str, axes)) or "1"
    per = {"events": " per event", "batches": " per batch", "": ""}[count]
    dtype = "" if port.spec.dtype == "float32" else f"{port.spec.dtype} in the model"
    notes = "; ".join(one for one in (dtype, port.spec.units, port.spec.description, port.held) if one)
    original = "" if port.name == port.spec.name else f" ({port.spec.name!r} of the model)"
    line = f"{shape} floats{per}{original}" + (f"; {notes}" if notes else "")
    return line.replace("*/", "* /").replace("\n", " ")


def interface_of(bundle: Bundle, graph: Graph, admitted: Sequence[Mapping[str, int]] = ()) -> Interface:
    """Return the interface of a bundle, given the graph of an event; `admitted` are the run-time sizes."""
    signature = bundle.manifest.signature
    specs = (*signature.inputs, *signature.outputs)
    dims = inner_dims(signature) if admitted else []
    names = identifiers(spec.name for spec in specs)
    sizes = RunTimeSizes(tuple(identifiers(dims, names)), tuple(dims), _rows(bundle, graph, dims, admitted))
    lead = 0 if signature.rows == "none" else 1
    held = {name: f"not read: the code is for {array.tolist()}" for name, array in graph.held.items()}
    ports = [
        replace(
            _port(name, spec, graph, tensor, sizes if admitted else None, lead), held=held.get(tensor, "")
        )
        for name, spec, tensor in zip(names, specs, (*graph.inputs, *graph.outputs), strict=True)
    ]
    count = len(signature.inputs)
    return Interface(
        identifier(bundle.name, [*names, *sizes.names]),
        bundle,
        tuple(ports[:count]),
        tuple(ports[count:]),
        sizes if admitted else None,
    )


def _rows(
    bundle: Bundle, graph: Graph, dims: Sequence[str], admitted: Sequence[Mapping[str, int]]
) -> dict[Shape, int]:
    """Return the row of each combination of sizes that the model admits."""
    wanted = {tuple(one[dim] for dim in dims) for one in admitted}
    found = {}
    for row in range(graph.rows if dims else 0):
        here: dict[str, int] = {}
        for spec, tensor in zip(bundle.manifest.signature.inputs, graph.inputs, strict=True):
            here |= {
                axis: size
                for axis, size in zip(spec.shape, graph.shape_in(row, tensor), strict=True)
                if isinstance(axis, str)
            }
        sizes = tuple(here[dim] for dim in dims)
        if sizes in wanted:
            found[sizes] = row
    if dims and not found:
        raise ModelError(
            f"{bundle.name} takes no events of the sizes of {', '.join(dims)} in dims: name larger ones"
        )
    return found


def _port(name: str, spec: Tensor, graph: Graph, tensor: str, sizes: RunTimeSizes | None, lead: int) -> Port:
    if sizes is None:
        shape = graph.types[tensor].shape
        return Port(name, spec, shape, shape, prod(shape), ())
    shapes = {one: graph.shape_in(row, tensor) for one, row in sizes.rows.items()}
    in_c = dict(zip(sizes.dims, sizes.names, strict=True))
    first = next(iter(shapes.values()))
    axes = tuple(
        in_c[axis] if isinstance(axis, str) and axis in in_c and number >= lead else first[number]
        for number, axis in enumerate(spec.shape)
    )
    expected = {
        one: [dict(zip(sizes.names, one, strict=True)).get(str(axis), axis) for axis in axes]
        for one in shapes
    }
    largest = max(prod(shape) for shape in shapes.values())
    typical = tuple(list(shapes.values())[len(shapes) // 2])
    if expected == shapes:
        return Port(name, spec, axes, typical, largest, ())
    rows = [prod(graph.shape_in(row, tensor)) for row in range(graph.rows)]
    return Port(name, spec, tuple(map(str, spec.shape)), typical, largest, tuple(rows))
