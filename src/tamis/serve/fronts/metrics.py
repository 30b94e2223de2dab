"""Metrics in Prometheus' text format, under Triton's names where it has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

import psutil

from tamis._base import EXPOSITION_TYPE, metric_family, metric_labels
from tamis.serve.models.statistics import LATENCY_EDGES_NS
from tamis.serve.service import Loaded, Service
from tamis.serve.wire.http1 import Field, HttpRequest

EXPOSITION_FIELD: Field = (b"content-type", EXPOSITION_TYPE.encode())

_PER_MODEL: tuple[tuple[str, str, str, Callable[[Loaded], int]], ...] = (
    (
        "nv_inference_request_success",
        "counter",
        "Successful inference requests",
        lambda loaded: loaded.statistics.success.count,
    ),
    (
        "nv_inference_request_failure",
        "counter",
        "Failed inference requests",
        lambda loaded: loaded.statistics.failure.count,
    ),
    (
        "nv_inference_count",
        "counter",
        "Inferences performed (rows)",
        lambda loaded: loaded.statistics.inferences,
    ),
    (
        "nv_inference_exec_count",
        "counter",
        "Model executions (batches)",
        lambda loaded: loaded.statistics.executions,
    ),
    (
        "nv_inference_request_duration_us",
        "counter",
        "Time from request to response",
        lambda loaded: loaded.statistics.success.total_ns // 1000,
    ),
    (
        "nv_inference_queue_duration_us",
        "counter",
        "Time in the queue",
        lambda loaded: loaded.statistics.queue.total_ns // 1000,
    ),
    (
        "nv_inference_compute_input_duration_us",
        "counter",
        "Time to assemble inputs",
        lambda loaded: loaded.statistics.input.total_ns // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Time in the model",
        lambda loaded: loaded.statistics.infer.total_ns // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "counter",
        "Time to split outputs",
        lambda loaded: loaded.statistics.output.total_ns // 1000,
    ),
    (
        "nv_inference_pending_request_count",
        "gauge",
        "Requests in the queue",
        lambda loaded: loaded.scheduler.waiting,
    ),
)
_LATENCY = "tamis_request_latency_seconds"


def metrics_handler(service: Service) -> Callable[[HttpRequest], None]:
    """Return the handler of requests at the metrics port."""
    psutil.cpu_percent()  # starts the interval that the next call averages over

    def handle(request: HttpRequest) -> None:
        if request.target.partition("?")[0].rstrip("/") != "/metrics":
            request.fail(404, f"there is nothing at {request.target[:200]}; the metrics are at /metrics")
        elif request.method not in {"GET", "HEAD"}:
            request.fail(
                405, f"/metrics does not support {request.method}; use GET", ((b"allow", b"GET, HEAD"),)
            )
        else:
            request.respond(200, (EXPOSITION_FIELD,), (exposition(service).encode(),))

    return handle


def exposition(service: Service) -> str:
    """Return all metrics as text."""
    models = list(service.every())
    lines: list[str] = []
    for name, kind, description, value in _PER_MODEL:
        lines += metric_family(name, kind, description)
        lines += [f"{name}{{{_labels(loaded)}}} {value(loaded)}" for loaded in models]
    lines += metric_family(_LATENCY, "histogram", "Time from request to response")
    for loaded in models:
        lines += _latency_samples(loaded)
    lines += _stream_samples(service)
    memory = psutil.virtual_memory()
    for name, description, number in (
        ("nv_cpu_utilization", "CPU utilization, from 0 to 1", psutil.cpu_percent() / 100),
        ("nv_cpu_memory_total_bytes", "Total memory of the machine", memory.total),
        ("nv_cpu_memory_used_bytes", "Used memory of the machine", memory.used),
    ):
        lines += [*metric_family(name, "gauge", description), f"{name} {number}"]
    return "\n".join(lines) + "\n"


def _labels(loaded: Loaded) -> str:
    spec = loaded.model.spec
    return metric_labels(model=spec.name, version=spec.version)


def _latency_samples(loaded: Loaded) -> Iterable[str]:
    labels, latency = _labels(loaded), loaded.statistics.latency
    sums = list(accumulate(latency.counts))
    edges = [*(f"{edge / 1e9:g}" for edge in LATENCY_EDGES_NS), "+Inf"]
    for edge, count in zip(edges, sums, strict=True):
        yield f'{_LATENCY}_bucket{{{labels},le="{edge}"}} {count}'
    yield f"{_LATENCY}_sum{{{labels}}} {latency.total_ns / 1e9}"
    yield f"{_LATENCY}_count{{{labels}}} {sums[-1]}"


def _stream_samples(service: Service) -> Iterable[str]:
    if service.stream is None:
        return
    for name, description, seconds in (
        ("tamis_stream_seconds", "Seconds in files for a monitor", service.stream.written),
        ("tamis_stream_lost_seconds", "Seconds that could not be written for a monitor", service.stream.lost),
    ):
        yield from metric_family(name, "counter", description)
        yield f"{name} {seconds}"
