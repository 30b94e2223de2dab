"""What a plan is made of: every engine that passes the gate, at every batch size, interleaved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis._base import TamisError, VerificationError, host_facts, progress
from tamis.bundle import Bundle
from tamis.engines import Measured, Options, Session, find_engine
from tamis.measure.harness import Plan, Samples, interleave, interleave_cold
from tamis.measure.latency import COLD_ROUNDS, EVICTED_CACHES, batches_of, events_of
from tamis.measure.processes import measure_memory

PIECES = (64, 256)  # events, where an engine is given pieces of a large batch
NOT_PLANNED = ("reference", "auto", "null")


@dataclass(frozen=True)
class Tuning:
    """What to try."""

    engines: tuple[str, ...]
    batches: tuple[int, ...] = (1, 8, 16, 64, 256, 1024)
    threads: int = 1
    cold: bool = True
    memory: bool = False
    plan: Plan = field(default_factory=lambda: Plan(rounds=15, block_ns=6_000_000, budget_ns=4_000_000_000))
    seed: int = 0


def measure_engines(bundle: Bundle, tuning: Tuning) -> tuple[list[Measured], list[str]]:
    """Return what each engine takes, and why others were not tried."""
    refused: list[str] = []
    found: list[Measured] = []
    rng = np.random.default_rng(tuning.seed)
    with contextlib.ExitStack() as stack:
        sessions: dict[tuple[str, int | None], Session] = {}
        for name in tuning.engines:
            if name in NOT_PLANNED or not find_engine(name).local:
                continue
            try:
                engine = find_engine(name)
                engine.prepare()
                pieces = (None,) if engine.cuts_batches else (None, *PIECES)
                for chunk in pieces:
                    session = Session(bundle, engine, Options(threads=tuning.threads, chunk=chunk))
                    sessions[name, chunk] = stack.enter_context(session)
            except TamisError as error:
                refused.append(str(error))
        if not sessions:
            raise VerificationError(f"no engine can be planned for {bundle.name}: {'; '.join(refused)}")
        batches = batches_of(bundle, tuning.batches)
        with progress("measuring", len(batches), "batch sizes") as advance:
            for batch in batches:
                found += _at(bundle, batch, sessions, tuning, rng)
                advance(1)
    return found, refused


def _at(
    bundle: Bundle,
    batch: int,
    sessions: dict[tuple[str, int | None], Session],
    tuning: Tuning,
    rng: np.random.Generator,
) -> list[Measured]:
    arrays = events_of(bundle, batch)
    tried = {
        f"{name}|{chunk or ''}": (name, chunk, session)
        for (name, chunk), session in sessions.items()
        if chunk is None or (chunk < batch and chunk != min(batch, sessions[name, None].chunk))
    }
    calls = {key: _call(session, arrays) for key, (_, _, session) in tried.items()}
    warm = interleave(calls, tuning.plan, rng)
    cold: dict[str, Samples] = {}
    if tuning.cold:
        cold = interleave_cold(calls, COLD_ROUNDS, EVICTED_CACHES * host_facts().largest_cache_bytes, rng)
    found = []
    for key, (name, chunk, session) in tried.items():
        low, middle, high = np.percentile(warm[key].block_medians_ns, [25, 50, 75])
        pieces = chunk or (session.chunk if session.chunk < batch else None)
        found.append(
            Measured(
                batch=batch,
                engine=name,
                chunk=None if session.engine.cuts_batches else pieces,
                warm_ns=float(middle),
                noise=float((high - low) / 2 / middle),
                cold_ns=float(np.median(cold[key].wall_ns)) if cold else None,
                peak_bytes=_peak(bundle, name, batch, tuning),
            )
        )
    return found


def _call(session: Session, arrays: Sequence[np.ndarray]) -> Callable[[], object]:
    return lambda: session.run(*arrays)


def _peak(bundle: Bundle, engine: str, batch: int, tuning: Tuning) -> int | None:
    if not tuning.memory:
        return None
    row = measure_memory(bundle, engine, batch, 4 * batch, threads=tuning.threads, heap=False, seconds=30)
    return int(row.rss_peak_bytes)
