"""What models cost for one event: operations, hardware, and the time on this host, measured against each other in one run."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tamis._base import TamisError
from tamis.bundle import Bundle, Packed
from tamis.compress.card import add_costs
from tamis.engines import open as open_session
from tamis.measure.count import count_bundle
from tamis.measure.speed.harness import TimingPlan, interleave
from tamis.measure.speed.latency import batches_of, events_of
from tamis.records import ModelCost

TIMED_ENGINES = ("native", "onnxruntime")
TIMES = TimingPlan(rounds=15, block_ns=3_000_000, budget_ns=3_000_000_000)
LOGIC_EBOPS_MAX = 150_000  # up to which the logic is made, which takes seconds


def measure_costs(bundles: Sequence[Bundle]) -> list[ModelCost]:
    """Count bundles, and time their events one by one, in turn, with arrays that are bound before."""
    times = _event_times(bundles)
    costs = []
    for number, bundle in enumerate(bundles):
        count = count_bundle(bundle, most_ebops=LOGIC_EBOPS_MAX)
        together = count.together
        costs.append(
            ModelCost(
                operations=together.operations,
                ebops=together.ebops,
                weight_bytes=-(-together.weight_bits // 8),
                lut=together.lut,
                lut_source=count.lut_source,
                cycles=count.cycles,
                event_ns={
                    engine: times[number, engine] for engine in TIMED_ENGINES if (number, engine) in times
                },
            )
        )
    return costs


def with_costs(parent: Bundle, packed: Packed) -> tuple[Packed, ModelCost]:
    """Measure a new model against its parent, and add what both cost to its card."""
    of_parent, cost = measure_costs([parent, packed.bundle])
    return replace(packed, bundle=add_costs(packed.bundle, of_parent, cost)), cost


def _event_times(bundles: Sequence[Bundle]) -> dict[tuple[int, str], float]:
    """Return the median time of a call by bundle and engine, per event; engines that cannot run a bundle here are left out."""
    batches = [min(batches_of(bundle, [1])) for bundle in bundles]
    with contextlib.ExitStack() as stack:
        calls = {}
        for number, bundle in enumerate(bundles):
            for engine in TIMED_ENGINES:
                with contextlib.suppress(TamisError):
                    session = stack.enter_context(open_session(bundle, engine))
                    calls[f"{number} {engine}"] = session.bind(*events_of(bundle, batches[number]))
        stack.callback(calls.clear)
        samples = interleave(calls, TIMES, np.random.default_rng(0))
    times = {}
    for key, found in samples.items():
        place, _, engine = key.partition(" ")
        times[int(place), engine] = float(np.median(found.wall_ns)) / batches[int(place)]
    return times
