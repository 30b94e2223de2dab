"""Batching in the simulation."""

from __future__ import annotations

import pytest

from tamis.farm import Closed, Farm, Open, Policy, ServerSpec, ServiceTimes, simulate


@pytest.mark.parametrize(
    ("policy", "now_s", "count"),
    [
        (Policy(), 0.0, 1),  # no batching
        (Policy(8, 0.002), 0.001, 0),  # waits for others
        (Policy(8, 0.002), 0.002, 3),  # the delay is over
        (Policy(5, 0.002), 0.001, 2),  # a full batch does not wait
        (Policy(8, 0.002, (4,)), 0.001, 2),  # neither does a preferred size
    ],
)
def test_policy_chooses_requests_by_the_rule_of_the_server(policy, now_s, count):
    assert policy.choose([2, 2, 2], [0.0, 0.0, 0.0], now_s)[0] == count


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
