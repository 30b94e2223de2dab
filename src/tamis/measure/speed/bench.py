"""A benchmark run: verify every engine on every bundle, then time those that passed; one record at the end."""

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
from tamis.measure.speed.latency import MODES, NULL, Mode, batches_of, measure_latency
from tamis.measure.speed.processes import measure_load, measure_memory
from tamis.measure.speed.roofline import measure_roofline
from tamis.records import Agreement, LatencyRow, LoadRow, MemoryRow, Record, Roofline

EVENTS_BATCH = 1024  # how many at once where memory is followed over many events


@dataclass(frozen=True)
class Bench:
    """What to measure."""

    engines: tuple[str, ...]
    batches: tuple[int, ...] = (1, 8, 16, 64, 256, 1024)
    threads: int = 1
    modes: tuple[Mode, ...] = MODES
    plan: TimingPlan = field(default_factory=TimingPlan)
    cold: bool = True
    load: bool = True
    memory_batches: tuple[int, ...] = ()
    memory_events: int = 0
    memory_seconds: int = 900  # at most, per process
    heap: bool = True
    seed: int = 0


def run_bench(bundles: Sequence[Bundle], bench: Bench) -> Record:
    """Measure; an engine that does not pass on a bundle is named in the record and not timed there."""
    if not bench.batches or min(bench.batches) < 1:
        raise UsageError(f"the batches are {list(bench.batches)}; they have to be at least 1")
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
                        f"no engine may be timed on the bundle {bundle.name}: {'; '.join(refused)}"
                    )
                batches = batches_of(bundle, bench.batches)
                left_out = sorted(set(bench.batches) - set(batches))
                if left_out:
                    refused.append(
                        f"{bundle.name} with batches of {', '.join(map(str, left_out))}: {_batch_rule(bundle)}"
                    )
                latency += _latency(sessions, batches, bench, roofline, rng)
            advance(1)
            passed = [s.engine.name for s in sessions if s.verified]
            load += [measure_load(bundle, name, threads=bench.threads) for name in passed if bench.load]
            advance(1)
            memory += _memory(bundle, passed, bench)
            advance(1)
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
        harness_ns=_harness(latency),
    )


def _latency(
    sessions: Sequence[Session],
    batches: Sequence[int],
    bench: Bench,
    roofline: Roofline,
    rng: np.random.Generator,
) -> list[LatencyRow]:
    return measure_latency(
        sessions, batches, bench.plan, cold=bench.cold, roofline=roofline, rng=rng, modes=bench.modes
    )


def _open(
    bundle: Bundle, name: str, threads: int, agreement: list[Agreement], refused: list[str]
) -> Session | None:
    """Verify and open one engine, or note why not."""
    try:
        engine = find_engine(name)
        if engine.computes:
            agreement.append(verify(bundle, name, threads=threads))
        return Session(bundle, engine, Options(threads=threads))
    except TamisError as error:
        refused.append(str(error))
        return None


def _batch_rule(bundle: Bundle) -> str:
    step = bundle.manifest.signature.fixed_batch
    return f"its graph takes {step} events at a time" if step else "its graph has no batch"


def _memory(bundle: Bundle, engines: Sequence[str], bench: Bench) -> list[MemoryRow]:
    rows = []
    for name in engines:
        if name == "reference":
            continue
        sizes = batches_of(bundle, bench.memory_batches) if bench.memory_batches else []
        runs = [(batch, 4 * batch) for batch in sizes]
        if bench.memory_events:
            (most,) = batches_of(bundle, (min(EVENTS_BATCH, bench.memory_events),))[:1]
            runs.append(
                (most, max(1, bench.memory_events // most) * most)
            )  # whole batches: some graphs take no others
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


def _options(bench: Bench) -> dict[str, int | float | str | list[int] | list[str]]:
    return {
        "engines": list(bench.engines),
        "batches": list(bench.batches),
        "threads": bench.threads,
        "rounds": bench.plan.rounds,
        "block_ms": bench.plan.block_ns / 1e6,
        "seed": bench.seed,
    }


def _harness(rows: Sequence[LatencyRow]) -> float | None:
    calls = [row.warm.p50_ns for row in rows if row.engine == NULL and row.mode == "bound" and row.batch == 1]
    return float(np.median(calls)) if calls else None
