"""Batching: the simulation makes the same decisions as the server's scheduler."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.farm import Closed, Farm, Open, Policy, ServerSpec, ServiceTimes, simulate
from tamis.serve.batching import choose_batch


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.integers(1, 6), min_size=1, max_size=10),
    most=st.integers(6, 12),
    preferred=st.sets(st.integers(1, 12), max_size=3),
    delay_ms=st.integers(0, 3),
    waited_ms=st.integers(0, 4),
)
def test_policy_batches_the_same_requests_as_the_scheduler(rows, most, preferred, delay_ms, waited_ms):
    allowed = tuple(sorted(one for one in preferred if one <= most))
    expected, _ = choose_batch(
        ((one, delay_ms) for one in rows), len(rows), waited_ms, max_rows=most, preferred=allowed
    )
    policy = Policy(most, delay_ms / 1e3, allowed)
    taken, until = policy.together(rows, [0.0], waited_ms / 1e3)
    assert taken == expected
    assert taken or until == pytest.approx(delay_ms / 1e3)


def test_saturated_server_fills_its_batches():
    server = ServerSpec(ServiceTimes((1, 8), (0.010, 0.012)), Policy(8, 0.0))
    full = simulate(Farm(server, Closed(40)), requests=4000)
    assert full.rows_per_batch == pytest.approx(8, rel=0.02)
    assert full.requests_per_s == pytest.approx(8 / 0.012, rel=0.02)


def test_delay_collects_requests_and_bounds_the_wait_of_the_first():
    server = ServerSpec(ServiceTimes((1, 8), (0.001, 0.001)), Policy(64, 0.050))
    gathered = simulate(Farm(server, Open(100.0)), requests=4000)
    # the first request of a batch waits 50 ms, in which 5 more arrive on average
    assert gathered.rows_per_batch == pytest.approx(6, rel=0.03)
    assert gathered.latency.p999_us == pytest.approx(51_000, rel=0.01)


def test_without_dynamic_batching_every_request_is_a_batch():
    single = simulate(Farm(ServerSpec(ServiceTimes((1, 8), (0.01, 0.01))), Closed(8)), requests=500)
    assert single.rows_per_batch == 1
