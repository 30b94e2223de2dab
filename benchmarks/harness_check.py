"""Does `bench` tell what an independent timing of the same ONNX file tells, and what does the harness cost.

The independent timing knows nothing of quickbeam: onnxruntime, one thread, `run` in a plain loop. Both take turns.

Usage: python benchmarks/harness_check.py [BUNDLE ...]
"""

from __future__ import annotations

import sys
from time import perf_counter_ns

import numpy as np
import onnxruntime as ort

from quickbeam import Bundle
from quickbeam.engines import Options, Session, find_engine
from quickbeam.measure import Plan, measure_roofline
from quickbeam.measure.latency import events_of, measure_latency

ROUNDS = 5


def independent_ns(bundle: Bundle, batch: int, chunk: int) -> float:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(bundle.model_bytes, settings, providers=["CPUExecutionProvider"])
    arrays = events_of(bundle, batch)
    feeds = {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)}
    pieces = [{k: v[i : i + chunk] for k, v in feeds.items()} for i in range(0, batch, chunk)]
    times = []
    for _ in range(5):
        session.run(None, pieces[0])
    for _ in range(max(5, min(200, 400 // batch))):
        begin = perf_counter_ns()
        for piece in pieces:
            session.run(None, piece)
        times.append(perf_counter_ns() - begin)
    return float(np.median(times))


def main(names: list[str]) -> None:
    roofline = measure_roofline()
    plan = Plan(rounds=5, budget_ns=1_000_000_000)
    rng = np.random.default_rng(0)
    for name in names:
        bundle = Bundle.open(name)
        with (
            Session(bundle, find_engine("onnxruntime"), Options()) as session,
            Session(bundle, find_engine("null"), Options()) as null,
        ):
            for batch in (1, 16, 64):
                ratios = []
                for _ in range(ROUNDS):
                    outside = independent_ns(bundle, batch, session.chunk)
                    rows = measure_latency(
                        [session, null], [batch], plan, cold=False, roofline=roofline, rng=rng
                    )
                    told = next(row for row in rows if row.engine == "onnxruntime" and row.mode == "call")
                    ratios.append(told.warm.p50_ns / outside)
                harness = next(row for row in rows if row.engine == "null" and row.mode == "bound")
                print(
                    f"{name} batch {batch}: bench / independent = {np.median(ratios):.3f} "
                    f"({min(ratios):.3f} to {max(ratios):.3f}); null engine {harness.warm.p50_ns:.0f} ns per bound call"
                )


if __name__ == "__main__":
    main(sys.argv[1:] or ["conv-vae", "graph-vae"])
