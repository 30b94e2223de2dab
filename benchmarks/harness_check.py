"""Compare `tamis bench` with an independent timing of the same ONNX file, and measure the overhead of the harness.

The independent timing does not use tamis: onnxruntime, one thread, `run` on the whole batch in a plain loop.
The two alternate in turns of about ten milliseconds, so that drifts of the host affect both; each turn gives one ratio.

Usage: python benchmarks/harness_check.py [BUNDLE ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter_ns

import numpy as np
import onnxruntime as ort

from tamis import Bundle
from tamis.engines import Options, Session, find_engine
from tamis.measure import TimingPlan
from tamis.measure.speed.latency import events_of, measure_latency

ROUNDS = 40
BATCHES = (1, 16, 64, 256)
TURN = TimingPlan(rounds=1, least_rounds=1, block_ns=12_000_000)


def independent(path: str, feeds: dict[str, np.ndarray]) -> Callable[[], float]:
    """Return a function that times calls of ONNX Runtime for one turn and returns their median in nanoseconds."""
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])

    def turn() -> float:
        times: list[int] = []
        for _ in range(3):
            session.run(None, feeds)
        while (sum(times) < TURN.block_ns and len(times) < TURN.most_calls) or len(times) < TURN.least_calls:
            begin = perf_counter_ns()
            session.run(None, feeds)
            times.append(perf_counter_ns() - begin)
        return float(np.median(times))

    return turn


def main(names: list[str]) -> None:
    """Print a line per bundle and batch size."""
    rng = np.random.default_rng(0)
    for name in names:
        bundle = Bundle.open(name)
        with (
            Session(bundle, find_engine("onnxruntime"), Options()) as session,
            Session(bundle, find_engine("null"), Options()) as null,
        ):
            for batch in BATCHES:
                feeds = dict(zip(bundle.golden.inputs, events_of(bundle, batch), strict=True))
                turn = independent(str(bundle.path / "model.onnx"), feeds)
                ratios: dict[str, list[float]] = {}
                harness = []
                for _ in range(ROUNDS):
                    outside = turn()
                    rows = measure_latency([session, null], [batch], TURN, cold=False, roofline=None, rng=rng)
                    for row in rows:
                        if row.engine == "onnxruntime":
                            ratios.setdefault(row.mode, []).append(row.warm.p50_ns / outside)
                        elif row.mode == "bound":
                            harness.append(row.warm.p50_ns)
                comparison = "; ".join(
                    "{} {:.3f} (quartiles {:.3f} to {:.3f})".format(
                        mode, *np.percentile(values, [50, 25, 75])
                    )
                    for mode, values in ratios.items()
                )
                print(
                    f"{name} batch {batch}: bench / independent: {comparison}; null engine {np.median(harness):.0f} ns"
                )


if __name__ == "__main__":
    main(sys.argv[1:] or ["conv-vae", "graph-vae"])
