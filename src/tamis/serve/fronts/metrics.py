"""Metrics in Prometheus' text format, under the names that Triton gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

import psutil

from tamis.serve.models.statistics import LATENCY_EDGES_NS
from tamis.serve.service import Loaded, Service
from tamis.serve.wire.http1 import Field, HttpRequest

EXPOSITION_TYPE: Field = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")

_PER_MODEL: tuple[tuple[str, str, str, Callable[[Loaded], int]], ...] = (
    (
        "nv_inference_request_success",
        "counter",
        "Requests that were answered",
        lambda one: one.statistics.success.count,
    ),
    (
        "nv_inference_request_failure",
        "counter",
        "Requests that were not answered",
        lambda one: one.statistics.failure.count,
    ),
    ("nv_inference_count", "counter", "Rows that were computed", lambda one: one.statistics.inferences),
    (
        "nv_inference_exec_count",
        "counter",
        "Batches that were computed",
        lambda one: one.statistics.executions,
    ),
    (
        "nv_inference_request_duration_us",
        "counter",
        "Time from request to answer",
        lambda one: one.statistics.success.total_ns // 1000,
    ),
    (
        "nv_inference_queue_duration_us",
        "counter",
        "Time that requests waited",
        lambda one: one.statistics.queue.total_ns // 1000,
    ),
    (
        "nv_inference_compute_input_duration_us",
        "counter",
        "Time to put inputs together",
        lambda one: one.statistics.input.total_ns // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Time in the model",
        lambda one: one.statistics.infer.total_ns // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "counter",
        "Time to take outputs apart",
        lambda one: one.statistics.output.total_ns // 1000,
    ),
    (
        "nv_inference_pending_request_count",
        "gauge",
        "Requests that wait",
        lambda one: one.scheduler.waiting,
    ),
)
_LATENCY = "tamis_request_latency_seconds"


def metrics(service: Service) -> Callable[[HttpRequest], None]:
    """Return what answers requests at the port of the metrics."""
    psutil.cpu_percent()  # the first call begins the time that the second looks back on

    def handle(request: HttpRequest) -> None:
        if request.target.partition("?")[0].rstrip("/") != "/metrics":
            request.fail(404, f"there is nothing at {request.target[:200]}; there is /metrics")
        elif request.method not in {"GET", "HEAD"}:
            request.fail(405, "/metrics is asked with GET", ((b"allow", b"GET, HEAD"),))
        else:
            request.answer(200, (EXPOSITION_TYPE,), (exposition(service).encode(),))

    return handle


def exposition(service: Service) -> str:
    """Return all metrics as text."""
    loaded = list(service.every())
    lines: list[str] = []
    for name, kind, told, value in _PER_MODEL:
        lines += _head(name, kind, told)
        lines += [f"{name}{{{_labels(one)}}} {value(one)}" for one in loaded]
    lines += _head(_LATENCY, "histogram", "Time from request to answer")
    for one in loaded:
        lines += _histogram(one)
    memory = psutil.virtual_memory()
    for name, told, number in (
        (
            "nv_cpu_utilization",
            "Part of the CPU's time that is used, from 0 to 1",
            psutil.cpu_percent() / 100,
        ),
        ("nv_cpu_memory_total_bytes", "Memory of the machine", memory.total),
        ("nv_cpu_memory_used_bytes", "Memory of the machine that is used", memory.used),
    ):
        lines += [*_head(name, "gauge", told), f"{name} {number}"]
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, told: str) -> list[str]:
    return [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]


def _labels(one: Loaded) -> str:
    spec = one.model.spec
    return f'model="{_escaped(spec.name)}",version="{_escaped(spec.version)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _histogram(one: Loaded) -> Iterable[str]:
    labels, kept = _labels(one), one.statistics.latency
    sums = list(accumulate(kept.counts))
    edges = [*(f"{edge / 1e9:g}" for edge in LATENCY_EDGES_NS), "+Inf"]
    for edge, count in zip(edges, sums, strict=True):
        yield f'{_LATENCY}_bucket{{{labels},le="{edge}"}} {count}'
    yield f"{_LATENCY}_sum{{{labels}}} {kept.total_ns / 1e9}"
    yield f"{_LATENCY}_count{{{labels}}} {sums[-1]}"
