"""The layers of a design one after the other: which bits each of them reads, in whatever language the top is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis._base import ModelError
from tamis.firmware.lower import Logic
from tamis.fixedpoint import FixedGrid


@dataclass(frozen=True)
class LayerLogic:
    """A layer's module, and which elements of its input its logic uses."""

    module: str
    logic: Logic
    used: np.ndarray


@dataclass(frozen=True)
class Link:
    """A layer in the chain: the parts of a bus that it reads, from its lowest bit on, each from a bit up to another, and the bus that it writes."""

    module: str
    source: str
    parts: tuple[tuple[int, int], ...]
    target: str
    width: int  # of the target


@dataclass(frozen=True)
class LayerChain:
    """What the top of a design contains."""

    name: str
    inputs: FixedGrid
    outputs: FixedGrid
    latency: int
    links: tuple[Link, ...]

    @property
    def input_bits(self) -> int:
        """The width of the port `inputs`."""
        return int(self.inputs.widths.sum())

    @property
    def output_bits(self) -> int:
        """The width of the port `outputs`."""
        return int(self.outputs.widths.sum())

    @property
    def wires(self) -> dict[str, int]:
        """The buses between layers, and their widths."""
        return {link.target: link.width for link in self.links[:-1]}

    @property
    def heading(self) -> list[str]:
        """What the comment above the top says."""
        return [
            f"{self.name}: results leave {self.latency} clock cycles after their event entered, and an event may enter at every cycle.",
            f"in:  {described(self.inputs)}",
            f"out: {described(self.outputs)}",
            "Elements follow each other from bit 0 on, each as wide as its format.",
        ]


def chained(
    name: str, layers: Sequence[LayerLogic], inputs: FixedGrid, live: np.ndarray, latency: int
) -> LayerChain:
    """Return the chain of layers, of whose inputs only the live elements are read."""
    widths = [int(layer.logic.writes.widths.sum()) for layer in layers]
    if min(widths) == 0 or not all(layer.used.any() for layer in layers):
        raise ModelError(f"a layer of {name} computes only constants: it cannot be made into hardware")
    links = []
    source, available, chosen = "inputs", inputs.widths, live.copy()
    for layer, width in zip(layers, widths, strict=True):
        target = "outputs" if layer is layers[-1] else f"{layer.module}_out"
        chosen[chosen] = layer.used
        links.append(Link(layer.module, source, _parts(available, chosen), target, width))
        source, available = target, layer.logic.writes.widths
        chosen = np.ones(len(available), bool)
    return LayerChain(name, inputs, layers[-1].logic.writes, latency, tuple(links))


def described(grid: FixedGrid) -> str:
    """Return the number of elements of a port by format: `16 x fixed<8,4>`."""
    formats: dict[str, int] = {}
    for width, fraction, signed in zip(grid.widths, grid.fractions, grid.signed, strict=True):
        name = f"{'' if signed else 'u'}fixed<{width},{width - fraction}>" if width else "constant 0"
        formats[name] = formats.get(name, 0) + 1
    return ", ".join(f"{count} x {name}" for name, count in formats.items())


def layer_heading(logic: Logic, file: str, module: str) -> list[str]:
    """Return what the comment above a layer's module, or above a stage of it, says."""
    if file != module:
        return [f"{file}: a pipeline stage of {module}"]
    return [
        f"layer {logic.layer.name}",
        f"in:  {described(logic.reads)}",
        f"out: {described(logic.writes)}",
    ]


def read_elements(signals: list[Any], logic: Logic) -> np.ndarray:
    """Return which elements alkaid's logic reads; it leaves out those that no result depends on."""
    widths = [sum(precision) for signal in signals for precision in signal.precisions]
    used = np.array(widths) > 0
    if (np.array(widths)[used] != logic.reads.widths[used]).any():
        raise ModelError(f"the layer {logic.layer.name} narrows its inputs, which the layer before does not")
    return used


def _parts(widths: np.ndarray, chosen: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the parts of a bus that hold the chosen elements; neighbours are one part."""
    ends = np.cumsum(widths)
    parts: list[tuple[int, int]] = []
    for begin, end, wanted in zip(
        (ends - widths).tolist(), ends.tolist(), chosen & (widths > 0), strict=True
    ):
        if wanted and parts and parts[-1][1] == begin:
            parts[-1] = (parts[-1][0], end)
        elif wanted:
            parts.append((begin, end))
    return tuple(parts)
