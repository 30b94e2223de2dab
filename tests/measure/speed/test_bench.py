"""The harness, and a complete benchmark of a tiny bundle; no test here asserts a time."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tamis
from tamis._base import TamisError, UsageError, VerificationError
from tamis.measure import (
    Bench,
    TimingPlan,
    floor_ns,
    interleave,
    interleave_cold,
    measure_load,
    measure_memory,
    read_records,
    run_bench,
)
from tamis.records import Roofline, write_record

QUICK = TimingPlan(rounds=3, block_ns=200_000, most_calls=5, budget_ns=10**9, least_rounds=2)
NARROW = Roofline(flops_per_second=1e9, bytes_per_second={"1000": 1e9, "100000": 1e8})


@pytest.fixture
def bench(monkeypatch):
    """Return a function that runs a benchmark without measuring the roofline, which takes a minute."""
    monkeypatch.setattr("tamis.measure.speed.bench.measure_roofline", lambda: NARROW)
    return lambda bundles, **options: run_bench(bundles, Bench(plan=QUICK, cold=False, load=False, **options))


def test_blocks_are_interleaved_in_a_new_random_order_each_round():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    found = interleave(
        calls, TimingPlan(rounds=8, block_ns=1, most_calls=2, least_calls=2), np.random.default_rng(0)
    )
    for samples in found.values():
        assert len(samples.block_medians_ns) == len(samples.cpu_ns) == 8
        assert len(samples.wall_ns) == 16
    blocks = [order[i] for i in range(len(order)) if i == 0 or order[i] != order[i - 1]]
    assert len(blocks) > 12  # three if not interleaved


def test_cold_calls_are_single_calls():
    seen = []
    found = interleave_cold({"a": lambda: seen.append(1)}, 4, 1_000_000, np.random.default_rng(0))
    assert len(found["a"].wall_ns) == 4
    assert len(seen) == 5


def test_no_new_round_starts_after_the_time_budget():
    plan = TimingPlan(rounds=1000, block_ns=1, most_calls=2, least_rounds=3, budget_ns=0)
    assert len(interleave({"a": lambda: None}, plan, np.random.default_rng(0))["a"].cpu_ns) == 3


def test_benchmark_of_several_bundles_and_engines(bundle_of, bench, tmp_path):
    bundles = [bundle_of("dense"), bundle_of("fixed-batch"), bundle_of("no-batch")]
    record = bench(bundles, engines=("onnxruntime", "torch"), batches=(1, 8))
    seen = {(r.bundle, r.engine, r.mode, r.batch) for r in record.latency}
    assert len(seen) == len(record.latency) == 2 * 8 + (8 + 6) + 8
    for row in record.latency:
        assert 0 < row.warm.p50_ns <= row.warm.p95_ns <= row.warm.p99_ns
        assert row.ratio.baseline == "onnxruntime call"
        assert row.floor_ns > 0
        assert row.events_per_second > 0
    assert all(r.ratio.median == 1 for r in record.latency if (r.engine, r.mode) == ("onnxruntime", "call"))
    assert record.harness_ns > 0
    assert record.agreement
    assert all(a.passed for a in record.agreement)
    path = write_record(record, tmp_path / "r" / "bench.json")
    json.loads(path.read_text())
    assert read_records([tmp_path / "r"]) == [(path, record)]
    with pytest.raises(UsageError, match="records are never overwritten"):
        write_record(record, path)


def test_large_batches_are_split_except_in_plain_mode(bundle_of, bench):
    bundle = bundle_of("dense")
    with tamis.open(bundle) as session:
        chunk = session.chunk
        x = np.concatenate([bundle.golden.inputs["x"]] * (2 * chunk // 64 + 1))[: 2 * chunk]
        np.testing.assert_allclose(session.plain(x)()[0], session(x), rtol=1e-5)
    rows = bench([bundle], engines=("onnxruntime",), batches=(chunk, 2 * chunk)).latency
    seen = {(r.engine, r.mode, r.batch): r.chunk for r in rows}
    assert seen["onnxruntime", "call", 2 * chunk] == seen["onnxruntime", "bound", 2 * chunk] == chunk
    assert seen["onnxruntime", "plain", 2 * chunk] == 2 * chunk
    assert seen["onnxruntime", "plain", chunk] == chunk
    assert ("null", "plain", chunk) not in seen


def test_only_the_requested_modes_are_timed(bundle_of, bench):
    record = bench([bundle_of("dense")], engines=("onnxruntime",), batches=(1, 4), modes=("call",))
    assert {(r.engine, r.mode) for r in record.latency} == {("onnxruntime", "call"), ("null", "call")}


def test_engine_that_cannot_run_the_model_is_listed_and_the_others_are_timed(bench, parse_model, tmp_path):
    from tamis.bundle import pack

    model = parse_model("m (float[N, 3] x) => (float[N, 3] y) { y = Hardmax (x) }")
    bundle = pack(model, tmp_path / "m.tamis", inputs={"x": np.eye(3)}).bundle
    record = bench([bundle], engines=("onnxruntime", "torch"), batches=(1,))
    assert {r.engine for r in record.latency} == {"onnxruntime", "null"}
    assert "does not support the operator Hardmax" in record.refused[0]
    with pytest.raises(VerificationError, match="no engine passes on the bundle m"):
        bench([bundle], engines=("torch",), batches=(1,))


def test_batch_sizes_the_graph_cannot_take_are_listed(bench, parse_model, tmp_path):
    from tamis.bundle import pack

    model = parse_model("m (float[8, 3] x) => (float[8, 3] y) { y = Sigmoid (x) }")
    bundle = pack(model, tmp_path / "eight.tamis").bundle
    record = bench([bundle], engines=("onnxruntime",), batches=(1, 16))
    assert {row.batch for row in record.latency} == {16}
    assert record.refused == ("eight with batches of 1: its graph takes 8 events at a time",)
    assert measure_load(bundle, "onnxruntime").first_call_ns > 0


def test_null_engine_alone_times_the_harness(bundle_of, bench):
    record = bench([bundle_of("dense")], engines=("null",), batches=(1,))
    assert {(r.engine, r.mode) for r in record.latency} == {("null", "call"), ("null", "bound")}
    assert record.harness_ns > 0
    assert record.refused == ()


def test_memory_is_tracked_over_batches_and_events(bundle_of, bench):
    options = {"memory_batches": (2,), "memory_events": 2500, "heap": False}
    rows = bench([bundle_of("dense")], engines=("onnxruntime",), batches=(1,), **options).memory
    assert [(r.batch, r.events) for r in rows] == [(2, 8), (1024, 2048)]  # whole batches
    assert all(r.rss_peak_bytes > 0 and r.allocated_peak_bytes is None for r in rows)


def test_unknown_engines_and_batch_sizes_are_rejected(bundle_of, bench):
    with pytest.raises(UsageError, match="no engine is called 'onnxruntme'"):
        bench([bundle_of("dense")], engines=("onnxruntme",))
    with pytest.raises(UsageError, match="must be at least 1"):
        bench([bundle_of("dense")], engines=("onnxruntime",), batches=(0,))


def test_floor_is_the_slower_of_arithmetic_and_memory(bundle_of):
    cost = bundle_of("dense").manifest.cost
    assert floor_ns(cost, 1000, NARROW) == pytest.approx(cost.flops * 1000)
    assert floor_ns(cost, 1, NARROW) == pytest.approx(max(cost.flops, cost.weight_bytes))
    heavy = cost.model_copy(update={"weight_bytes": 1_000_000})
    assert floor_ns(heavy, 1, NARROW) == pytest.approx(1e9 * 1_000_000 / 1e8)


def test_memory_and_loading_are_measured_in_fresh_processes(bundle_of):
    bundle = bundle_of("dense")
    memory = measure_memory(bundle, "onnxruntime", 8, 30, heap=True)
    assert memory.curve[-1][0] == 30
    assert 0 < memory.rss_before_bytes <= memory.rss_peak_bytes
    assert memory.allocated_peak_bytes > 1000
    assert measure_memory(bundle, "onnxruntime", 8, 8_000_000, seconds=0).events == 8  # the time is up
    load = measure_load(bundle, "onnxruntime", processes=1)
    assert min(load.import_ns, load.open_ns, load.first_call_ns, load.second_call_ns) > 0
    with pytest.raises(TamisError, match=r"the load probe of .* failed: no engine is called 'nothing'"):
        measure_load(bundle, "nothing", processes=1)
