"""The closed formula, and the interpretation of the published numbers that gives a knee of 68."""

from __future__ import annotations

import pytest

from tamis.farm import PUBLISHED, PUBLISHED_CLIENTS, Workload, readings


def test_published_knee_counts_transmission_and_travel_without_preprocessing():
    by_hand = (0.35 * 330 + 1.77 + 2.05 + 0.38) / 1.77
    assert PUBLISHED.knee == pytest.approx(by_hand) == pytest.approx(67.63, abs=0.01)
    assert round(PUBLISHED.knee) == PUBLISHED_CLIENTS == 68


def test_other_interpretations_of_the_published_numbers():
    assert {name: round(workload.knee, 1) for name, workload in readings().items()} == {
        "p = 0.65, transmission and travel": 67.6,
        "p = 220/330, preprocessing as well": 68.5,
        "p = 0.65, preprocessing as well": 71.6,
    }
    assert readings()["p = 220/330, preprocessing as well"].gain == pytest.approx(2.7, abs=0.05)


def test_beyond_the_knee_each_client_adds_one_service_time():
    work = Workload(cpu_s=10.0, moved=0.5, server_s=0.5, latency_s=1.0)
    assert work.knee == pytest.approx(13.0)
    assert work.time_per_event_s(13) == pytest.approx(work.ideal_s) == pytest.approx(6.5)
    assert work.time_per_event_s(14) - work.time_per_event_s(13) == pytest.approx(0.5)
    assert work.time_per_event_s(28, servers=2) == work.time_per_event_s(14)


def test_saturated_servers_run_at_capacity():
    work = Workload(cpu_s=10.0, moved=0.5, server_s=0.5, latency_s=1.0)
    assert work.events_per_s(1) == pytest.approx(1 / 6.5)
    assert work.events_per_s(100) == pytest.approx(2.0)
    assert work.events_per_s(100, servers=3) == pytest.approx(6.0)
