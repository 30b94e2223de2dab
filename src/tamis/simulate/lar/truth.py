"""The truth of a stream, as it is written beside it."""

from __future__ import annotations

import numpy as np

from tamis.records import StreamTruth, TrueBlock, TrueFault
from tamis.simulate.lar.faults import KINDS, StreamFault
from tamis.simulate.lar.regions import REGIONS
from tamis.simulate.lar.sample import StreamPlan


def truth_of(plan: StreamPlan) -> StreamTruth:
    """Return the blocks and faults of a stream."""
    stream, blocks = plan.stream, plan.blocks
    return StreamTruth(
        mode=stream.mode,
        seed=stream.seed,
        hours=stream.hours,
        detail=stream.detail,
        fault_set=stream.faults,
        blocks=[
            TrueBlock(run=run, block=number, begin_s=begin, seconds=seconds, luminosity=luminosity)
            for run, number, begin, seconds, luminosity in zip(
                blocks.run.tolist(), blocks.number.tolist(), blocks.begin_s.tolist(), blocks.seconds.tolist(), blocks.luminosity.tolist(), strict=True,
            )
        ],
        faults=[_true_fault(fault, plan) for fault in plan.faults],
    )  # fmt: skip


def _true_fault(fault: StreamFault, plan: StreamPlan) -> TrueFault:
    blocks, kind = plan.blocks, KINDS[fault.kind]
    first = int(np.searchsorted(blocks.begin_s, fault.begin_s, side="right")) - 1
    last = max(first, int(np.searchsorted(blocks.begin_s, fault.end_s, side="left")) - 1)
    return TrueFault(
        fault=fault.kind, defect=kind.defect, regions=list(REGIONS) if fault.region < 0 else [REGIONS[fault.region]],
        quantities=list(kind.quantities), strength=fault.strength, begin_s=fault.begin_s, end_s=fault.end_s,
        run=int(blocks.run[first]), first_block=int(blocks.number[first]), last_block=int(blocks.number[last]),
    )  # fmt: skip
