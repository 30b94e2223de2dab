"""From loads to a record: percentiles from the scheduled time, and where the server says that the time went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tamis._base import UsageError, did_you_mean, file_stamp, host_facts, utc_timestamp, write_text
from tamis.measure.traffic.driver import Driver, Outcome
from tamis.measure.traffic.local_driver import LocalDriver
from tamis.measure.traffic_record import (
    Batches,
    BatchTime,
    LoadPoint,
    Scenario,
    ServerTime,
    Traffic,
    TrafficRecord,
)
from tamis.serve.client.channel import CallError, Channel, reach
from tamis.serve.client.inference import Codec
from tamis.serve.protocol.tensors import dtype_of, to_raw
from tamis.serve.tls import Credentials
from tamis.serve.wire import Buffer

MERGED = "tamis_merged_rows"  # the parameter by which our server tells how many rows it merges
SERVICE = "/inference.GRPCInferenceService/"
TRACED = 2000  # requests of a load whose times are kept
VARIANTS = 16  # different inputs, sent in turn
Counted = tuple[np.ndarray, dict[int, tuple[int, int]]]  # what a server has counted, whole and by batch size
FREE = 8  # elements of a free dimension, where nobody says how many


NOTHING = Credentials()


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
        credentials: Credentials = NOTHING,
        local: str | None = None,
    ) -> None:
        """Ask the server what the model takes, and prepare requests of random numbers; `local` is its socket for them."""
        self.address, self.tls = reach(address, credentials)
        self.model, self.rows, self.token = model, rows, credentials.token
        self.local = local
        self._channel = Channel(self.address, tls=self.tls, token=self.token)
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
    ) -> tuple[int, list[Buffer]]:
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

    def batches(self) -> dict[int, tuple[int, int]]:
        """Return the server's counters by batch size: executions, and nanoseconds of them."""
        try:
            found = self._ask(
                "ModelStatistics", pb.ModelStatisticsRequest(name=self.model), pb.ModelStatisticsResponse
            )
        except CallError:
            return {}
        return {
            one.batch_size: (
                one.compute_infer.count,
                one.compute_input.ns + one.compute_infer.ns + one.compute_output.ns,
            )
            for model in found.model_stats
            for one in model.batch_stats
        }

    def batching(self) -> Batches | None:
        """Return how the server batches, where it tells."""
        try:
            config = self._ask(
                "ModelConfig", pb.ModelConfigRequest(name=self.model), pb.ModelConfigResponse
            ).config
        except CallError:
            return None
        dynamic = config.HasField("dynamic_batching")
        preferred = tuple(config.dynamic_batching.preferred_batch_size)
        merged = config.parameters[MERGED].string_value if MERGED in config.parameters else ""
        return Batches(
            rows_most=config.max_batch_size,
            merged_rows_most=int(merged) if merged.isdigit() else 0,
            preferred=() if merged or preferred == (config.max_batch_size,) else preferred,
            delay_us=config.dynamic_batching.max_queue_delay_microseconds if dynamic else None,
            instances=max(1, sum(group.count for group in config.instance_group)),
        )

    def load(self, traffic: Traffic, *, connections: int = 1, traced: int = TRACED) -> LoadPoint:
        """Let traffic flow once; the times of the first `traced` requests are kept."""
        return load_together([self], traffic, connections=connections, traced=traced)[0]

    def driver(self) -> LocalDriver | None:
        """Return what sends requests through shared memory, where that is asked for."""
        return None if self.local is None else LocalDriver(self.local, self._codec(), self.arrays)

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
    per_s, median_us = _thirds(outcome, scheduled, latency_us)
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
        thirds_per_s=per_s,
        thirds_p50_us=median_us,
    )


def _thirds(
    outcome: Outcome, scheduled: np.ndarray, latency_us: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return throughput and median latency of each third: a load that has not settled shows there."""
    third_ns = (outcome.end_ns - outcome.begin_ns) / 3
    which = np.clip((scheduled - outcome.begin_ns) // third_ns, 0, 2)
    parts = [latency_us[which == one] for one in range(3)]
    if any(not len(part) for part in parts):
        return (), ()
    return (
        tuple(len(part) / third_ns * 1e9 for part in parts),
        tuple(float(np.median(part)) for part in parts),
    )


def _trace(outcome: Outcome, most: int) -> str:
    """Return the first requests in the order of their ends; more would tell little, and fill the disk."""
    first = zip(outcome.scheduled_ns[:most], outcome.done_ns[:most], strict=True)
    return " ".join(f"{(due - outcome.begin_ns) // 1000}+{(done - due) // 1000}" for due, done in first)


def _grown(
    before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]]
) -> tuple[BatchTime, ...]:
    found = []
    for rows, (count, spent_ns) in sorted(after.items()):
        counted, spent_before_ns = before.get(rows, (0, 0))
        if count > counted:
            mean_us = (spent_ns - spent_before_ns) / (count - counted) / 1e3
            found.append(BatchTime(rows=rows, executions=count - counted, mean_us=mean_us))
    return tuple(found)


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


def load_together(
    targets: Sequence[Target], traffic: Traffic, *, connections: int = 1, traced: int = TRACED
) -> list[LoadPoint]:
    """Let traffic flow once, requests for the models of one server in turn; return a point per model."""
    first = targets[0]
    driver: Driver | LocalDriver | None = first.driver() if len(targets) == 1 else None
    if driver is None:
        in_turn = [
            request for requests in zip(*(t.requests for t in targets), strict=True) for request in requests
        ]
        driver = Driver(
            first.address,
            in_turn,
            models=len(targets),
            connections=connections,
            tls=first.tls,
            token=first.token,
        )
    try:
        before = [(target.times(), target.batches()) for target in targets]
        outcomes = driver.run(traffic)
        after = [(target.times(), target.batches()) for target in targets]
    finally:
        driver.close()
    return [
        _point(target, traffic, outcome, then, now, traced)
        for target, outcome, then, now in zip(targets, outcomes, before, after, strict=True)
    ]


def _point(
    target: Target, traffic: Traffic, outcome: Outcome, before: Counted, after: Counted, traced: int
) -> LoadPoint:
    point = summed_up(traffic, outcome, target.rows, before[0], after[0])
    server = point.server
    if server is not None:
        server = server.model_copy(update={"batches": _grown(before[1], after[1])})
    told = {
        "server": server,
        "request_bytes": target.requests[0][0],
        "trace": _trace(outcome, traced),
    }
    return point.model_copy(update=told)


def study_traffic(
    target: Target,
    loads: Sequence[Traffic],
    advance: Callable[[LoadPoint], None] = lambda _: None,
    *,
    connections: int = 1,
) -> TrafficRecord:
    """Let one load after the other flow."""
    return study_together([target], loads, advance, connections=connections)[0]


def study_together(
    targets: Sequence[Target],
    loads: Sequence[Traffic],
    advance: Callable[[LoadPoint], None] = lambda _: None,
    *,
    connections: int = 1,
) -> list[TrafficRecord]:
    """Let one load after the other flow, requests for the models of one server in turn; return a record per model."""
    if len(targets) > 1:
        _may_mix(targets, loads)
    loaded = []
    for traffic in loads:
        loaded.append(load_together(targets, traffic, connections=connections))
        advance(loaded[-1][0])
    return [
        TrafficRecord(
            created=utc_timestamp(),
            host=host_facts(),
            server=target.server,
            server_version=target.version,
            model=target.model,
            platform=target.platform,
            together=tuple(other.model for other in targets if other is not target),
            batching=target.batching(),
            points=tuple(points),
        )
        for target, points in zip(targets, zip(*loaded, strict=True), strict=True)
    ]


def _may_mix(targets: Sequence[Target], loads: Sequence[Traffic]) -> None:
    names = [target.model for target in targets]
    if len(set(names)) < len(names):
        raise UsageError(f"{', '.join(names)}: each model goes in once")
    if any(target.local for target in targets):
        raise UsageError(f"through shared memory goes one model at a time, and not {', '.join(names)}")
    if any(traffic.scenario is Scenario.MULTI_STREAM for traffic in loads):
        raise UsageError("the scenario multi-stream asks one model; use closed for several")


def write_traffic(record: TrafficRecord, folder: Path) -> Path:
    """Write a record; its name says what and when, and is new."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = file_stamp(record.created)
    name = "-with-".join((record.model, *record.together))
    path = folder / f"traffic-{name}-{stamp}.json"
    number = 2
    while path.exists():
        path = folder / f"traffic-{name}-{stamp}-{number}.json"
        number += 1
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path
