"""A benchmark run: verify every engine on every bundle, then time the engines that passed; writes one record."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis._base import TamisError, UsageError, VerificationError, host_facts, progress, utc_timestamp
from tamis.bundle import Bundle
from tamis.engines import Options, Session, find_engine
from tamis.measure.agreement import verify
from tamis.measure.speed.harness import TimingPlan
from tamis.measure.speed.latency import CALL_MODES, NULL, CallMode, batches_of, measure_latency
from tamis.measure.speed.processes import measure_load, measure_memory
from tamis.measure.speed.roofline import measure_roofline
from tamis.records import Agreement, LatencyRow, LoadRow, MemoryRow, Record

EVENTS_BATCH = 1024  # batch size where memory is tracked over many events


@dataclass(frozen=True)
class Bench:
    """The engines, batch sizes and quantities to measure."""

    engines: tuple[str, ...]
    batches: tuple[int, ...] = (1, 8, 16, 64, 256, 1024)
    threads: int = 1
    modes: tuple[CallMode, ...] = CALL_MODES
    plan: TimingPlan = field(default_factory=TimingPlan)
    cold: bool = True
    load: bool = True
    memory_batches: tuple[int, ...] = ()
    memory_events: int = 0
    memory_seconds: int = 900  # limit per process
    heap: bool = True
    seed: int = 0


def run_bench(bundles: Sequence[Bundle], bench: Bench) -> Record:
    """Run a benchmark; engines that do not pass on a bundle are listed in the record with the reason, and not timed."""
    if not bench.batches or min(bench.batches) < 1:
        raise UsageError(f"the batch sizes are {list(bench.batches)}; they must be at least 1")
    for name in bench.engines:
        find_engine(name).prepare()
    roofline = measure_roofline()
    rng = np.random.default_rng(bench.seed)
    agreement: list[Agreement] = []
    refused: list[str] = []
    latency: list[LatencyRow] = []
    memory: list[MemoryRow] = []
    load: list[LoadRow] = []
    with progress("measuring", len(bundles) * 3, "steps") as advance:
        for bundle in bundles:
            with contextlib.ExitStack() as stack:
                sessions = []
                for name in dict.fromkeys((*bench.engines, NULL)):
                    session = _open(bundle, name, bench.threads, agreement, refused)
                    if session is not None:
                        sessions.append(stack.enter_context(session))
                if any(find_engine(name).computes for name in bench.engines) and not any(
                    s.verified for s in sessions
                ):
                    raise VerificationError(
                        f"no engine passes on the bundle {bundle.name}, so none is timed: {'; '.join(refused)}"
                    )
                batches = _batches(bundle, bench, refused)
                latency += measure_latency(
                    sessions,
                    batches,
                    bench.plan,
                    cold=bench.cold,
                    roofline=roofline,
                    rng=rng,
                    modes=bench.modes,
                )
            advance(1)
            passed = [s.engine.name for s in sessions if s.verified]
            load += [measure_load(bundle, name, threads=bench.threads) for name in passed if bench.load]
            advance(1)
            memory += _memory(bundle, passed, bench)
            advance(1)
    harness = [r.warm.p50_ns for r in latency if (r.engine, r.mode, r.batch) == (NULL, "bound", 1)]
    return Record(
        created=utc_timestamp(),
        host=host_facts(),
        options=_options(bench),
        models={bundle.name: bundle.manifest.files["model.onnx"].sha256 for bundle in bundles},
        agreement=tuple(agreement),
        refused=tuple(refused),
        roofline=roofline,
        latency=tuple(latency),
        memory=tuple(memory),
        load=tuple(load),
        harness_ns=float(np.median(harness)) if harness else None,
    )


def _open(
    bundle: Bundle, name: str, threads: int, agreement: list[Agreement], refused: list[str]
) -> Session | None:
    """Verify and open one engine; if that fails, append the reason to `refused`."""
    try:
        engine = find_engine(name)
        if engine.computes:
            agreement.append(verify(bundle, name, threads=threads))
        return Session(bundle, engine, Options(threads=threads))
    except TamisError as error:
        refused.append(str(error))
        return None


def _batches(bundle: Bundle, bench: Bench, refused: list[str]) -> list[int]:
    """Return the batch sizes that the bundle's graph takes; append a note on the others to `refused`."""
    batches = batches_of(bundle, bench.batches)
    skipped = sorted(set(bench.batches) - set(batches))
    if skipped:
        step = bundle.manifest.signature.fixed_batch
        rule = f"its graph takes {step} events at a time" if step else "its graph has no batch axis"
        refused.append(f"{bundle.name} with batches of {', '.join(map(str, skipped))}: {rule}")
    return batches


def _options(bench: Bench) -> dict[str, int | float | str | list[int] | list[str]]:
    return {
        "engines": list(bench.engines),
        "batches": list(bench.batches),
        "threads": bench.threads,
        "rounds": bench.plan.rounds,
        "block_ms": bench.plan.block_ns / 1e6,
        "seed": bench.seed,
    }


def _memory(bundle: Bundle, engines: Sequence[str], bench: Bench) -> list[MemoryRow]:
    rows = []
    for name in engines:
        if name == "reference":
            continue
        sizes = batches_of(bundle, bench.memory_batches) if bench.memory_batches else []
        runs = [(batch, 4 * batch) for batch in sizes]
        if bench.memory_events:
            (most,) = batches_of(bundle, (min(EVENTS_BATCH, bench.memory_events),))[:1]
            # whole batches only: graphs of a fixed batch take no others
            runs.append((most, max(1, bench.memory_events // most) * most))
        rows += [
            measure_memory(
                bundle,
                name,
                batch,
                events,
                threads=bench.threads,
                heap=bench.heap,
                seconds=bench.memory_seconds,
            )
            for batch, events in runs
        ]
    return rows
