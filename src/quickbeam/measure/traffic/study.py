"""From loads to a record: percentiles from the scheduled time, and where the server says that the time went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from tritonclient.grpc import service_pb2 as pb

from quickbeam._base import Document, Host, UsageError, did_you_mean, host_facts, utc_timestamp, write_text
from quickbeam.measure.traffic.driver import Driver, Outcome
from quickbeam.measure.traffic.local_driver import LocalDriver
from quickbeam.measure.traffic.scenarios import Traffic
from quickbeam.serve.client.channel import CallError, Channel
from quickbeam.serve.client.inference import Codec
from quickbeam.serve.protocol.tensors import dtype_of, to_raw
from quickbeam.serve.wire.frames import Chunk

SERVICE = "/inference.GRPCInferenceService/"
VARIANTS = 16  # different inputs, sent in turn
FREE = 8  # elements of a free dimension, where nobody says how many


class ServerTime(Document):
    """What the server says of its requests, on average: waiting, laying inputs together, the model, cutting outputs."""

    requests: int
    executions: int
    queue_us: float
    input_us: float
    infer_us: float
    output_us: float

    @property
    def whole_us(self) -> float:
        """Return the time in the server."""
        return self.queue_us + self.input_us + self.infer_us + self.output_us


class LoadPoint(Document):
    """One load, and what became of it."""

    traffic: Traffic
    requests: int
    rows: Annotated[int, Field(description="of each request")]
    requests_per_s: float
    mean_us: float
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    most_us: float
    late_us: float = Field(
        description="how much later than scheduled a request was sent, at the 99th percentile"
    )
    errors: dict[str, int]
    unanswered: int
    server: ServerTime | None = None
    transport_us: float | None = Field(default=None, description="mean latency less the time in the server")


class TrafficRecord(Document):
    """Loads on one model of one server."""

    kind: Literal["traffic"] = "traffic"
    created: str
    host: Host
    server: str
    server_version: str
    model: str
    platform: str
    points: tuple[LoadPoint, ...]


class Target:
    """A model on a server: what it takes, and how it is asked."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        rows: int = 1,
        sizes: Mapping[str, Sequence[int]] | None = None,
        seed: int = 1,
        token: str | None = None,
        local: str | None = None,
    ) -> None:
        """Ask the server what the model takes, and prepare requests of random numbers; `local` is its socket for them."""
        self.address, self.model, self.rows, self._token = address.removeprefix("grpc://"), model, rows, token
        self._local = local
        self._channel = Channel(self.address, token=token)
        server = self._ask("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
        self.server, self.version = server.name, server.version
        described = self._ask("ModelMetadata", pb.ModelMetadataRequest(name=model), pb.ModelMetadataResponse)
        self.platform = described.platform
        rng = np.random.default_rng(seed)
        self._described = described
        self.arrays = [self._random(described, rng, sizes or {}) for _ in range(VARIANTS)]
        self.requests = [self._request(described, arrays) for arrays in self.arrays]

    def _ask(self, method: str, message: pb.ModelMetadataRequest, kind: type) -> pb.ModelMetadataResponse:
        encoded = message.SerializeToString()
        answer = self._channel.answer(
            self._channel.begin(SERVICE + method, len(encoded), [encoded], timeout_ns=10_000_000_000)
        )
        return kind.FromString(bytes(answer))  # type: ignore[attr-defined] # a message of protobuf

    def _random(
        self,
        described: pb.ModelMetadataResponse,
        rng: np.random.Generator,
        sizes: Mapping[str, Sequence[int]],
    ) -> list[np.ndarray]:
        names = [one.name for one in described.inputs]
        unknown = [name for name in sizes if name not in names]
        if unknown:
            raise UsageError(
                f"the model {self.model} has no input {unknown[0]!r}; {did_you_mean(unknown[0], names)}".rstrip(
                    "; "
                )
            )
        found = []
        for one in described.inputs:
            shape = list(sizes.get(one.name, one.shape))
            if one.name not in sizes:
                shape = [
                    self.rows if place == 0 and size < 0 else FREE if size < 0 else size
                    for place, size in enumerate(shape)
                ]
            found.append(_random(one.datatype, shape, rng))
        return found

    def _request(
        self, described: pb.ModelMetadataResponse, arrays: Sequence[np.ndarray]
    ) -> tuple[int, list[Chunk]]:
        message = pb.ModelInferRequest(model_name=self.model)
        for one, array in zip(described.inputs, arrays, strict=True):
            message.inputs.add(name=one.name, datatype=one.datatype, shape=array.shape)
        message.raw_input_contents.extend(bytes(to_raw(array)) for array in arrays)
        encoded = message.SerializeToString()
        return len(encoded), [encoded]

    def times(self) -> np.ndarray:
        """Return the server's counters: requests, executions, and nanoseconds of queue, input, model and output."""
        try:
            found = self._ask(
                "ModelStatistics", pb.ModelStatisticsRequest(name=self.model), pb.ModelStatisticsResponse
            )
        except CallError:
            return np.zeros(0)
        stats = [one.inference_stats for one in found.model_stats]
        return np.array(
            [
                sum(one.success.count for one in stats),
                sum(one.execution_count for one in found.model_stats),
                *[
                    sum(getattr(one, part).ns for one in stats)
                    for part in ("queue", "compute_input", "compute_infer", "compute_output")
                ],
            ],
            np.float64,
        )

    def load(self, traffic: Traffic, *, connections: int = 1) -> LoadPoint:
        """Let traffic flow once."""
        driver: Driver | LocalDriver
        if self._local is not None:
            driver = LocalDriver(self._local, self._codec(), self.arrays)
        else:
            driver = Driver(self.address, self.requests, connections=connections, token=self._token)
        try:
            before = self.times()
            outcome = driver.run(traffic)
            after = self.times()
        finally:
            driver.close()
        return summed_up(traffic, outcome, self.rows, before, after)

    def _codec(self) -> Codec:
        described = self._described
        return Codec(
            self.model,
            "",
            [(one.name, one.datatype) for one in described.inputs],
            [(one.name, dtype_of(one.datatype), len(one.shape)) for one in described.outputs],
            has_rows=False,  # the shapes are those that the server tells
        )

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _random(datatype: str, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    dtype = dtype_of(datatype)
    if dtype.kind == "O":
        return np.full(shape, b"text", object)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.random(shape, np.float32).astype(dtype)


def summed_up(
    traffic: Traffic, outcome: Outcome, rows: int, before: np.ndarray, after: np.ndarray
) -> LoadPoint:
    """Return percentiles of the latency, from the time that was scheduled, and the server's own view."""
    scheduled, sent, done = (
        np.array(times, np.int64) for times in (outcome.scheduled_ns, outcome.sent_ns, outcome.done_ns)
    )
    if not len(done):
        told = next(iter(outcome.errors), "no answer came")
        raise UsageError(f"nothing was answered in {traffic.seconds:g} s: {told}")
    latency_us = (done - scheduled) / 1e3
    p50, p90, p95, p99, p999 = np.percentile(latency_us, [50, 90, 95, 99, 99.9])
    seconds = (done.max() - scheduled.min()) / 1e9
    server = _server_time(before, after)
    return LoadPoint(
        traffic=traffic,
        requests=len(done),
        rows=rows,
        requests_per_s=len(done) / seconds,
        mean_us=float(latency_us.mean()),
        p50_us=float(p50),
        p90_us=float(p90),
        p95_us=float(p95),
        p99_us=float(p99),
        p999_us=float(p999),
        most_us=float(latency_us.max()),
        late_us=float(np.percentile((sent - scheduled) / 1e3, 99)),
        errors=dict(outcome.errors),
        unanswered=outcome.unanswered,
        server=server,
        transport_us=float(latency_us.mean()) - server.whole_us if server else None,
    )


def _server_time(before: np.ndarray, after: np.ndarray) -> ServerTime | None:
    if not len(before) or not len(after) or after[0] <= before[0]:
        return None
    grown = after - before
    requests = grown[0]
    queue, given, infer, output = grown[2:] / requests / 1e3
    return ServerTime(
        requests=int(requests),
        executions=int(grown[1]),
        queue_us=queue,
        input_us=given,
        infer_us=infer,
        output_us=output,
    )


def study_traffic(
    target: Target,
    loads: Sequence[Traffic],
    advance: Callable[[LoadPoint], None] = lambda _: None,
    *,
    connections: int = 1,
) -> TrafficRecord:
    """Let one load after the other flow."""
    points = []
    for traffic in loads:
        points.append(target.load(traffic, connections=connections))
        advance(points[-1])
    return TrafficRecord(
        created=utc_timestamp(),
        host=host_facts(),
        server=target.server,
        server_version=target.version,
        model=target.model,
        platform=target.platform,
        points=tuple(points),
    )


def write_traffic(record: TrafficRecord, folder: Path) -> Path:
    """Write a record; its name says what and when."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = record.created[:19].replace("-", "").replace(":", "")
    path = folder / f"traffic-{record.model}-{stamp}.json"
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path
