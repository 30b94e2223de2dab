"""Loads on a real server, and their records."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from tamis._base import UsageError
from tamis.bundle import Bundle
from tamis.cli.load import command
from tamis.measure import read_traffic
from tamis.measure.traffic import LoadTarget, study_together, study_traffic, write_traffic
from tamis.measure.traffic.driver import LoadOutcome
from tamis.measure.traffic.study import summarise_load
from tamis.records import Scenario, Traffic, TrafficRecord


@pytest.fixture
def target(start_server):
    target_model = LoadTarget(start_server().address, "double", rows=3, sizes={"x": (3, 5)})
    yield target_model
    target_model.close()


def closed(streams: int, **options: float) -> Traffic:
    return Traffic(scenario=Scenario.CLOSED, streams=streams, seconds=0.5, warm_up_s=0.1, **options)


def test_record_has_what_the_farm_calibration_needs(target, tmp_path):
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
    assert record.points[1].server.batches
    assert all(one.rows % 3 == 0 for one in record.points[1].server.batches)
    write_traffic(record, tmp_path)
    assert read_traffic([tmp_path]) == [record]


def test_thinking_clients_send_no_more_than_they_can(target):
    point = target.load(closed(10, think_s=0.05))
    assert 50 < point.requests_per_s < 220  # ten clients, each on average 20 times a second at most
    assert point.unanswered == 0
    assert not point.errors


def test_only_the_closed_scenario_has_a_think_time():
    with pytest.raises(ValueError, match="only clients of the scenario closed"):
        Traffic(scenario=Scenario.OFFLINE, think_s=0.1)


def test_several_models_are_called_in_turn(start_server, tmp_path):
    address = start_server(Bundle.open("facile").path).address
    arguments = [address, "double,facile", "--scenario", "closed", "--streams", "3"]
    arguments += ["--seconds", "0.5", "--warm-up", "0.1", "-o", str(tmp_path)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    records = {
        one.model: one
        for path in tmp_path.iterdir()
        for one in [TrafficRecord.model_validate_json(path.read_text())]
    }
    assert records["double"].together == ("facile",)
    assert records["facile"].together == ("double",)
    points = [record.points[0] for record in records.values()]
    assert abs(points[0].requests - points[1].requests) <= 3
    for point in points:  # with its own answers and server counters
        assert point.requests > 10
        assert not point.errors
        assert point.unanswered == 0
        assert point.server.requests >= point.requests


def test_failing_model_of_a_shared_load_is_reported(start_server):
    server = start_server(Bundle.open("facile").path)
    server.failure = RuntimeError("broken")
    targets = [LoadTarget(server.address, name) for name in ("facile", "double")]
    with pytest.raises(UsageError, match="broken"):
        study_together(targets, [closed(2)])
    for target in targets:
        target.close()


@pytest.mark.parametrize(
    ("names", "scenario", "message"),
    [
        (("double", "double"), Scenario.CLOSED, "name each model once"),
        (("double", "facile"), Scenario.MULTI_STREAM, "multi-stream takes one model"),
    ],
)
def test_invalid_loads_of_several_models_are_rejected(start_server, names, scenario, message):
    server = start_server(Bundle.open("facile").path)
    targets = [LoadTarget(server.address, name) for name in names]
    with pytest.raises(UsageError, match=message):
        study_together(targets, [Traffic(scenario=scenario, seconds=0.1)])
    for target in targets:
        target.close()


def test_unsettled_load_shows_in_the_thirds_of_its_time():
    traffic = Traffic(scenario=Scenario.CLOSED, streams=1, seconds=3)
    due = np.concatenate([np.arange(0, 1e9, 1e6), np.arange(1e9, 2e9, 1e6), np.arange(2e9, 3e9, 2e6)])
    for sent, settled in ((np.arange(0, 3e9, 1e6), True), (due, False)):
        times = sent.astype(np.int64).tolist()
        outcome = LoadOutcome(times, times, [one + 500_000 for one in times], end_ns=3_000_000_000)
        point = summarise_load(traffic, outcome, 1, np.zeros(0), np.zeros(0))
        assert (point.swings < 0.1) is settled
    assert point.thirds_per_s == pytest.approx((1000, 1000, 500), rel=0.01)
