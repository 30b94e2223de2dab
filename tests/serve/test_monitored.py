"""The stream of a service for a monitor: the rows are those of its own counters, and no trouble with them stops it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from http.client import HTTPConnection

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from tamis.serve import monitored
from tamis.serve.models.model import Batching, Model, ModelSpec, Spec
from tamis.serve.models.request_times import RequestTimes
from tamis.serve.monitored import ServiceStream, StreamSettings, prune
from tamis.serve.server import Endpoints, Server, ServerSettings

UNIT_US = 10


@pytest.fixture
def repository(tmp_path):
    """A repository with a model that doubles its input."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    path = tmp_path / "repository" / "double" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return tmp_path / "repository"


def broken():
    """Return a model that raises an error."""

    def run(_):
        raise ValueError("it fell over")

    spec = ModelSpec("broken", "1", "null", (Spec("x", "FP32", (-1,)),), (Spec("y", "FP32", (-1,)),), 8, Batching())  # fmt: skip
    return Model(spec, [run], quick=True)


def rows_in(folder):
    """Return the rows of all files of a folder, in the order of their names."""
    paths = sorted(folder.glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in paths], promote_options="default")


class StillLoop:
    """An event loop in which no time passes by itself: tests end the seconds."""

    def call_later(self, *_):
        return self

    def cancel(self):
        """Do nothing."""


class Clock:
    """A clock that is set by hand."""

    now_s = 1000.0

    def __call__(self):
        return self.now_s


def still_stream(folder, **settings):
    """Return a stream that begins at once, and its clock."""
    clock = Clock()
    stream = ServiceStream(StreamSettings(folder, 7, clock.now_s, **settings), clock)
    stream.start(StillLoop())
    return stream, clock


def wait_until(condition):
    until = time.monotonic() + 20
    while not condition() and time.monotonic() < until:
        time.sleep(0.001)
    assert condition()


def post(port, model, rows):
    """Send a request over HTTP; return status and content."""
    connection = HTTPConnection(port.partition(":")[0], int(port.partition(":")[2]), timeout=20)
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0] * (4 * rows)}
    connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}))
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


def counters(port):
    """Return the counters of /metrics by name and model."""
    connection = HTTPConnection(port.partition(":")[0], int(port.partition(":")[2]), timeout=20)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.findall(r'^nv_inference_(\w+)\{model="(\w+)",version="1"\} (\d+)$', text, re.MULTILINE)
    return {(name, model): int(value) for name, model, value in found}, text


def test_the_rows_of_a_server_agree_with_its_own_counters(repository, tmp_path):
    folder = tmp_path / "stream"

    async def scene():
        server = Server(
            ServerSettings([repository], Endpoints(grpc=None, http=0, metrics=0), monitor=StreamSettings(folder))
        )  # fmt: skip
        try:
            started = await server.start()
            started.service.add(broken())
            for rows in (1, 2, 3, 4, 4):
                answer = await asyncio.to_thread(post, started.addresses["http"], "double", rows)
                assert answer[0] == 200, answer
            for _ in range(3):
                answer = await asyncio.to_thread(post, started.addresses["http"], "broken", 1)
                assert answer[0] == 500, answer
            return await asyncio.to_thread(counters, started.addresses["metrics"])
        finally:
            assert await server.stop() == 0

    found, text = asyncio.run(scene())
    assert "# TYPE tamis_stream_lost_seconds counter\ntamis_stream_lost_seconds 0\n" in text
    rows = rows_in(folder)

    def total(name):
        return sum(rows[name].to_pylist())

    assert total("requests") == 8
    assert total("failed") == total("broken_failed") == 3
    for model, answered, failed, own_rows in (("double", 5, 0, 14), ("broken", 0, 3, 0)):
        assert found["request_success", model] == total(f"{model}_answered") == answered
        assert found["request_failure", model] == total(f"{model}_failed") == failed
        assert found["count", model] == total(f"{model}_rows") == own_rows
        assert total(f"{model}_requests") == answered + failed
    for column, counter in (("latency", "request"), ("queue", "queue"), ("compute", "compute_infer")):
        spent_us = found[f"{counter}_duration_us", "double"]
        assert total(f"double_{column}") * UNIT_US == pytest.approx(spent_us, abs=UNIT_US * len(rows))
    assert 0 < found["request_duration_us", "double"] < 60e6
    assert set(rows["run"].to_pylist()) == {rows["run"][0].as_py()}
    marks = [path.name for path in folder.glob("*.jsn")]
    blocks = sorted(set(rows["luminosityBlock"].to_pylist()))
    assert sorted(marks) == [f"run{rows['run'][0]}_ls{block:04d}_EoLS.jsn" for block in blocks]


def test_the_sums_of_a_second_are_those_of_its_requests(tmp_path):
    stream, clock = still_stream(tmp_path / "stream", block_steps=3)
    elapsed_ms = np.array([1, 2, 4, 8, 30_000])
    stream.times_of("m").add((elapsed_ms[:2] * 1_000_000).tolist(), 7, 0, 500_000, 0)
    for one in elapsed_ms[2:]:
        stream.times_of("m").add([int(one) * 1_000_000], 1, 100_000, 500_000, 400_000)
    stream.times_of("m").failed += 5
    clock.now_s += 0.5  # the timer was early
    stream.end_second()
    clock.now_s += 0.6
    stream.end_second()
    clock.now_s += 3.2  # and the event loop busy
    stream.times_of("m").failed += 7
    stream.end_second()
    asyncio.run(stream.close())
    rows = rows_in(tmp_path / "stream")
    assert rows["luminosityBlock"].to_pylist() == [1, 1, 1, 2]
    assert rows["second"].to_pylist() == [0, 1, 2, 1]
    assert rows["event"].to_pylist() == [0, 1, 2, 4]
    assert pytest.approx(rows["request_rate"].to_pylist()) == [10.0, 0.0, 7 / 3.2, 0.0]
    first = rows.slice(0, 1).to_pylist()[0]
    units = np.minimum(elapsed_ms * 100, 1 << 20)  # 30 s count as 10.5 s
    assert (first["m_requests"], first["m_answered"], first["m_failed"], first["m_rows"]) == (10, 5, 5, 10)
    assert first["m_latency"] == units.sum()
    assert first["m_latency2"] == (units**2).sum()
    assert first["m_compute"] == 5 * 50
    assert first["m_compute2"] == 5 * 50**2
    assert first["m_queue"] == np.minimum(elapsed_ms * 100 - [50, 50, 100, 100, 100], 1 << 20).sum()
    assert first["m_p50_us"] == 4000
    assert first["m_p99_us"] == pytest.approx(np.quantile(elapsed_ms, 0.99) * 1000)
    assert np.isnan(rows["m_p50_us"].to_numpy()[1:]).all()
    assert (stream.written, stream.lost) == (4, 0)


def test_a_model_that_comes_within_a_block_has_no_quantiles_before(tmp_path):
    stream, clock = still_stream(tmp_path / "stream")
    clock.now_s += 1
    stream.end_second()
    stream.times_of("m").add([4_000_000], 1, 0, 1000, 0)
    clock.now_s += 1
    asyncio.run(stream.close())
    rows = rows_in(tmp_path / "stream")
    assert rows["m_requests"].to_pylist() == [0, 1]
    np.testing.assert_array_equal(rows["m_p50_us"].to_numpy(), [np.nan, 4000])


def test_a_worker_that_is_started_again_within_a_minute_keeps_the_rows_before(tmp_path):
    folder = tmp_path / "stream"
    for begin in range(3):
        clock = Clock()
        stream = ServiceStream(StreamSettings(folder, 7, clock.now_s, worker=1), clock)
        clock.now_s += 10 * begin
        stream.start(StillLoop())
        stream.times_of("m").failed += 1
        asyncio.run(stream.close())
    assert sorted(path.name for path in folder.iterdir()) == [
        "served-7-000001-1-1.parquet", "served-7-000001-1-2.parquet", "served-7-000001-1.parquet",
    ]  # fmt: skip
    assert sorted(rows_in(folder)["second"].to_pylist()) == [0, 10, 20]
    (folder / "served-7-000002-0.parquet").write_text("")
    prune(folder, 1)
    assert [path.name for path in folder.iterdir()] == ["served-7-000002-0.parquet"]


def test_times_go_on_when_a_model_is_replaced(tmp_path):
    stream, _ = still_stream(tmp_path / "stream")
    old = stream.times_of("m")
    old.add([1000], 1, 0, 1000, 0)
    new = stream.times_of("m")
    new.add([1000], 1, 0, 1000, 0)
    old.add([1000], 1, 0, 1000, 0)  # the last request of the version that was replaced
    asyncio.run(stream.close())
    assert rows_in(tmp_path / "stream")["m_requests"].to_pylist() == [3]


def test_a_folder_that_cannot_be_written_loses_nothing_when_it_can_be_again(tmp_path, caplog):
    folder = tmp_path / "stream"
    folder.write_text("a file")
    stream, clock = still_stream(folder, block_steps=2)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            clock.now_s += 1
            stream.end_second()
        wait_until(stream._writer._seconds.empty)
        assert (stream.written, stream.lost) == (0, 0)
        folder.unlink()
        for _ in range(2):
            clock.now_s += 1
            stream.end_second()
        asyncio.run(stream.close())
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        f"the stream for a monitor cannot be written to {folder}"
    ]  # once, and not for each block
    assert rows_in(folder)["event"].to_pylist() == list(range(9))
    assert (stream.written, stream.lost) == (9, 0)


def test_what_could_never_be_written_is_counted(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(monitored, "BLOCKS_HELD", 3)
    (tmp_path / "stream").write_text("a file")
    stream, clock = still_stream(tmp_path / "stream", block_steps=2)
    for _ in range(10):
        clock.now_s += 1
        stream.end_second()
    wait_until(lambda: stream.lost == 4)  # two of five blocks
    with caplog.at_level(logging.WARNING):
        asyncio.run(stream.close())
    assert (stream.written, stream.lost) == (0, 11)
    assert caplog.messages[-1] == f"11 s of the service could not be written to {tmp_path / 'stream'}"


def test_a_disk_that_hangs_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(monitored, "STEPS_WAITING", 4)
    monkeypatch.setattr(monitored, "LAST_BLOCK_S", 0.01)
    entered, gate = threading.Event(), threading.Event()
    monkeypatch.setattr(monitored._StreamWriter, "_write", lambda *_: (entered.set(), gate.wait(60)))
    stream, clock = still_stream(tmp_path / "stream", block_steps=1)
    stream.end_second()
    assert entered.wait(20)
    for _ in range(10):
        clock.now_s += 1
        stream.end_second()
    assert stream.lost == 6  # four wait
    asyncio.run(stream.close())
    assert stream.lost == 6 + 1 + 4 + 1  # the last second, those that wait, and the one that is being written
    gate.set()


def test_only_the_newest_files_of_services_are_kept(tmp_path):
    for run, block in ((7, 1), (7, 2), (8, 1), (8, 2), (8, 10)):
        (tmp_path / f"served-{run}-{block:06d}-0.parquet").write_text("")
        (tmp_path / f"served-{run}-{block:06d}-1.parquet").write_text("")
        (tmp_path / f"run{run}_ls{block:04d}_EoLS.jsn").write_text("")
    (tmp_path / "others.parquet").write_text("")
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "others.parquet",
        "run8_ls0002_EoLS.jsn", "run8_ls0010_EoLS.jsn",
        "served-8-000002-0.parquet", "served-8-000002-1.parquet", "served-8-000010-0.parquet", "served-8-000010-1.parquet",
    ]  # fmt: skip


def test_runs_of_a_folder_have_growing_numbers(tmp_path):
    late = int(time.time()) + 1000
    (tmp_path / f"served-{late}-000003.parquet").write_text("")  # before the clock was set back
    assert StreamSettings(tmp_path).begun().run == late + 1
    assert abs(StreamSettings(tmp_path / "empty").begun().run - time.time()) < 100


def test_requests_are_taken_once():
    times = RequestTimes()
    times.add([5, 6], 3, 1, 1, 1)
    assert times.take().elapsed_ns.tolist() == [5, 6]
    assert [len(times.take().elapsed_ns), times.take().rows, times.take().failed] == [0, 0, 0]


def test_workers_write_parts_of_the_same_blocks(start, repository, tmp_path):
    folder = tmp_path / "stream"
    server = start(repository, "--workers", "2", "--monitor", folder)
    x = np.ones((1, 4), np.float32)
    for _ in range(20):  # connections, which the kernel assigns to one worker each
        with triton.InferenceServerClient(server.grpc) as client:
            tensor = triton.InferInput("x", x.shape, "FP32")
            tensor.set_data_from_numpy(x)
            client.infer("double", [tensor])
    assert server.end() == 0
    rows = rows_in(folder)
    assert sum(rows["double_answered"].to_pylist()) == 20
    workers = {path.stem.rpartition("-")[2] for path in folder.glob("served-*.parquet")}
    assert workers == {"0", "1"}
    run, last = set(rows["run"].to_pylist()), max(rows["luminosityBlock"].to_pylist())
    assert len(run) == 1
    assert [path.name for path in folder.glob("*.jsn")] == [f"run{run.pop()}_ls{last:04d}_EoLS.jsn"]
