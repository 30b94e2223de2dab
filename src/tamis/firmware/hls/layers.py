"""Layers of an hls4ml project, as data: what kind, what they read, their numbers, and a fixed-point type for each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tamis.fixedpoint import FixedFormat, FixedGrid, fraction_bits
from tamis.fixedpoint.grids import FRACTION_OF_ZERO

RESERVED = frozenset(  # of C++ and of hls4ml's own code
    [
        "alignas",
        "alignof",
        "and",
        "asm",
        "auto",
        "bool",
        "break",
        "case",
        "catch",
        "char",
        "class",
        "const",
        "constexpr",
        "continue",
        "decltype",
        "default",
        "delete",
        "do",
        "double",
        "else",
        "enum",
        "explicit",
        "export",
        "extern",
        "false",
        "float",
        "for",
        "friend",
        "goto",
        "if",
        "inline",
        "input",
        "int",
        "long",
        "main",
        "mutable",
        "namespace",
        "new",
        "nnet",
        "not",
        "nullptr",
        "operator",
        "or",
        "private",
        "protected",
        "public",
        "register",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "template",
        "this",
        "throw",
        "true",
        "try",
        "typedef",
        "typeid",
        "typename",
        "union",
        "unsigned",
        "using",
        "virtual",
        "void",
        "volatile",
        "while",
        "xor",
    ]
)


@dataclass(frozen=True)
class HlsLayer:
    """A layer: its attributes in hls4ml's names, and the type of each of its tensors."""

    kind: str  # hls4ml's class
    name: str
    layer: str  # of the bundle
    inputs: tuple[str, ...]
    attributes: dict[str, Any]
    types: dict[
        str, FixedFormat
    ]  # `result`, and where there are any `weight`, `bias`, `accum`, `scale`, `table`
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class HlsTensor:
    """What a layer makes: its name, the shape of one event, and the axis of ONNX that each of its axes is."""

    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]

    def arranged(self, array: np.ndarray) -> np.ndarray:
        """Return an array in the order of the axes of ONNX in the order of this tensor."""
        return np.ascontiguousarray(np.transpose(array, self.order))


@dataclass(frozen=True)
class HlsPort:
    """An input or an output of the project: its name in C++, the value of the program that it is, and its type."""

    name: str
    value: int
    shape: tuple[int, ...]
    kind: FixedFormat
    tensor: str = ""  # of the bundle's graph, of an input


@dataclass(frozen=True)
class HlsPlan:
    """All layers of a project."""

    layers: tuple[HlsLayer, ...]
    inputs: tuple[HlsPort, ...]
    outputs: tuple[HlsPort, ...]


def format_of_range(grid: FixedGrid) -> FixedFormat:
    """Return the smallest type that holds every element of a range exactly."""
    return smallest_format(grid.low, grid.high, grid.fraction)


def format_of_values(values: np.ndarray) -> FixedFormat:
    """Return the smallest type that holds constants exactly."""
    return smallest_format(values, values, fraction_bits(values))


def smallest_format(low: np.ndarray, high: np.ndarray, fractions: np.ndarray) -> FixedFormat:
    """Return the smallest type for numbers from `low` to `high` that are multiples of 2^-fraction."""
    most = int(np.max(fractions, initial=FRACTION_OF_ZERO))
    fraction = 0 if most == FRACTION_OF_ZERO else most
    least, greatest = (
        int(np.rint(np.ldexp(edge, fraction)))
        for edge in (float(np.min(low, initial=0.0)), float(np.max(high, initial=0.0)))
    )
    signed = least < 0
    width = max(max(greatest, 0).bit_length(), max(-least - 1, 0).bit_length() if signed else 0) + signed
    width = max(width, 1 + signed)  # some versions of the headers mistake a type of one bit for a boolean
    return FixedFormat(width, width - fraction, signed)


def plain_name(text: str, taken: Sequence[str] | set[str]) -> str:
    """Return a name for C++ that is not taken."""
    base = re.sub(r"\W+", "_", text).strip("_").lower() or "layer"
    if base[0].isdigit() or base in RESERVED:
        base = f"layer_{base}"
    name, count = base, 2
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    return name
