"""What a program costs for one event: operations, bit operations, weights and energy, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.fixedpoint import energy
from tamis.fixedpoint.grids import FixedGrid, grids
from tamis.fixedpoint.liveness import live_elements
from tamis.fixedpoint.luts import estimate_luts
from tamis.fixedpoint.program import (
    Add,
    Clip,
    FixedProgram,
    Linear,
    LookUp,
    Maximum,
    Multiply,
    Offset,
    Round,
    Rounding,
    Scale,
    Step,
    Trees,
)
from tamis.fixedpoint.translate import INPUT_LAYER
from tamis.records import LayerCount, OperationCount


def count_program(program: FixedProgram) -> list[LayerCount]:
    """Count the layers of a program; elements that no output depends on are left out, except in `macs`."""
    values, live = grids(program), live_elements(program)
    counted: dict[str, OperationCount] = {}
    last: dict[str, int] = {}
    stored: set[tuple[str, bytes]] = set()  # weights and tables of layers, which their steps share
    first = next((step.layer for step in program.steps if step.layer != INPUT_LAYER), INPUT_LAYER)
    for index, step in enumerate(program.steps):
        result = len(program.inputs) + index
        function = COUNTERS.get(type(step))
        operands = [values[value] for value in step.inputs]
        found = (
            OperationCount() if function is None else function(step, operands, values[result], live[result])
        )
        constants = (
            step.matrix if isinstance(step, Linear) else step.table if isinstance(step, LookUp) else None
        )
        if constants is not None:
            key = (step.layer, constants.tobytes())
            if key in stored:
                found = found.model_copy(update={"weights": 0, "weights_nonzero": 0, "weight_bits": 0})
            stored.add(key)
        found = found.model_copy(update={"lut": estimate_luts(step, operands, values[result], live[result])})
        name = first if step.layer == INPUT_LAYER else step.layer
        counted[name] = counted.get(name, OperationCount()) + found
        last[name] = result
    layers = []
    for name, found in counted.items():
        bits = int(values[last[name]].widths[live[last[name]]].sum())
        whole = found.model_copy(update={"activation_bits": bits, "ebops": found.ebops or 0})
        if (
            whole.macs or whole.additions or whole.comparisons or whole.look_ups
        ):  # wires alone do not make a layer
            layers.append(LayerCount(name=name, arithmetic="fixed", **whole.model_dump()))
    return layers


def set_bits(values: np.ndarray) -> np.ndarray:
    """Return the bits of each number from its highest to its lowest set bit; 0 of zero."""
    mantissa = np.abs(np.ldexp(np.frexp(np.asarray(values, np.float64))[0], 53)).astype(np.int64)
    lowest = np.where(mantissa == 0, 1, mantissa & -mantissa)
    return np.where(mantissa == 0, 0, np.frexp((mantissa // lowest).astype(np.float64))[1])


def is_sum(step: Linear) -> bool:
    """Return whether a product is a plain sum or mean: all its factors are one power of two."""
    return bool((step.matrix == step.matrix.flat[0]).all() and set_bits(step.matrix.flat[:1])[0] == 1)


def _additions(number: int, width: float) -> OperationCount:
    return OperationCount(additions=number, energy_pj=number * width * energy.ADD_INTEGER_BIT)


def _mean_width(grid: FixedGrid, live: np.ndarray) -> float:
    return float(grid.widths[live].mean()) if live.any() else 0.0


def _linear(step: Linear, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    inner, outputs = step.matrix.shape
    alive = live.reshape(-1, outputs)
    widths = operands[0].widths.reshape(-1, inner)
    if is_sum(step):
        return _additions(int(alive.sum()) * (inner - 1), _mean_width(result, live))
    bits = set_bits(step.matrix)
    kept = bits > 0
    present = (widths > 0).astype(np.int64)
    ebops = int(((widths @ bits) * alive).sum())
    nonzero = int(((present @ kept.astype(np.int64)) * alive).sum())
    macs = step.matrix.size * len(widths)
    weight_width, value_width = int(bits.max(initial=0)) + 1, int(widths.max(initial=0))
    product_bits = ebops * energy.MULTIPLY_INTEGER_BIT
    return OperationCount(
        macs=macs,
        macs_nonzero=nonzero,
        # arXiv:2102.11289: the products, and the additions at the width of the sum
        bops=float(
            nonzero * weight_width * value_width + macs * (weight_width + value_width + np.log2(inner))
        ),
        ebops=ebops,
        weights=step.matrix.size,
        weights_nonzero=int(kept.sum()),
        weight_bits=int((bits + 1)[kept].sum()),
        energy_pj=product_bits + nonzero * _mean_width(result, live) * energy.ADD_INTEGER_BIT,
    )


def _scale(step: Scale, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    del result
    bits = set_bits(step.factors)
    products = live & (bits > 1)  # powers of two are wires
    factors = np.unique(step.factors[products])
    ebops = int((bits * operands[0].widths)[products].sum())
    return OperationCount(
        macs=int(products.sum()),
        macs_nonzero=int(products.sum()),
        bops=float(ebops),
        ebops=ebops,
        weights=factors.size,
        weights_nonzero=factors.size,
        weight_bits=int((set_bits(factors) + 1).sum()),
        energy_pj=ebops * energy.MULTIPLY_INTEGER_BIT,
    )


def _multiply(
    step: Multiply, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray
) -> OperationCount:
    del step, result
    bits = int((operands[0].widths * operands[1].widths)[live].sum())
    number = int(live.sum())
    return OperationCount(
        macs=number,
        macs_nonzero=number,
        bops=float(bits),
        ebops=bits,
        energy_pj=bits * energy.MULTIPLY_INTEGER_BIT,
    )


def _offset(step: Offset, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    del operands
    added = live & (step.terms != 0)
    return _additions(int(added.sum()), _mean_width(result, added))


def _add(step: Add, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    del step, operands
    return _additions(int(live.sum()), _mean_width(result, live))


def _comparisons(number: int, width: float) -> OperationCount:
    return OperationCount(comparisons=number, energy_pj=number * width * energy.ADD_INTEGER_BIT)


def _maximum(step: Maximum, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    del step, operands
    return _comparisons(int(live.sum()), _mean_width(result, live))


def _clip(step: Clip, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    del result
    value = operands[0]
    below, above = live & (step.low > value.low), live & (step.high < value.high)
    return _comparisons(int(below.sum() + above.sum()), _mean_width(value, live))


def _round(step: Round, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    rounded = live & (operands[0].fractions > 0) & (step.rounding is Rounding.HALF_EVEN)
    return _additions(int(rounded.sum()), _mean_width(result, rounded))


def _look_up(step: LookUp, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    del operands
    width = int(result.widths.max(initial=0))
    return OperationCount(
        look_ups=int(live.sum()),
        weights=step.table.size,
        weights_nonzero=int((step.table != 0).sum()),
        weight_bits=step.table.size * width,
    )


def _trees(step: Trees, operands: list[FixedGrid], result: FixedGrid, live: np.ndarray) -> OperationCount:
    """Count as hardware computes them: every threshold is compared once."""
    forest = step.forest
    pairs = {(int(f), float(t)) for f, t in zip(forest.features, forest.thresholds, strict=True)}
    width = float(np.mean([operands[0].widths.ravel()[feature] for feature, _ in pairs])) if pairs else 0.0
    outputs = int(live.sum())
    leaf_bits = int(
        FixedGrid(
            forest.leaves, forest.leaves, result.fraction + np.zeros_like(forest.leaves, np.int64)
        ).widths.sum()
    )
    sums = _additions((len(forest.roots) - 1) * outputs, _mean_width(result, live))
    leaves = OperationCount(
        look_ups=len(forest.roots) * outputs,
        weights=forest.thresholds.size + forest.leaves.size,
        weights_nonzero=int((forest.thresholds != 0).sum() + (forest.leaves != 0).sum()),
        weight_bits=leaf_bits + round(len(pairs) * width),
    )
    return _comparisons(len(pairs), width) + sums + leaves


COUNTERS: dict[type[Step], Callable[..., OperationCount]] = {
    Add: _add,
    Clip: _clip,
    Linear: _linear,
    LookUp: _look_up,
    Maximum: _maximum,
    Multiply: _multiply,
    Offset: _offset,
    Round: _round,
    Scale: _scale,
    Trees: _trees,
}
