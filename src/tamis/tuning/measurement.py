"""Measure every engine that passes the gate at every batch size, interleaved: the input of an engine plan."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from tamis._base import TamisError, VerificationError, host_facts, progress
from tamis.bundle import Bundle
from tamis.engines import Options, Session, find_engine
from tamis.measure.speed.harness import Samples, TimingPlan, interleave, interleave_cold
from tamis.measure.speed.latency import COLD_ROUNDS, EVICTED_CACHES, batches_of, events_of
from tamis.measure.speed.processes import measure_memory
from tamis.native.size_range import MAX_SIZES, chosen_sizes
from tamis.records import EngineTime

CHUNKS = (64, 256)  # chunk sizes to try for engines that do not split batches by themselves
NOT_PLANNED = ("reference", "auto", "null")


@dataclass(frozen=True)
class Tuning:
    """Which engines and batch sizes to measure, and how."""

    engines: tuple[str, ...]
    batches: tuple[int, ...] = (1, 8, 16, 64, 256, 1024)
    threads: int = 1
    cold: bool = True
    memory: bool = False
    plan: TimingPlan = field(
        default_factory=lambda: TimingPlan(rounds=15, block_ns=6_000_000, budget_ns=4_000_000_000)
    )
    seed: int = 0
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # sizes to compile ahead


def measure_engines(bundle: Bundle, tuning: Tuning) -> tuple[list[EngineTime], list[str]]:
    """Return the times of each engine at each batch size, and the reasons why others were not measured."""
    refused: list[str] = []
    measured: list[EngineTime] = []
    rng = np.random.default_rng(tuning.seed)
    if tuning.dims:
        chosen_sizes(
            bundle.manifest.signature, tuning.dims, MAX_SIZES
        )  # raises UsageError for a wrong name or size
    with contextlib.ExitStack() as stack:
        sessions: dict[tuple[str, int | None], Session] = {}
        for name in tuning.engines:
            if name in NOT_PLANNED or not find_engine(name).local:
                continue
            try:
                engine = find_engine(name)
                engine.prepare()
                chunks = (None,) if engine.cuts_batches else (None, *CHUNKS)
                for chunk in chunks:
                    options = Options(threads=tuning.threads, chunk=chunk, dims=tuning.dims)
                    session = Session(bundle, engine, options)
                    sessions[name, chunk] = stack.enter_context(session)
            except TamisError as error:
                refused.append(str(error))
        if not sessions:
            raise VerificationError(f"no engine can run {bundle.name}: {'; '.join(refused)}")
        batches = batches_of(bundle, tuning.batches)
        with progress("measuring", len(batches), "batch sizes") as advance:
            for batch in batches:
                measured += _measure(bundle, batch, sessions, tuning, rng)
                advance(1)
    return measured, refused


def _measure(
    bundle: Bundle,
    batch: int,
    sessions: dict[tuple[str, int | None], Session],
    tuning: Tuning,
    rng: np.random.Generator,
) -> list[EngineTime]:
    arrays = events_of(bundle, batch)
    contestants = {
        f"{name}|{chunk or ''}": (name, chunk, session)
        for (name, chunk), session in sessions.items()
        if chunk is None or (chunk < batch and chunk != min(batch, sessions[name, None].chunk))
    }
    calls = {key: partial(session.run, *arrays) for key, (_, _, session) in contestants.items()}
    warm = interleave(calls, tuning.plan, rng)
    cold: dict[str, Samples] = {}
    if tuning.cold:
        cold = interleave_cold(calls, COLD_ROUNDS, EVICTED_CACHES * host_facts().largest_cache_bytes, rng)
    times = []
    for key, (name, chunk, session) in contestants.items():
        low, middle, high = np.percentile(warm[key].block_medians_ns, [25, 50, 75])
        peak = None
        if tuning.memory:
            count = 4 * batch
            row = measure_memory(bundle, name, batch, count, threads=tuning.threads, heap=False, seconds=30)
            peak = int(row.rss_peak_bytes)
        used_chunk = chunk or (session.chunk if session.chunk < batch else None)
        times.append(
            EngineTime(
                batch=batch,
                engine=name,
                chunk=None if session.engine.cuts_batches else used_chunk,
                warm_ns=float(middle),
                noise=float((high - low) / 2 / middle),
                cold_ns=float(np.median(cold[key].wall_ns)) if cold else None,
                peak_bytes=peak,
            )
        )
    return times
