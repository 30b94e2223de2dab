"""Calibration: a server fitted to simulated loads of a known server predicts its other loads."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import DataError
from tamis.farm import (
    Closed,
    Farm,
    MeasuredClock,
    Network,
    Open,
    Policy,
    ServerSpec,
    ServiceTimes,
    calibrate,
    simulate,
)
from tamis.records import Batches, BatchTime, LoadPoint, Scenario, ServerTime, Traffic

RNG = np.random.default_rng(8)
# A host that stalls for 6 ms at random times.
STALLS = np.sort(RNG.uniform(0, 20, 60))
TIMES = np.concatenate([[0.0], np.ravel(np.column_stack([STALLS, STALLS + 0.006])), [20.4]])
TIMES = np.maximum.accumulate(TIMES) + np.arange(len(TIMES)) * 1e-9
WORK = np.concatenate([[0.0], np.repeat(np.arange(60) * 0.0, 2), [0.0]])
GAPS = np.diff(TIMES)
GAPS[1::2] *= 1e-6  # almost no work is done during a stall
WORK[1:] = np.cumsum(GAPS)
SERVICE = ServiceTimes((16, 32), (0.0040, 0.0065))
BATCHING = Batches(rows_most=1024, merged_rows_most=32, delay_us=0.0)


def host() -> Farm:
    return Farm(
        ServerSpec(SERVICE, Policy(32, 0.0), out_s=0.0003),
        Closed(1),
        rows=16,
        network=Network((0.0004, 0.0005, 0.0006)),
        clocks=(MeasuredClock(TIMES, WORK),),
    )


def run(load: Closed | Open, seed: int, requests: int = 20_000):
    farm = host()
    return simulate(
        Farm(farm.server, load, rows=16, network=farm.network, clocks=farm.clocks),
        requests=requests,
        seed=seed,
    )


def point(streams: int) -> LoadPoint:
    """Return a load on that host as `tamis load` would measure it."""
    found = run(Closed(streams), streams, 4000)
    single = 1.0 if found.rows_per_batch < 16.5 else (32 - found.rows_per_batch) / 16
    executions = round(found.requests / (found.rows_per_batch / 16))
    slow = found.compute_us / 1e6 / (SERVICE.at(16) * single + SERVICE.at(32) * (1 - single))
    batches = tuple(
        BatchTime(
            rows=rows, executions=round(share * executions), mean_us=1e6 * SERVICE.at(rows) * min(slow, 1.1)
        )
        for rows, share in ((16, single), (32, 1 - single))
        if share > 0
    )
    ends = np.sort(np.arange(len(found.latency_s)) / found.requests_per_s)
    if streams == 1:  # one request after another
        ends = np.cumsum(found.latency_s)
    trace = " ".join(
        f"{round(1e6 * (end - one))}+{round(1e6 * one)}"
        for end, one in zip(ends, found.latency_s, strict=True)
    )
    latency = found.latency
    return LoadPoint(
        traffic=Traffic(scenario=Scenario.CLOSED, streams=streams),
        requests=found.requests,
        rows=16,
        requests_per_s=found.requests_per_s,
        **latency.model_dump(),
        most_us=latency.p999_us,
        late_us=0.0,
        errors={},
        unanswered=0,
        server=ServerTime(
            requests=found.requests, executions=executions, queue_us=0, input_us=0, infer_us=0, output_us=0, batches=batches
        ),
        trace=trace,
    )  # fmt: skip


@pytest.fixture(scope="module")
def calibration():
    return calibrate([point(1), point(4)], BATCHING)


def test_calibration_recovers_the_known_server(calibration):
    assert calibration.rows == 16
    assert calibration.server.policy == Policy(32, 0.0, ())
    assert calibration.server.service.at(32) == pytest.approx(SERVICE.at(32), rel=0.15)
    assert calibration.server.out_s == pytest.approx(0.0003, abs=0.0003)


@pytest.mark.parametrize("load", [Closed(12, 0.08), Closed(40, 0.08), Closed(16), Open(80.0)])
def test_calibrated_server_predicts_other_loads(calibration, load):
    expected = run(load, 77)
    farm = Farm(calibration.server, load, rows=16, network=calibration.network, clocks=calibration.clocks())
    found = simulate(farm, requests=20_000)
    assert found.requests_per_s == pytest.approx(expected.requests_per_s, rel=0.15)
    assert found.latency.p50_us == pytest.approx(expected.latency.p50_us, rel=0.15)


def test_insufficient_records_are_rejected_with_the_loads_it_takes():
    with pytest.raises(DataError, match=r"--streams 1,4"):
        calibrate([point(1)], BATCHING)
    with pytest.raises(DataError, match="no load with the server's times"):
        calibrate([point(1).model_copy(update={"server": None})], BATCHING)
