"""Loads on a real server, and what their records keep."""

from __future__ import annotations

import numpy as np
import pytest

from quickbeam.measure.traffic import Scenario, Target, Traffic, read_traffic, study_traffic, write_traffic


@pytest.fixture
def target(start_server):
    made = Target(start_server().address, "double", rows=3, sizes={"x": (3, 5)})
    yield made
    made.close()


def closed(streams: int, **more: float) -> Traffic:
    return Traffic(scenario=Scenario.CLOSED, streams=streams, seconds=0.5, warm_up_s=0.1, **more)


def test_a_record_keeps_what_calibrates_a_farm(target, tmp_path):
    record = study_traffic(target, [closed(1), closed(4)])
    assert record.batching is not None
    assert (record.batching.rows_most, record.batching.delay_us, record.batching.instances) == (64, 0.0, 1)
    point = record.points[0]
    assert [one.rows for one in point.server.batches] == [3]
    assert point.server.batches[0].executions == point.server.executions
    traced = point.traced_us()
    assert len(traced) == min(point.requests, 2000)
    assert np.all(traced[:, 1] > 0)
    assert np.all(np.diff(traced.sum(1)) >= -2)  # in the order of their ends, to the rounding
    assert all(one.rows % 3 == 0 for one in record.points[1].server.batches)
    write_traffic(record, tmp_path)
    assert read_traffic([tmp_path]) == [record]


def test_clients_that_work_on_their_own_ask_no_more_than_they_can(target):
    point = target.load(closed(10, think_s=0.05))
    assert 50 < point.requests_per_s < 220  # ten clients, 20 times a second at most on average
    assert point.unanswered == 0
    assert not point.errors


def test_only_closed_loads_have_clients_that_work():
    with pytest.raises(ValueError, match="only clients of the scenario closed"):
        Traffic(scenario=Scenario.OFFLINE, think_s=0.1)
