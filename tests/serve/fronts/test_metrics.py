"""Metrics, as Prometheus parses them."""

from http.client import HTTPConnection

import pytest

NAMES = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_duration_us",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
    "nv_inference_pending_request_count",
    "nv_cpu_utilization",
    "nv_cpu_memory_total_bytes",
    "nv_cpu_memory_used_bytes",
}


def scrape(served, path="/metrics", method="GET"):
    connection = HTTPConnection("127.0.0.1", served.metrics_port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def families(text):
    parser = pytest.importorskip("prometheus_client.parser")
    return list(parser.text_string_to_metric_families(text))


def test_requests_are_counted_under_the_names_of_triton(serve):
    body = {"inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1, 2, 3]}]}
    with serve() as served:
        for _ in range(4):
            served.request("POST", "/v2/models/null/infer", body)
        served.request("POST", "/v2/models/broken/infer", body)
        response, text = scrape(served)
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} >= NAMES
    values = {
        (
            sample.name.removesuffix("_total"),
            sample.labels.get("model"),
            sample.labels.get("version"),
        ): sample.value
        for family in families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }

    def value(name, model="null"):
        return values[name, model, "1"]

    assert value("nv_inference_request_success") == 4
    assert value("nv_inference_count") == 12
    assert value("nv_inference_exec_count") == 4
    assert value("nv_inference_request_failure", "broken") == 1
    assert value("nv_inference_pending_request_count") == 0
    assert value("nv_inference_request_duration_us") >= value("nv_inference_queue_duration_us") >= 0
    assert value("tamis_request_latency_seconds_count") == 4
    duration_s = value("nv_inference_request_duration_us") / 1e6
    assert value("tamis_request_latency_seconds_sum") == pytest.approx(duration_s, abs=1e-6)
    assert (
        values["nv_cpu_memory_total_bytes", None, None] > values["nv_cpu_memory_used_bytes", None, None] > 0
    )
    assert 0 <= values["nv_cpu_utilization", None, None] <= 1


def test_buckets_are_cumulative(serve):
    with serve() as served:
        latency = served.service.find("null").statistics.latency
        for elapsed_ns in (1, 10_000, 10_001, 3_000_000, 60_000_000_000):
            served.call(lambda elapsed=elapsed_ns: latency.add(elapsed))
        _, text = scrape(served)
    (family,) = [family for family in families(text) if family.name == "tamis_request_latency_seconds"]
    buckets = {
        sample.labels["le"]: sample.value
        for sample in family.samples
        if sample.labels["model"] == "null" and "le" in sample.labels
    }
    assert buckets["1e-05"] == 2  # a bucket includes its upper edge
    assert buckets["2.5e-05"] == 3
    assert (buckets["0.0025"], buckets["0.005"], buckets["10"], buckets["+Inf"]) == (3, 4, 4, 5)
    assert list(buckets.values()) == sorted(buckets.values())


def test_model_names_are_escaped(serve):
    with serve() as served:
        loaded = served.service.find("null")
        name = 'a "quoted"\\\nname'
        served.call(lambda: served.service.models.update({name: {'"': loaded}}))
        object.__setattr__(loaded.model.spec, "name", name)
        _, text = scrape(served)
    assert any(sample.labels.get("model") == name for family in families(text) for sample in family.samples)


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/metrics", "POST", 405), ("/metrics", "HEAD", 200)]
)
def test_other_paths_and_methods_are_errors(served, path, method, status):
    assert scrape(served, path, method)[0].status == status
