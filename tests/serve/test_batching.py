"""The batching rule by itself, against an obviously right reference, at empty, single, odd and oversized requests."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tamis.serve.batching import (
    COPIED_MOST,
    Batching,
    QueuePolicy,
    choose_batch,
    rows_worth_copying,
    wait_limit,
)


def batch(rows, *, queued=None, waited=False, max_rows=8, preferred=()):
    """Return how many requests run, when the first one may still wait or has `waited` long enough."""
    candidates = [(one, 10.0) for one in rows]
    count, _ = choose_batch(
        candidates,
        len(rows) if queued is None else queued,
        10.0 if waited else 9.0,
        max_rows=max_rows,
        preferred=preferred,
    )
    return count


def reference(rows, limits, queued, now, max_rows, preferred):
    """Return what `choose_batch` returns, from a list of all possible batches."""
    fitting = [k for k in range(1, len(rows) + 1) if k == 1 or sum(rows[:k]) <= max_rows]
    fitting = [
        k for k in fitting if all(j in fitting for j in range(1, k))
    ]  # the first too large one ends it
    largest = max(fitting, default=0)
    until = min(limits[:largest], default=inf)
    complete = [k for k in fitting if sum(rows[:k]) in preferred]
    if now >= until:
        return largest, until
    if complete:
        return max(complete), until
    enough = max(preferred, default=max_rows)
    return (largest if largest < queued or sum(rows[:largest]) >= enough else 0), until


requests = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@settings(max_examples=500, deadline=None)
@given(
    requests=requests,
    others=st.integers(0, 2),
    now=st.integers(0, 10),
    max_rows=st.integers(1, 12),
    preferred=st.sets(st.integers(1, 12), max_size=3),
)
@example(requests=[], others=0, now=0, max_rows=1, preferred=set())
@example(requests=[(9, 5)], others=0, now=0, max_rows=4, preferred=set())
@example(requests=[(0, 5)] * 5, others=0, now=0, max_rows=1, preferred=set())
def test_batch_is_that_of_the_reference(requests, others, now, max_rows, preferred):
    rows, limits = [one for one, _ in requests], [limit for _, limit in requests]
    sizes = tuple(sorted(one for one in preferred if one <= max_rows))
    queued = len(rows) + others
    found = choose_batch(iter(requests), queued, now, max_rows=max_rows, preferred=sizes)
    assert found == reference(rows, limits, queued, now, max_rows, sizes)


@pytest.mark.parametrize("waited", [False, True])
def test_empty_queue_has_no_batch(waited):
    assert choose_batch([], 0, 99.0 if waited else 0.0, max_rows=8) == (0, inf)


def test_single_request_waits_for_others_and_then_runs_alone():
    assert batch([1]) == 0
    assert batch([1], waited=True) == 1


@pytest.mark.parametrize("max_rows", [1, 7, 8])
def test_requests_run_together_up_to_the_maximum(max_rows):
    assert batch([1] * 20, waited=True, max_rows=max_rows) == max_rows
    assert batch([1] * 20, max_rows=max_rows) == max_rows
    assert batch([3, 3, 3], waited=True, max_rows=max_rows) == max(1, max_rows // 3)


@pytest.mark.parametrize("waited", [False, True])
def test_request_larger_than_the_maximum_runs_alone_at_once(waited):
    assert batch([9, 1], waited=waited) == 1
    assert batch([1, 9], waited=waited) == 1


def test_requests_without_rows_join_any_batch():
    assert batch([0, 8, 0, 0]) == 4
    assert batch([0, 0]) == 0
    assert batch([0, 0], waited=True) == 2


def test_waiting_ends_when_the_next_request_cannot_join():
    assert batch([1, 1], queued=2) == 0
    assert batch([1, 1], queued=3) == 2


def test_largest_complete_preferred_size_runs_without_waiting():
    assert batch([1], preferred=(2, 4)) == 0
    assert batch([1, 1, 1], preferred=(2, 4)) == 2
    assert batch([1] * 7, preferred=(2, 4)) == 4
    assert batch([1] * 7, waited=True, preferred=(2, 4)) == 7
    assert batch([3, 3], preferred=(2, 4)) == 2  # beyond the largest preferred size


def test_candidates_beyond_the_batch_are_not_read():
    def candidates():
        yield 4, 0
        yield 4, 0
        yield 1, 0
        raise AssertionError("read further than needed")

    assert choose_batch(candidates(), 100, 0, max_rows=8) == (2, 0)


def test_impatient_request_shortens_the_wait_of_its_batch():
    assert choose_batch([(1, 30), (1, 20), (1, 40)], 3, 10, max_rows=8) == (0, 20)
    assert choose_batch([(1, 30), (1, 20), (1, 40)], 3, 20, max_rows=8) == (3, 20)
    assert choose_batch([(8, 30), (1, 20)], 2, 10, max_rows=8) == (1, 30)


def test_request_waits_for_others_at_most_half_of_its_time():
    assert wait_limit(100, 50) == 150
    assert wait_limit(100, 50, 300) == 150
    assert wait_limit(100, 50, 120) == 110
    assert wait_limit(1.0, 0.5, 1.2) == pytest.approx(1.1)


def test_only_small_requests_are_worth_copying():
    assert rows_worth_copying(1, 1 << 10) == 1024
    assert rows_worth_copying(3, 3 << 10) == 1024
    assert rows_worth_copying(2, COPIED_MOST * 5) == 2
    assert rows_worth_copying(0, 0) == 0


def test_priority_counts_from_one_and_others_mean_the_default():
    batching = Batching(priorities=(QueuePolicy(), QueuePolicy(), QueuePolicy()), default_priority=1)
    assert [batching.priority_of(one) for one in (0, 1, 2, 3, 4)] == [1, 0, 1, 2, 1]


@pytest.mark.parametrize(
    ("policy", "requested_ns", "timeout_ns"),
    [
        (QueuePolicy(), 0, 0),
        (QueuePolicy(), 7, 7),
        (QueuePolicy(timeout_ns=5), 0, 5),
        (QueuePolicy(timeout_ns=5), 3, 5),
        (QueuePolicy(timeout_ns=5, allow_override=True), 3, 3),
        (QueuePolicy(timeout_ns=5, allow_override=True), 7, 5),
        (QueuePolicy(timeout_ns=5, allow_override=True), -1, 5),
    ],
)
def test_request_may_only_shorten_the_timeout_of_its_queue(policy, requested_ns, timeout_ns):
    assert policy.timeout_of(requested_ns) == timeout_ns


def test_policies_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Batching().delay_ns = 1
