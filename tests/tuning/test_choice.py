"""Choosing engines from measurements."""

from __future__ import annotations

import pytest

from tamis._base import UsageError
from tamis.bundle import Bundle
from tamis.records import EngineTime
from tamis.tuning import choose_engines


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("facile")


def seen(batch: int, engine: str, warm: float, **more: object) -> EngineTime:
    return EngineTime(batch=batch, engine=engine, warm_ns=warm, noise=0.005, **more)  # type: ignore[arg-type]


def chosen(plan) -> dict[int, str]:
    return {choice.batch: choice.engine for choice in plan.choices}


def test_the_fastest_is_chosen_at_each_batch_size_and_it_says_by_how_much(bundle):
    plan = choose_engines(
        bundle, [seen(1, "a", 100), seen(1, "b", 200), seen(64, "a", 900), seen(64, "b", 300)]
    )
    assert chosen(plan) == {1: "a", 64: "b"}
    assert "b takes 2.00 times" in plan.choices[0].why
    assert "a takes 3.00 times" in plan.choices[1].why


def test_what_noise_may_explain_is_left_to_the_engine_that_is_open_anyway(bundle):
    rows = [seen(1, "a", 100), seen(1, "b", 200), seen(8, "a", 100), seen(8, "b", 300)]
    near = choose_engines(bundle, [*rows, seen(64, "a", 1005), seen(64, "b", 1000)])
    assert chosen(near) == {1: "a", 8: "a", 64: "a"}
    assert "noise" in near.choices[2].why
    far = choose_engines(bundle, [*rows, seen(64, "a", 1040), seen(64, "b", 1000)])
    assert chosen(far)[64] == "b"


def test_evicted_caches_count_where_they_are_what_is_asked_for(bundle):
    rows = [seen(1, "a", 100, cold_ns=900.0), seen(1, "b", 200, cold_ns=400.0)]
    assert chosen(choose_engines(bundle, rows)) == {1: "a"}
    plan = choose_engines(bundle, rows, objective="cold")
    assert chosen(plan) == {1: "b"}
    assert "evicted caches" in plan.choices[0].why


def test_a_ceiling_of_memory_leaves_engines_out_and_says_where_none_is_left(bundle):
    rows = [seen(1, "a", 100, peak_bytes=900_000_000), seen(1, "b", 200, peak_bytes=200_000_000)]
    assert chosen(choose_engines(bundle, rows, memory_bytes=500_000_000)) == {1: "b"}
    with pytest.raises(UsageError, match=r"below 100.0 MB at batch 1: the least is b with 200.0 MB"):
        choose_engines(bundle, rows, memory_bytes=100_000_000)


def test_pieces_are_part_of_the_choice(bundle):
    rows = [seen(256, "a", 100), seen(256, "a", 80, chunk=64)]
    (choice,) = choose_engines(bundle, rows).choices
    assert (choice.engine, choice.chunk) == ("a", 64)
