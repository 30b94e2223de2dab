"""A quick estimate of LUTs from a program alone, by kind of step; the logic of `tamis firmware` gives a better one.

What sharing of terms saves in a product with a matrix can only be known by doing it, so its adders are estimated from the digits of
the weights. The constants are fitted to random matrices (4 to 40 inputs, 1 to 32 outputs, 3 to 11 bits, 20 to 100 % kept), the
remaining ones follow from what yosys makes of each kind of step; benchmarks/lut_estimate holds both against yosys.
"""

from __future__ import annotations

import numpy as np

from tamis.fixedpoint.grids import FixedGrid
from tamis.fixedpoint.program import Add, Clip, Linear, LookUp, Maximum, Multiply, Step, Trees

ADDER_BIT, ADDER_BITS = 0.72, 1.6  # LUTs of an adder of a matrix: for each bit of the value, and more
SHARED = -0.08  # exponent of the number of outputs: with more of them, more terms are shared
DIGITS = 0.13  # exponent of the digits per weight: the sums of many digits are wider
LEAF_NODES = 8.0  # comparisons of a tree for each LUT of a bit of its leaves
TABLE_BITS = 6
TABLE = 2.0  # LUTs for each block of 64 entries and bit
DSP_BITS = 9  # yosys takes a DSP for products of at least so many bits


def estimate_luts(step: Step, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> float:
    """Return the LUTs of a step."""
    bits = float(result.widths[live].sum())
    match step:
        case Linear():
            return _matrix(step, operands[0], live)
        case Add():
            return float(np.minimum(operands[0].widths, operands[1].widths)[live].sum())
        case Maximum():
            return 2 * bits  # a comparison and a choice
        case Clip():  # a mask below; a choice above that registers make themselves
            below = live & (step.low > operands[0].low)
            return float(result.widths[below].sum())
        case LookUp():
            address = int(operands[0].widths.max(initial=0))
            return bits * TABLE * 2.0 ** max(address - TABLE_BITS, 0)
        case Multiply():
            first, second = operands[0].widths, operands[1].widths
            return float((first * second)[live & (first + second < DSP_BITS)].sum())
        case Trees():
            leaves = FixedGrid(
                step.forest.leaves,
                step.forest.leaves,
                result.fraction + np.zeros_like(step.forest.leaves, np.int64),
            )
            width, trees = float(leaves.widths.max(initial=0)), len(step.forest.roots)
            chosen = width * len(step.forest.features) / LEAF_NODES
            return float(live.sum()) * (chosen + (trees - 1) * (width + 1))
    return 0.0


def signed_digits(values: np.ndarray) -> np.ndarray:
    """Return the digits that are not zero in the canonical signed form of each number (Reitwiesner 1960)."""
    mantissa = np.abs(np.ldexp(np.frexp(np.asarray(values, np.float64))[0], 53)).astype(np.int64)
    integers = mantissa // np.where(mantissa == 0, 1, mantissa & -mantissa)
    set_bits = (3 * integers ^ integers) >> 1
    return np.sum([(set_bits >> place) & 1 for place in range(55)], axis=0)


def _matrix(step: Linear, value: FixedGrid, live: np.ndarray) -> float:
    """Estimate a product with a matrix, at every position on its own: padding and unused outputs need nothing."""
    inner, outputs = step.matrix.shape
    digits = signed_digits(step.matrix)
    total = 0.0
    for widths, alive in zip(value.widths.reshape(-1, inner), live.reshape(-1, outputs), strict=True):
        used = digits[widths > 0][:, alive]
        columns = used[:, used.any(axis=0)]
        adders = int(columns.sum()) - columns.shape[1]
        if adders > 0:
            width = float(
                np.average(np.broadcast_to(widths[widths > 0][:, None], columns.shape), weights=columns)
            )
            each = columns.sum() / (columns > 0).sum()
            total += adders * (ADDER_BIT * width + ADDER_BITS) * columns.shape[1] ** SHARED * each**DIGITS
    return total
