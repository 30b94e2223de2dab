"""What an exported model looks like from C: its functions, and what they take."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tamis.bundle import Bundle, Golden, Tensor
from tamis.native.export.names import identifier, identifiers

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Port:
    """An input or an output: its name in C, and its shape for one event, or for the batch that a graph is fixed to."""

    name: str
    spec: Tensor
    shape: Shape
    floats: int


@dataclass(frozen=True)
class Interface:
    """The names of an exported model."""

    name: str
    bundle: Bundle
    golden: Golden
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def count(self) -> str:
        """Return what the parameter that counts is called; nothing where a graph has no batch."""
        rows = self.bundle.manifest.signature.rows
        return {"free": "events", "fixed": "batches", "none": ""}[rows]

    @property
    def parameters(self) -> str:
        """Return the parameters of the model's function."""
        given = [f"const float *{port.name}" for port in self.inputs]
        given += [f"float *{port.name}" for port in self.outputs]
        given += [f"size_t {self.count}"] if self.count else []
        return ", ".join([*given, "void *scratch"])

    def described(self) -> str:
        """Return what each parameter is, a line each, as the comment in the header."""
        lines = [f"   {port.name}: {_told(port, self.count)}" for port in (*self.inputs, *self.outputs)]
        return "\n".join(lines)


def _told(port: Port, count: str) -> str:
    shape = " x ".join(map(str, port.shape[1:] if count == "events" else port.shape)) or "1"
    per = {"events": " per event", "batches": " per batch", "": ""}[count]
    whole = "" if port.spec.dtype == "float32" else f"of {port.spec.dtype} in the model"
    notes = [one for one in (whole, port.spec.units, port.spec.description) if one]
    told = f"; {'; '.join(notes)}" if notes else ""
    called = "" if port.name == port.spec.name else f" ({port.spec.name!r} of the model)"
    return f"{shape} floats{per}{called}{told}".replace("*/", "* /").replace("\n", " ")


def interface_of(bundle: Bundle, golden: Golden, inputs: list[Shape], outputs: list[Shape]) -> Interface:
    """Name everything; the shapes are those of one event."""
    signature = bundle.manifest.signature
    specs = (*signature.inputs, *signature.outputs)
    names = identifiers(spec.name for spec in specs)
    ports = [
        Port(name, spec, shape, prod(shape))
        for name, spec, shape in zip(names, specs, [*inputs, *outputs], strict=True)
    ]
    many = len(signature.inputs)
    return Interface(identifier(bundle.name, names), bundle, golden, tuple(ports[:many]), tuple(ports[many:]))
