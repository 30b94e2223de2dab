"""The simulation against results known in closed form."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from tamis.farm import (
    PUBLISHED,
    Closed,
    Death,
    Farm,
    MeasuredClock,
    Network,
    Open,
    Patience,
    Policy,
    ServerSpec,
    ServiceTimes,
    simulate,
)

ONE = ServiceTimes((1,), (0.010,))


def test_mean_wait_of_random_arrivals_matches_the_m_d_1_queue():
    """M/D/1: the mean wait is rho / (2 (1 - rho)) service times; 40,000 requests at rho = 0.6 give it to about 3 %."""
    found = simulate(Farm(ServerSpec(ONE), Open(60.0)), requests=40_000, seed=4)
    assert found.wait_us == pytest.approx(1e4 * 0.6 / 2 / 0.4, rel=0.05)
    assert found.utilisation == pytest.approx(0.6, rel=0.02)
    assert found.requests_per_s == pytest.approx(60, rel=0.02)


def test_instances_share_one_queue():
    """Closed, without pauses: as many requests as instances are computed at a time, and the others wait."""
    found = simulate(Farm(ServerSpec(ONE, instances=3), Closed(6)), requests=3000)
    assert found.requests_per_s == pytest.approx(300, rel=0.01)
    assert found.latency.p50_us == pytest.approx(20_000, rel=0.01)


def test_simulated_knee_matches_the_formula():
    server = ServerSpec(ServiceTimes((1,), (PUBLISHED.server_s,)))
    for clients in (1, 40, 66, 70, 100):
        farm = Farm(
            server, Closed(clients, PUBLISHED.own_s, "fixed"), network=Network((PUBLISHED.latency_s,))
        )
        found = simulate(farm, requests=60 * clients, warm_up=0.3)
        assert clients / found.requests_per_s == pytest.approx(
            PUBLISHED.time_per_event_s(clients), rel=0.01
        ), clients


def test_random_work_of_clients_softens_the_knee():
    server = ServerSpec(ServiceTimes((1,), (PUBLISHED.server_s,)))
    farm = Farm(server, Closed(66, PUBLISHED.own_s), network=Network((PUBLISHED.latency_s,)))
    found = simulate(farm, requests=10_000)
    assert 66 / found.requests_per_s > 1.02 * PUBLISHED.time_per_event_s(66)


def test_shared_link_limits_the_rate_to_its_bandwidth():
    network = Network(bytes_per_s=1e6, request_bytes=20_000)  # 50 requests per second
    found = simulate(Farm(ServerSpec(ONE), Closed(30), network=network), requests=3000)
    assert found.requests_per_s == pytest.approx(50, rel=0.01)
    assert found.transport_us > 50 * found.wait_us


def test_results_depend_on_the_seed_only():
    farm = Farm(ServerSpec(ONE), Open(70.0))
    first, again, other = (simulate(farm, requests=2000, seed=seed) for seed in (1, 1, 2))
    assert first.latency == again.latency != other.latency


def test_parts_of_the_latency_add_up():
    farm = Farm(
        ServerSpec(ONE, Policy(4, 0.002), in_s=1e-4, out_s=2e-4), Open(120.0), network=Network((0.001,))
    )
    found = simulate(farm, requests=3000)
    assert found.wait_us + found.compute_us + found.transport_us == pytest.approx(found.latency.mean_us)
    assert found.transport_us >= 1200


# Interrupted for one second in each second of work.
INTERRUPTED = MeasuredClock([0.0, 0.999, 2.0], [0.0, 1.9979999, 2.0])


def test_stall_delays_all_requests_that_arrive_meanwhile():
    """A server that computes a tenth of the time is interrupted once in ten seconds; requests that arrive meanwhile wait."""
    quick = ServerSpec(ServiceTimes((1,), (0.0005,)))
    found = simulate(Farm(quick, Open(200.0), clocks=(INTERRUPTED,)), requests=40_000)
    assert found.requests_per_s == pytest.approx(200, rel=0.02)
    assert found.latency.p99_us > 0.7e6
    assert found.latency.p50_us < 1000
    # more than half of all quarters of a second have no interruption
    assert found.typical_p99_us(0.25) < 0.1e6
    assert found.typical_p99_us(1e9) == found.latency.p99_us


def test_idle_server_is_not_interrupted():
    """The same server with a hundredth of the work sees a hundredth of the interruptions."""
    quick = ServerSpec(ServiceTimes((1,), (0.0005,)))
    found = simulate(Farm(quick, Open(2.0), clocks=(INTERRUPTED,)), requests=4000)
    assert found.latency.p99_us < 1000
    assert found.latency.p999_us < 1.1e6


def test_clock_advances_with_the_work_and_can_be_restarted():
    clock = MeasuredClock([0.0, 1.0, 3.0], [0.0, 2.0, 3.0])
    assert clock.takes(1.0) == pytest.approx(0.5)
    assert clock.takes(1.5) == pytest.approx(1.5)
    assert clock.takes(3.0) == pytest.approx(3.0)
    assert clock.fresh().takes(1.0) == pytest.approx(0.5)
    late = MeasuredClock([0.0, 1.0, 3.0], [0.0, 2.0, 3.0], offset=2 / 3)
    assert late.takes(1.0) == pytest.approx(2.0)
    assert late.fresh().takes(1.0) == pytest.approx(2.0)


@pytest.mark.parametrize("silent", [False, True])
def test_death_of_a_server_costs_time_but_no_request(silent):
    patience = Patience(timeout_s=0.2, fallback_s=0.05)
    farm = Farm(
        ServerSpec(ONE),
        Open(150.0, clients=8),
        servers=3,
        patience=patience,
        death=Death(10.0, silent=silent),
    )
    found = simulate(farm, requests=4000, warm_up=0.0)
    assert found.requests == 4000
    assert found.lost == 0
    assert 0 < found.retried < 400
    assert found.fallbacks < 10
    assert simulate(replace(farm, death=None), requests=4000).retried == 0


def test_without_a_live_server_all_requests_fall_back():
    farm = Farm(ServerSpec(ONE), Open(50.0, clients=4), patience=Patience(fallback_s=0.05), death=Death(0.0))
    found = simulate(farm, requests=500, warm_up=0.0)
    assert found.fallbacks == found.requests == 500
    assert found.lost == 0
    assert found.latency.p50_us == pytest.approx(50_000, rel=0.01)


def test_requests_rejected_by_a_full_server_fall_back():
    farm = Farm(ServerSpec(ONE, waiting_most=5), Open(1000.0), patience=Patience(fallback_s=0.01))
    found = simulate(farm, requests=2000)
    assert found.fallbacks > 1500
    assert found.lost == 0
    assert found.latency.p999_us < 0.1e6


def test_service_times_are_interpolated_between_measured_sizes():
    service = ServiceTimes((2, 4, 8), (1.0, 3.0, 5.0))
    assert [service.at(rows) for rows in (1, 2, 3, 6, 8, 10)] == [1.0, 1.0, 2.0, 4.0, 5.0, 6.0]
    assert Network().bytes_per_s == inf
