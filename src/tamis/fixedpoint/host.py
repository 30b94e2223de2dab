"""Follow a tensor on the host's side from where it is rounded to where it is bounded: there the program begins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from tamis.fixedpoint.grids import FixedGrid, fraction_bits

ROUNDED_BY = {"Floor": np.floor, "Round": np.rint, "Ceil": np.ceil}
UNCHANGED = frozenset(["Identity", "Cast"])
ANY_INTEGER = FixedGrid(np.array(-np.inf), np.array(np.inf), np.array(0))


def host_grid(
    node: onnx.NodeProto,
    grids: Mapping[str, FixedGrid],
    constants: Mapping[str, np.ndarray],
    makers: Mapping[str, onnx.NodeProto],
) -> FixedGrid | None:
    """Return the multiples that a node's result can be, if it is known to be rounded; bounds may be infinite."""
    if node.op_type in ROUNDED_BY:
        grid, function = grids.get(node.input[0], ANY_INTEGER), ROUNDED_BY[node.op_type]
        return FixedGrid(function(grid.low), function(grid.high), np.minimum(grid.fraction, 0))
    names = [name for name in node.input if name]
    rounded = [name for name in names if name in grids]
    if not rounded or any(name not in grids and name not in constants for name in names):
        return None
    grid = grids[rounded[0]]
    given = [np.asarray(constants[name], np.float64) for name in names if name in constants]
    modulus = modulus_of(node, constants, makers)
    if modulus is not None:
        return FixedGrid(np.zeros_like(modulus), modulus - np.ldexp(1.0, -grid.fraction), grid.fraction)
    if len(rounded) > 1 or not all(np.isfinite(one).all() for one in given):
        return None
    if node.op_type in UNCHANGED:
        return grid
    if node.op_type == "Where" and names[0] in constants and constants[names[0]].all() and names[1] in grids:
        return grid
    return _shifted(node, grid, given, names[0] in grids) or _bounded(node, grid, given, constants)


def _shifted(node: onnx.NodeProto, grid: FixedGrid, given: list[np.ndarray], first: bool) -> FixedGrid | None:
    """Return the result of an addition of a constant, or of a product with powers of two."""
    if node.op_type == "Neg":
        return FixedGrid(-grid.high, -grid.low, grid.fraction)
    if not given:
        return None
    if node.op_type in ("Add", "Sub") and (first or node.op_type == "Add"):
        term = given[0] if node.op_type == "Add" else -given[0]
        fraction = np.maximum(grid.fraction, fraction_bits(term))
        return FixedGrid(grid.low + term, grid.high + term, fraction)
    if node.op_type in ("Mul", "Div") and (first or node.op_type == "Mul"):
        mantissa, exponent = np.frexp(given[0])
        if (mantissa == 0.5).all():
            shift = (exponent - 1) * (1 if node.op_type == "Mul" else -1)
            return FixedGrid(np.ldexp(grid.low, shift), np.ldexp(grid.high, shift), grid.fraction - shift)
    return None


def _bounded(
    node: onnx.NodeProto, grid: FixedGrid, given: list[np.ndarray], constants: Mapping[str, np.ndarray]
) -> FixedGrid | None:
    """Return the result of an operator that limits its input."""
    none = np.array(np.inf)
    if node.op_type == "Relu":
        return _limited(grid, np.array(0.0), none)
    if node.op_type == "Max":
        return _limited(grid, given[0], none)
    if node.op_type == "Min":
        return _limited(grid, -none, given[0])
    if node.op_type == "Clip":
        bounds = [constants[name] if name else None for name in (*node.input[1:], "", "")[:2]]
        low, high = (
            end if bound is None else np.asarray(bound, np.float64)
            for bound, end in zip(bounds, (-none, none), strict=True)
        )
        return _limited(grid, low, high)
    return None


def _limited(grid: FixedGrid, low: np.ndarray, high: np.ndarray) -> FixedGrid:
    """Return a grid between bounds, which may add bits."""
    fraction = grid.fraction
    for bound in (low, high):
        fraction = np.maximum(
            fraction,
            np.where(np.isfinite(bound), fraction_bits(np.where(np.isfinite(bound), bound, 0)), fraction),
        )
    return FixedGrid(np.clip(grid.low, low, high), np.clip(grid.high, low, high), fraction)


def modulus_of(
    node: onnx.NodeProto, constants: Mapping[str, np.ndarray], makers: Mapping[str, onnx.NodeProto]
) -> np.ndarray | None:
    """Return the modulus if a node is the end of `u - floor(u / modulus) * modulus`, as overflow by wrapping is written."""
    if node.op_type != "Sub":
        return None
    product = makers.get(node.input[1])
    if product is None or product.op_type != "Mul":
        return None
    for quotient, modulus in (tuple(product.input), tuple(reversed(product.input))):
        floor = makers.get(quotient)
        if floor is None or floor.op_type != "Floor" or modulus not in constants:
            continue
        division = makers.get(floor.input[0])
        if division is None or division.op_type != "Div" or division.input[0] != node.input[0]:
            continue
        value = np.asarray(constants[modulus], np.float64)
        divisor = constants.get(division.input[1])
        is_power = (np.frexp(value)[0] == 0.5).all()
        if divisor is not None and is_power and np.array_equal(value, np.asarray(divisor, np.float64)):
            return value
    return None
