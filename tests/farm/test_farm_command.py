"""`tamis farm`: from a folder of load records to record, table and figures."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tamis._base import DataError, UsageError, host_facts
from tamis.cli.farm import command
from tamis.farm import FarmRequirements, simulated_knee, size_farm, study_published
from tamis.records import (
    Assumptions,
    Batches,
    BatchTime,
    FarmRecord,
    LoadPoint,
    Scenario,
    ServerTime,
    Traffic,
    TrafficRecord,
)


def load(streams: int, rate: float, latency_us: float, rows: int, mean_us: float) -> LoadPoint:
    """Return a load on a server of constant speed."""
    trace = " ".join(f"{round(i * 1e6 / rate)}+{round(latency_us)}" for i in range(400))
    quantiles = dict.fromkeys(
        ("mean_us", "p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "most_us"), latency_us
    )
    server = ServerTime(
        requests=400,
        executions=400 * 16 // rows,
        queue_us=0,
        input_us=0,
        infer_us=mean_us,
        output_us=0,
        batches=(BatchTime(rows=rows, executions=400 * 16 // rows, mean_us=mean_us),),
    )
    return LoadPoint(
        traffic=Traffic(scenario=Scenario.CLOSED, streams=streams),
        requests=400,
        rows=16,
        requests_per_s=rate,
        late_us=0.0,
        errors={},
        unanswered=0,
        server=server,
        trace=trace,
        **quantiles,
    )


def record(model: str = "m") -> TrafficRecord:
    """Return loads on a server with 4 ms for 16 rows, 6 ms for 32, 0.2 ms of event loop per request and 0.3 ms of flight."""
    return TrafficRecord(
        created="2026-01-01T00:00:00",
        host=host_facts(),
        server="tamis",
        server_version="1",
        model=model,
        platform="p",
        batching=Batches(rows_most=1024, merged_rows_most=32, delay_us=0.0),
        points=(load(1, 1e6 / 4500, 4500.0, 16, 4000.0), load(4, 312.5, 12_800.0, 32, 6000.0)),
    )


@pytest.fixture(scope="module")
def sized() -> FarmRecord:
    return size_farm([record()], FarmRequirements(10_000.0, 0.030, requests=500))


def test_farm_has_enough_servers_for_the_rate_within_p99(sized):
    assert sized.capacity_hz == pytest.approx(312.5, rel=0.01)
    assert 10_000 / 312.5 < sized.servers < 1.5 * 10_000 / 312.5
    assert sized.at_work.latency.p99_us <= 30_000
    assert sized.at_work.answered_hz == pytest.approx(10_000 / sized.servers, rel=0.1)
    assert sized.servers_with_spare > sized.servers


def test_death_of_a_server_loses_no_request(sized):
    assert sized.deaths
    for death in sized.deaths:
        assert death.lost == 0
        assert 0 < death.asked_again < 0.2 * death.requests


def test_costs_follow_from_the_assumptions(sized):
    assumed = Assumptions()
    assert sized.farm.cost == 100 * (sized.servers_with_spare + sized.farm.client_cores)
    cores = 10_000 * (assumed.client_ms / 1e3 + sized.at_work.latency.mean_us / 1e6)
    assert sized.farm.client_cores == pytest.approx(cores, abs=1)
    assert sized.farm.joules_per_event == pytest.approx(sized.farm.power_w / 10_000)
    assert sized.in_process.client_cores == pytest.approx(10_000 * 0.104, abs=1)


def test_relaxed_p99_needs_fewer_servers(sized):
    relaxed = size_farm([record()], FarmRequirements(10_000.0, 0.100, requests=500))
    assert relaxed.servers < sized.servers


def test_unreachable_p99_is_rejected():
    with pytest.raises(DataError, match="no number of servers reaches a p99 of 1 ms"):
        size_farm([record()], FarmRequirements(1000.0, 0.001, requests=300))


def test_simulation_reproduces_the_published_knee():
    found = study_published(clients=(1, 66, 90, 110))
    assert simulated_knee(found, "fixed_s") == pytest.approx(67.63, abs=0.1)
    assert simulated_knee(found, "random_s") == pytest.approx(67.63, abs=2)
    assert simulated_knee(found, "shared_s") == pytest.approx(found.shared_line_knee, abs=0.5)


def test_command_writes_record_table_and_figures(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "t.json").write_text(record().model_dump_json())
    (tmp_path / "records" / "other.json").write_text("{}")
    out = tmp_path / "farm"
    found = CliRunner().invoke(
        command,
        f"--measured {tmp_path / 'records'} --rate 1kHz --p99 100ms --requests 200 --server-cost 7000 -o {out}".split(),
        catch_exceptions=False,
    )
    assert found.exit_code == 0
    written = FarmRecord.model_validate_json((out / "farm.json").read_text())
    assert written.assumptions.server_cost == 7000
    text = (out / "farm.md").read_text()
    assert f"| servers | {written.servers} | simulated |" in text
    assert "7000 per server" in text
    for name in ("clients", "latency", "servers"):
        assert (out / f"farm-{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "either --measured RECORDS"),
        ("--measured {0} --published", "either --measured RECORDS"),
        ("--measured {0} --rate 1kHz", "needs --p99"),
        ("--measured {0} --rate 1kHz --p99 fast", "'fast' is not a duration"),
        ("--measured {0}/nothing --rate 1kHz --p99 1s", "there are no records at"),
        ("--measured {0} --rate 1kHz --p99 1s --model n", "no record is of the model 'n'"),
        ("--measured {0} --rate 1kHz --p99 1s", "of several models: a, m"),
    ],
)
def test_wrong_arguments_are_rejected_with_the_reason(tmp_path, arguments, message):
    for model in "am":
        (tmp_path / f"{model}.json").write_text(record(model).model_dump_json())
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(command, arguments.format(tmp_path).split(), catch_exceptions=False)


def test_malformed_records_are_rejected_with_the_field(tmp_path):
    data = json.loads(record().model_dump_json())
    data["points"][0]["rows"] = "many"
    (tmp_path / "t.json").write_text(json.dumps(data))
    with pytest.raises(Exception, match="rows"):
        CliRunner().invoke(
            command, f"--measured {tmp_path} --rate 1kHz --p99 1s".split(), catch_exceptions=False
        )
