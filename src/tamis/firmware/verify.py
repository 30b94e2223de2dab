"""Prove hardware against the emulation: every golden event and random vectors over the whole range of every input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis.firmware.design import Design
from tamis.firmware.simulate import compile_design
from tamis.fixedpoint import FixedGrid, FixedProgram, emulate

CHUNK = 10_000  # vectors that are emulated together, which bounds the memory
CORNERS = 4  # all elements lowest, all highest, and the two alternating patterns


@dataclass(frozen=True)
class Comparison:
    """What a simulation showed."""

    differing: int
    first: str  # of the vectors that differ, in words


def random_vectors(design: Design, count: int, seed: int) -> np.ndarray:
    """Return vectors uniform over every input's range; the first ones are its corners, where everything saturates."""
    return random_rows(design.inputs, count, seed)


def random_rows(inputs: FixedGrid, count: int, seed: int) -> np.ndarray:
    """Return rows uniform over the range of every element; the first ones are its corners."""
    rng = np.random.default_rng(seed)
    low, high, fraction = inputs.low, inputs.high, inputs.fractions
    limits = [np.rint(np.ldexp(bound, fraction)).astype(np.int64) for bound in (low, high)]
    drawn = np.ldexp(rng.integers(limits[0], limits[1] + 1, (count, len(low))).astype(np.float64), -fraction)
    even = np.arange(len(low)) % 2 == 0
    corners = [low, high, np.where(even, low, high), np.where(even, high, low)][: min(CORNERS, count)]
    drawn[: len(corners)] = corners
    return drawn


def emulated(program: FixedProgram, vectors: np.ndarray) -> np.ndarray:
    """Return the outputs of rows of inputs, flattened and joined in the order of the design's ports."""
    sizes = [int(np.prod(one.shape)) for one in program.inputs]
    order = sorted(set(program.outputs))
    places = [program.outputs.index(value) for value in order]
    parts = []
    for begin in range(0, len(vectors), CHUNK):
        rows = vectors[begin : begin + CHUNK]
        split = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        inputs = [
            part.reshape(len(rows), *one.shape) for part, one in zip(split, program.inputs, strict=True)
        ]
        results = emulate(program, inputs)
        parts.append(
            np.concatenate([results[place].values().reshape(len(rows), -1) for place in places], axis=1)
        )
    return np.concatenate(parts)


def compare(
    program: FixedProgram, design: Design, sources: dict[str, str], vectors: np.ndarray, folder: Path
) -> Comparison:
    """Simulate Verilog on vectors with Verilator and compare every bit with the emulation."""
    return compared(compile_design(design, sources, folder).run(vectors), emulated(program, vectors))


def compared(seen: np.ndarray, expected: np.ndarray) -> Comparison:
    """Compare what a simulation gave with the emulation."""
    wrong = np.flatnonzero((seen != expected).any(axis=1))
    first = ""
    if len(wrong):
        row = int(wrong[0])
        column = int(np.flatnonzero(seen[row] != expected[row])[0])
        first = f"vector {row}, output {column}: {seen[row, column]:g} instead of {expected[row, column]:g}"
    return Comparison(len(wrong), first)
