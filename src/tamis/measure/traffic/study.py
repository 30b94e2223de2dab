"""Load a model on a server and write the record: latency percentiles, and the server's own counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tamis._base import UsageError, did_you_mean, file_stamp, host_facts, utc_timestamp, write_text
from tamis.measure.traffic.driver import Driver, LoadOutcome
from tamis.measure.traffic.local_driver import LocalDriver
from tamis.records import (
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

MERGED_ROWS_PARAMETER = "tamis_merged_rows"  # model parameter of our server: most rows that it merges
SERVICE = "/inference.GRPCInferenceService/"
TRACED = 2000  # requests of a load whose times are recorded
VARIANTS = 16  # different random inputs, sent in turn
Counters = tuple[np.ndarray, dict[int, tuple[int, int]]]  # of the server: in total, and by batch size
FREE_SIZE = 8  # of a free dimension, unless the user gives one
NO_CREDENTIALS = Credentials()


class LoadTarget:
    """A model on a server, with prepared requests of random inputs."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        rows: int = 1,
        sizes: Mapping[str, Sequence[int]] | None = None,
        seed: int = 1,
        credentials: Credentials = NO_CREDENTIALS,
        local: str | None = None,
    ) -> None:
        """Read the model's metadata from the server and prepare random requests; `local` is the shared-memory socket."""
        self.address, self.tls = reach(address, credentials)
        if self.address.startswith("local:"):
            raise UsageError(
                f"{address!r} is a socket for tensors alone: name the server as grpc://HOST:PORT"
            )
        self.model, self.rows, self.token = model, rows, credentials.token
        self.local = local
        self._channel = Channel(self.address, tls=self.tls, token=self.token)
        server = self._call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
        self.server, self.version = server.name, server.version
        described = self._call("ModelMetadata", pb.ModelMetadataRequest(name=model), pb.ModelMetadataResponse)
        self.platform = described.platform
        rng = np.random.default_rng(seed)
        self._described = described
        self.arrays = [self._random(described, rng, sizes or {}) for _ in range(VARIANTS)]
        self.requests: list[tuple[int, list[Buffer]]] = []
        for arrays in self.arrays:
            message = pb.ModelInferRequest(model_name=model)
            for spec, array in zip(described.inputs, arrays, strict=True):
                message.inputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
            message.raw_input_contents.extend(bytes(to_raw(array)) for array in arrays)
            encoded = message.SerializeToString()
            self.requests.append((len(encoded), [encoded]))

    def _call(self, method: str, message: pb.ModelMetadataRequest, kind: type) -> pb.ModelMetadataResponse:
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
        names = [spec.name for spec in described.inputs]
        unknown = [name for name in sizes if name not in names]
        if unknown:
            raise UsageError(
                f"the model {self.model} has no input {unknown[0]!r}; {did_you_mean(unknown[0], names)}".rstrip(
                    "; "
                )
            )
        arrays = []
        for spec in described.inputs:
            shape = list(sizes.get(spec.name, spec.shape))
            if spec.name not in sizes:
                shape = [
                    self.rows if axis == 0 and size < 0 else FREE_SIZE if size < 0 else size
                    for axis, size in enumerate(shape)
                ]
            arrays.append(_random(spec.datatype, shape, rng))
        return arrays

    def _statistics(self) -> pb.ModelStatisticsResponse | None:
        """Return the server's counters for the model, or None if it does not report any."""
        try:
            return self._call(
                "ModelStatistics", pb.ModelStatisticsRequest(name=self.model), pb.ModelStatisticsResponse
            )
        except CallError:
            return None

    def times(self) -> np.ndarray:
        """Return the server's counters: requests, executions, and nanoseconds of queue, input, model and output."""
        response = self._statistics()
        if response is None:
            return np.zeros(0)
        stats = [model.inference_stats for model in response.model_stats]
        return np.array(
            [
                sum(stat.success.count for stat in stats),
                sum(model.execution_count for model in response.model_stats),
                *[
                    sum(getattr(stat, part).ns for stat in stats)
                    for part in ("queue", "compute_input", "compute_infer", "compute_output")
                ],
            ],
            np.float64,
        )

    def batches(self) -> dict[int, tuple[int, int]]:
        """Return the server's counters by batch size: number of executions, and their total time in nanoseconds."""
        response = self._statistics()
        return {
            batch.batch_size: (
                batch.compute_infer.count,
                batch.compute_input.ns + batch.compute_infer.ns + batch.compute_output.ns,
            )
            for model in (response.model_stats if response is not None else ())
            for batch in model.batch_stats
        }

    def batching(self) -> Batches | None:
        """Return how the server batches the model, or None if it does not report its configuration."""
        try:
            config = self._call(
                "ModelConfig", pb.ModelConfigRequest(name=self.model), pb.ModelConfigResponse
            ).config
        except CallError:
            return None
        dynamic = config.HasField("dynamic_batching")
        preferred = tuple(config.dynamic_batching.preferred_batch_size)
        merged = (
            config.parameters[MERGED_ROWS_PARAMETER].string_value
            if MERGED_ROWS_PARAMETER in config.parameters
            else ""
        )
        return Batches(
            rows_most=config.max_batch_size,
            merged_rows_most=int(merged) if merged.isdigit() else 0,
            preferred=() if merged or preferred == (config.max_batch_size,) else preferred,
            delay_us=config.dynamic_batching.max_queue_delay_microseconds if dynamic else None,
            instances=max(1, sum(group.count for group in config.instance_group)),
        )

    def load(self, traffic: Traffic, *, connections: int = 1, traced: int = TRACED) -> LoadPoint:
        """Send the traffic once; the times of the first `traced` requests are recorded."""
        return load_together([self], traffic, connections=connections, traced=traced)[0]

    def driver(self) -> LocalDriver | None:
        """Return the shared-memory load generator, or None if this target uses the network."""
        return None if self.local is None else LocalDriver(self.local, self._codec(), self.arrays)

    def _codec(self) -> Codec:
        described = self._described
        return Codec(
            self.model,
            "",
            [(spec.name, spec.datatype) for spec in described.inputs],
            [(spec.name, dtype_of(spec.datatype), len(spec.shape)) for spec in described.outputs],
            has_rows=False,  # the shapes are those in the server's metadata
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


def summarise_load(
    traffic: Traffic, outcome: LoadOutcome, rows: int, before: np.ndarray, after: np.ndarray
) -> LoadPoint:
    """Return the percentiles of the latency since the scheduled time, and the server's own times."""
    scheduled, sent, done = (
        np.array(times, np.int64) for times in (outcome.scheduled_ns, outcome.sent_ns, outcome.done_ns)
    )
    if not len(done):
        reason = next(iter(outcome.errors), "no response arrived")
        raise UsageError(f"no request was answered in {traffic.seconds:g} s: {reason}")
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
    outcome: LoadOutcome, scheduled: np.ndarray, latency_us: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return throughput and median latency of each third of the time, which differ if the load has not settled."""
    third_ns = (outcome.end_ns - outcome.begin_ns) / 3
    which = np.clip((scheduled - outcome.begin_ns) // third_ns, 0, 2)
    parts = [latency_us[which == third] for third in range(3)]
    if any(not len(part) for part in parts):
        return (), ()
    return (
        tuple(len(part) / third_ns * 1e9 for part in parts),
        tuple(float(np.median(part)) for part in parts),
    )


def _batch_times(
    before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]]
) -> tuple[BatchTime, ...]:
    times = []
    for rows, (count, spent_ns) in sorted(after.items()):
        counted, spent_before_ns = before.get(rows, (0, 0))
        if count > counted:
            mean_us = (spent_ns - spent_before_ns) / (count - counted) / 1e3
            times.append(BatchTime(rows=rows, executions=count - counted, mean_us=mean_us))
    return tuple(times)


def _server_time(before: np.ndarray, after: np.ndarray) -> ServerTime | None:
    if not len(before) or not len(after) or after[0] <= before[0]:
        return None
    grown = after - before
    requests = grown[0]
    queue, stacking, infer, output = grown[2:] / requests / 1e3
    return ServerTime(
        requests=int(requests),
        executions=int(grown[1]),
        queue_us=queue,
        input_us=stacking,
        infer_us=infer,
        output_us=output,
    )


def load_together(
    targets: Sequence[LoadTarget], traffic: Traffic, *, connections: int = 1, traced: int = TRACED
) -> list[LoadPoint]:
    """Send the traffic once, to the models of one server in turn; return the result per model."""
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
    target: LoadTarget, traffic: Traffic, outcome: LoadOutcome, before: Counters, after: Counters, traced: int
) -> LoadPoint:
    point = summarise_load(traffic, outcome, target.rows, before[0], after[0])
    server = point.server
    if server is not None:
        server = server.model_copy(update={"batches": _batch_times(before[1], after[1])})
    # due time and latency of the first requests, in the order of completion
    first = zip(outcome.scheduled_ns[:traced], outcome.done_ns[:traced], strict=True)
    trace = " ".join(f"{(due - outcome.begin_ns) // 1000}+{(done - due) // 1000}" for due, done in first)
    more = {
        "server": server,
        "request_bytes": target.requests[0][0],
        "trace": trace,
    }
    return point.model_copy(update=more)


def study_traffic(
    target: LoadTarget,
    loads: Sequence[Traffic],
    advance: Callable[[LoadPoint], None] = lambda _: None,
    *,
    connections: int = 1,
) -> TrafficRecord:
    """Run the loads one after another."""
    return study_together([target], loads, advance, connections=connections)[0]


def study_together(
    targets: Sequence[LoadTarget],
    loads: Sequence[Traffic],
    advance: Callable[[LoadPoint], None] = lambda _: None,
    *,
    connections: int = 1,
) -> list[TrafficRecord]:
    """Run the loads one after another, with requests to the models of one server in turn; return a record per model."""
    if len(targets) > 1:
        _check_together(targets, loads)
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


def _check_together(targets: Sequence[LoadTarget], loads: Sequence[Traffic]) -> None:
    names = [target.model for target in targets]
    if len(set(names)) < len(names):
        raise UsageError(f"{', '.join(names)}: name each model once")
    if any(target.local for target in targets):
        raise UsageError(
            f"shared memory serves one model at a time, not {', '.join(names)}: run one load per model"
        )
    if any(traffic.scenario is Scenario.MULTI_STREAM for traffic in loads):
        raise UsageError("the scenario multi-stream takes one model; use closed for several")


def write_traffic(record: TrafficRecord, folder: Path) -> Path:
    """Write a record to a new file named after its models and time; return the path."""
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
