"""Latency against batch size, warm and with evicted caches, all engines interleaved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tamis._base import host_facts
from tamis.bundle import Bundle, rows_of
from tamis.engines import Session
from tamis.measure.speed.harness import Samples, TimingPlan, interleave, interleave_cold
from tamis.measure.speed.roofline import floor_ns
from tamis.records import LatencyRow, Ratio, Roofline, Spread

COLD_ROUNDS = 30
EVICTED_CACHES = 4  # bytes written between two cold calls, in units of the host's largest cache
NULL = "null"

CallMode = Literal["call", "bound", "plain"]
CALL_MODES: tuple[CallMode, ...] = ("call", "bound", "plain")


@dataclass(frozen=True)
class Contestant:
    """An opened session in one mode."""

    session: Session
    mode: CallMode

    @property
    def key(self) -> str:
        """Return a name that is unique within a run."""
        return f"{self.session.engine.name} {self.mode}"

    def call(self, arrays: Sequence[np.ndarray]) -> Callable[[], object]:
        """Return the function to time: the session as a user calls it, the bound call, or the engine alone."""
        session = self.session
        if self.mode == "bound":
            return session.bind(*arrays)
        if self.mode == "plain":
            return session.plain(*arrays)
        if session.bundle.manifest.score is not None and len(arrays) == 1:
            array = arrays[0]
            return lambda: session(array)
        return lambda: session.run(*arrays)


def batches_of(bundle: Bundle, batches: Sequence[int]) -> list[int]:
    """Return the batch sizes that a graph accepts: only 1 without a batch axis, only multiples of a fixed batch."""
    signature = bundle.manifest.signature
    if signature.rows == "none":
        return [1]
    step = signature.fixed_batch or 1
    return sorted({batch for batch in batches if batch % step == 0} or {step})


def events_of(bundle: Bundle, batch: int) -> list[np.ndarray]:
    """Return the inputs of a batch of golden events, repeated as needed."""
    signature, golden = bundle.manifest.signature, bundle.golden
    if signature.rows == "none":
        return [golden.inputs[spec.name] for spec in signature.inputs]
    rows = np.arange(batch) % bundle.golden_events
    picked = rows_of(golden.inputs, rows)
    return [picked[spec.name] for spec in signature.inputs]


def measure_latency(
    sessions: Sequence[Session],
    batches: Sequence[int],
    plan: TimingPlan,
    *,
    cold: bool,
    roofline: Roofline | None,
    rng: np.random.Generator,
    modes: Sequence[CallMode] = CALL_MODES,
) -> list[LatencyRow]:
    """Time one bundle's sessions against each other at every batch size, in the modes that each supports."""
    evict_bytes = EVICTED_CACHES * host_facts().largest_cache_bytes
    rows = []
    for batch in batches:
        contestants = []
        for session in sessions:
            supported: Sequence[CallMode] = ("call", "bound")
            if session.engine.name == "reference":  # slow: one mode is enough
                supported = ("call",)
            elif session.engine.computes and batch == (session.signature.fixed_batch or batch):
                supported = CALL_MODES  # also `plain`, which needs a batch that the graph takes whole
            contestants += [Contestant(session, mode) for mode in supported if mode in modes]
        arrays = events_of(sessions[0].bundle, batch)
        with contextlib.ExitStack() as stack:
            calls = {c.key: c.call([np.array(a, copy=True) for a in arrays]) for c in contestants}
            stack.callback(calls.clear)
            warm = interleave(calls, plan, rng)
            evicted = interleave_cold(calls, COLD_ROUNDS, evict_bytes, rng) if cold else {}
        baseline = next((c.key for c in contestants if c.key == "onnxruntime call"), contestants[0].key)
        rows += [_row(c, batch, warm, evicted, baseline, roofline) for c in contestants]
    return rows


def _row(
    contestant: Contestant,
    batch: int,
    warm: dict[str, Samples],
    cold: dict[str, Samples],
    baseline: str,
    roofline: Roofline | None,
) -> LatencyRow:
    session, times = contestant.session, warm[contestant.key]
    cost = session.bundle.manifest.cost
    spread = Spread.of(times.wall_ns)
    ratios = np.asarray(times.block_medians_ns) / np.asarray(warm[baseline].block_medians_ns)
    low, median, high = map(float, np.percentile(ratios, [25, 50, 75]))
    return LatencyRow(
        bundle=session.bundle.name,
        engine=session.engine.name,
        version=session.engine.version(),
        mode=contestant.mode,
        batch=batch,
        chunk=batch if contestant.mode == "plain" else min(batch, session.chunk),
        warm=spread,
        cpu_p50_ns=float(np.median(times.cpu_ns)),
        cold=Spread.of(cold[contestant.key].wall_ns) if contestant.key in cold else None,
        ratio=Ratio(baseline=baseline, median=median, low=low, high=high, rounds=len(ratios)),
        floor_ns=floor_ns(cost, batch, roofline) if cost is not None and roofline is not None else None,
        events_per_second=batch / spread.p50_ns * 1e9,
    )
