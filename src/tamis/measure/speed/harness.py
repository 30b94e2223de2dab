"""The timing harness: calls interleaved in shuffled blocks, so that a drift of the host affects all contestants equally."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tamis._base import now_ns

Call = Callable[[], object]


@dataclass(frozen=True)
class TimingPlan:
    """How long to measure. A block is a run of calls of one contestant; a round is one block of each."""

    rounds: int = 25
    block_ns: int = 12_000_000
    most_calls: int = 200
    least_calls: int = 2
    budget_ns: int = 10_000_000_000  # no new round starts after this time, once `least_rounds` are done
    least_rounds: int = 5


@dataclass
class Samples:
    """The measured times of one contestant."""

    wall_ns: list[int] = field(default_factory=list)
    block_medians_ns: list[float] = field(default_factory=list)
    cpu_ns: list[float] = field(default_factory=list)  # process CPU time per call, one value per block


def interleave(calls: Mapping[str, Call], plan: TimingPlan, rng: np.random.Generator) -> dict[str, Samples]:
    """Time every call, block by block, in a new random order each round."""
    counts = {name: _calls_per_block(call, plan) for name, call in calls.items()}
    samples = {name: Samples() for name in calls}
    names = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = now_ns()
        for done in range(plan.rounds):
            if done >= plan.least_rounds and now_ns() - start > plan.budget_ns:
                break
            for index in rng.permutation(len(names)):
                name = names[int(index)]
                _block(calls[name], counts[name], samples[name])
            gc.collect(0)
    finally:
        if collecting:
            gc.enable()
    return samples


def _calls_per_block(call: Call, plan: TimingPlan) -> int:
    """Warm up, and return the number of calls that fill a block."""
    for _ in range(3):
        call()
    begin = now_ns()
    calls = 0
    while calls < 3 or (now_ns() - begin < 3_000_000 and calls < plan.most_calls):
        call()
        calls += 1
    each = max(1, (now_ns() - begin) // calls)
    return int(min(plan.most_calls, max(plan.least_calls, plan.block_ns // each)))


def _block(call: Call, count: int, samples: Samples) -> None:
    for _ in range(min(3, count)):
        call()  # the previous contestant has left its data in the caches
    clock = now_ns
    walls = [0] * count
    cpu = time.process_time_ns()
    for i in range(count):
        begin = clock()
        call()
        walls[i] = clock() - begin
    samples.cpu_ns.append((time.process_time_ns() - cpu) / count)
    samples.wall_ns += walls
    samples.block_medians_ns.append(float(np.median(walls)))


def interleave_cold(
    calls: Mapping[str, Call], rounds: int, evict_bytes: int, rng: np.random.Generator
) -> dict[str, Samples]:
    """Time single calls after filling the caches with other data, as a model finds them between two events."""
    other = np.ones(max(1, evict_bytes // 8))
    samples = {name: Samples() for name in calls}
    names = list(calls)
    for call in calls.values():
        call()
    for _ in range(rounds):
        for index in rng.permutation(len(names)):
            name = names[int(index)]
            other += 1.0  # writes every cache line, so that no older data stays in the caches
            begin = now_ns()
            calls[name]()
            samples[name].wall_ns.append(now_ns() - begin)
    for times in samples.values():
        times.block_medians_ns = [float(w) for w in times.wall_ns]
    return samples
