"""An estimate of the LUTs of shared logic before synthesis: alkaid's part by its structure, the rest by what yosys makes of such parts."""

from __future__ import annotations

import numpy as np

from tamis.firmware.folded.block import SharedLogic
from tamis.firmware.folded.products import SMALLEST_DSP, ProductPlan
from tamis.firmware.luts import LutCount

# LUTs for each bit that a multiplexer of n elements chooses, and for each bit of a memory that is not a block memory: what
# synth_xilinx makes of multiplexers of 4 to 64 elements, and of memories of up to 64 random words.
MULTIPLEXER = 0.4
LUT_MEMORY = 1 / 64


def estimate_shared(logic: SharedLogic, row: LutCount) -> LutCount:
    """Return the LUTs of all copies of shared logic; `row` is that of alkaid's part."""
    total = {name: value * logic.copies for name, value in vars(row).items()}
    total["logic"] += multiplexer_luts(logic) * logic.copies
    if logic.products is not None:
        total["chain"] += _adders(logic.products) * logic.copies
        total["product"] += _small_products(logic.products) * logic.copies
        total["logic"] += _memory(logic.products) * logic.copies
    return LutCount(**total)


def multiplexer_luts(logic: SharedLogic) -> float:
    """Return the LUTs that choose the elements of each turn."""
    cycles = logic.products.cycles if logic.products else 1
    choices = cycles * logic.turns
    grid = logic.products.lanes if logic.products else logic.slots
    return float(grid.widths.sum()) * (0 if choices == 1 else max(1.0, MULTIPLEXER * choices))


def dsp_estimate(plan: ProductPlan) -> int:
    """Return the multipliers that become DSPs."""
    return int(_is_dsp(plan).sum())


def _factors(plan: ProductPlan) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits of both factors of each multiplier, 0 where there is none: (lanes, sums)."""
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
