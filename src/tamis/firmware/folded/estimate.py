"""An estimate of the LUTs of shared logic before synthesis: alkaid's part by its structure, the rest by what yosys makes of such parts."""

from __future__ import annotations

import numpy as np

from tamis.firmware.folded.products import SMALLEST_DSP, ProductPlan
from tamis.firmware.folded.shared import SharedLogic
from tamis.firmware.folded.windows import Window
from tamis.firmware.luts import LutCount
from tamis.fixedpoint import FixedGrid

# LUTs for each bit that a multiplexer of n elements chooses, and for each bit of a memory that is not a block memory: what
# synth_xilinx makes of multiplexers of 4 to 64 elements, and of memories of up to 64 random words.
MULTIPLEXER = 0.4
LUT_MEMORY = 1 / 64


def estimate_shared(logic: SharedLogic, row: LutCount) -> LutCount:
    """Return the LUTs of all copies of shared logic; `row` is that of alkaid's part."""
    total = {name: value * logic.copies for name, value in vars(row).items()}
    total["logic"] += multiplexer_luts(logic)
    if logic.products is not None:
        total["chain"] += _adders(logic.products) * logic.copies
        total["product"] += _small_products(logic.products) * logic.copies
        total["logic"] += _memory(logic.products) * logic.copies
    return LutCount(**total)


def multiplexer_luts(logic: SharedLogic) -> float:
    """Return the LUTs that choose the elements of each turn, for all copies."""
    grid = logic.products.lanes if logic.products else logic.slots
    cycles = logic.products.cycles if logic.products else 1
    return sum(
        window_luts(window, grid, cycles) if window else chosen_luts(grid, cycles * logic.turns)
        for window in logic.windows
    )


def window_luts(window: Window, grid: FixedGrid, cycles: int) -> float:
    """Return the LUTs of a shift register, and of the choice of elements from it."""
    shifted = window.width * max(1.0, MULTIPLEXER * (len(window.kinds) + 1))
    padded = sum(window.taps[slot][1] for slot in window.padding)
    return shifted + padded + chosen_luts(grid, cycles)


def chosen_luts(grid: FixedGrid, choices: int) -> float:
    """Return the LUTs that choose elements from many."""
    return float(grid.widths.sum()) * (0 if choices == 1 else max(1.0, MULTIPLEXER * choices))


def _factors(plan: ProductPlan) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits of both factors of each multiplier, 0 where none is needed: (lanes, sums)."""
    weights = np.array(
        [
            [plan.weight_format(lane, place)[0] for place in range(plan.used.shape[1])]
            for lane in range(plan.used.shape[0])
        ]
    )
    lanes = np.broadcast_to(plan.lanes.widths[:, None], weights.shape)
    varies = plan.used & ~(plan.weights == plan.weights[:1]).all(axis=0)
    return np.where(varies, lanes, 0), np.where(varies, weights, 0)


def _is_dsp(plan: ProductPlan) -> np.ndarray:
    lanes, weights = _factors(plan)
    return (lanes + weights >= SMALLEST_DSP) & (np.minimum(lanes, weights) >= 2)


def _small_products(plan: ProductPlan) -> float:
    lanes, weights = _factors(plan)
    return float(np.where(_is_dsp(plan), 0, lanes * weights).sum())


def _adders(plan: ProductPlan) -> float:
    """Return the LUTs of the trees of adders and the accumulators."""
    terms = plan.used.sum(axis=0)
    accumulators = plan.cycles > 1
    return float((plan.sum_widths * (np.maximum(terms - 1, 0) + accumulators)).sum())


def _memory(plan: ProductPlan) -> float:
    depth = len(plan.weights)
    _, weights = _factors(plan)
    return float(weights.sum()) * (0 if depth == 1 else max(1.0, depth * LUT_MEMORY))
