"""Choosing engines from measured times."""

from __future__ import annotations

import pytest

from tamis._base import UsageError
from tamis.bundle import Bundle
from tamis.records import EngineTime
from tamis.tuning import choose_engines


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("facile")


def timed(batch: int, engine: str, warm: float, **more: object) -> EngineTime:
    return EngineTime(batch=batch, engine=engine, warm_ns=warm, noise=0.005, **more)  # type: ignore[arg-type]


def chosen(plan) -> dict[int, str]:
    return {choice.batch: choice.engine for choice in plan.choices}


def test_fastest_engine_is_chosen_at_each_batch_size_with_the_margin(bundle):
    plan = choose_engines(
        bundle, [timed(1, "a", 100), timed(1, "b", 200), timed(64, "a", 900), timed(64, "b", 300)]
    )
    assert chosen(plan) == {1: "a", 64: "b"}
    assert "b takes 2.00 times" in plan.choices[0].why
    assert "a takes 3.00 times" in plan.choices[1].why


def test_differences_within_the_noise_go_to_the_usual_engine(bundle):
    rows = [timed(1, "a", 100), timed(1, "b", 200), timed(8, "a", 100), timed(8, "b", 300)]
    near = choose_engines(bundle, [*rows, timed(64, "a", 1005), timed(64, "b", 1000)])
    assert chosen(near) == {1: "a", 8: "a", 64: "a"}
    assert "noise" in near.choices[2].why
    far = choose_engines(bundle, [*rows, timed(64, "a", 1040), timed(64, "b", 1000)])
    assert chosen(far)[64] == "b"


def test_objective_cold_ranks_by_times_with_evicted_caches(bundle):
    rows = [timed(1, "a", 100, cold_ns=900.0), timed(1, "b", 200, cold_ns=400.0)]
    assert chosen(choose_engines(bundle, rows)) == {1: "a"}
    plan = choose_engines(bundle, rows, objective="cold")
    assert chosen(plan) == {1: "b"}
    assert "evicted caches" in plan.choices[0].why


def test_memory_limit_excludes_engines_and_fails_if_none_remains(bundle):
    rows = [timed(1, "a", 100, peak_bytes=900_000_000), timed(1, "b", 200, peak_bytes=200_000_000)]
    assert chosen(choose_engines(bundle, rows, memory_bytes=500_000_000)) == {1: "b"}
    with pytest.raises(UsageError, match=r"within 100.0 MB at batch 1: b needs the least, 200.0 MB"):
        choose_engines(bundle, rows, memory_bytes=100_000_000)


def test_chunk_size_is_part_of_the_choice(bundle):
    rows = [timed(256, "a", 100), timed(256, "a", 80, chunk=64)]
    (choice,) = choose_engines(bundle, rows).choices
    assert (choice.engine, choice.chunk) == ("a", 64)
