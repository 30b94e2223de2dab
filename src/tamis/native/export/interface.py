"""The C interface of an exported model: its function, parameters and names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from tamis.bundle import Bundle, Golden, Tensor

KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool class
namespace new this template private public main events scratch batches
"""  # of C and C++, and the names of our own parameters
RESERVED_NAMES = frozenset(KEYWORDS.split())

Shape = tuple[int, ...]


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


def identifiers(names: Iterable[str]) -> list[str]:
    """Return distinct C identifiers for several names."""
    found: list[str] = []
    for name in names:
        found.append(identifier(name, found))
    return found


@dataclass(frozen=True)
class Port:
    """An input or an output: its C name, and its shape for one event, or for the batch that the graph is fixed to."""

    name: str
    spec: Tensor
    shape: Shape
    floats: int
    held: str = ""  # the only value that the code is for


@dataclass(frozen=True)
class Interface:
    """The names and shapes of an exported model."""

    name: str
    bundle: Bundle
    golden: Golden
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def count(self) -> str:
        """Return the name of the parameter for the number of events, or batches; empty if the graph has no batch."""
        rows = self.bundle.manifest.signature.rows
        return {"free": "events", "fixed": "batches", "none": ""}[rows]

    @property
    def parameters(self) -> str:
        """Return the parameters of the model's function, in C."""
        parameters = [f"const float *{port.name}" for port in self.inputs]
        parameters += [f"float *{port.name}" for port in self.outputs]
        parameters += [f"size_t {self.count}"] if self.count else []
        return ", ".join([*parameters, "void *scratch"])

    def described(self) -> str:
        """Return a line for each input and output, for the header's comment."""
        lines = [f"   {port.name}: {_described(port, self.count)}" for port in (*self.inputs, *self.outputs)]
        return "\n".join(lines)


def _described(port: Port, count: str) -> str:
    shape = " x ".join(map(str, port.shape[1:] if count == "events" else port.shape)) or "1"
    per = {"events": " per event", "batches": " per batch", "": ""}[count]
    dtype = "" if port.spec.dtype == "float32" else f"{port.spec.dtype} in the model"
    notes = "; ".join(one for one in (dtype, port.spec.units, port.spec.description, port.held) if one)
    original = "" if port.name == port.spec.name else f" ({port.spec.name!r} of the model)"
    line = f"{shape} floats{per}{original}" + (f"; {notes}" if notes else "")
    return line.replace("*/", "* /").replace("\n", " ")


def interface_of(
    bundle: Bundle,
    golden: Golden,
    inputs: list[Shape],
    outputs: list[Shape],
    held: Mapping[str, np.ndarray] | None = None,
) -> Interface:
    """Return the interface of a bundle, given the shapes of one event, and the inputs that the code does not read."""
    values = {name: f"not read: the code is for {array.tolist()}" for name, array in (held or {}).items()}
    signature = bundle.manifest.signature
    specs = (*signature.inputs, *signature.outputs)
    names = identifiers(spec.name for spec in specs)
    ports = [
        Port(name, spec, shape, prod(shape), values.get(spec.name, ""))
        for name, spec, shape in zip(names, specs, [*inputs, *outputs], strict=True)
    ]
    count = len(signature.inputs)
    return Interface(
        identifier(bundle.name, names), bundle, golden, tuple(ports[:count]), tuple(ports[count:])
    )
