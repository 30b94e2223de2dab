"""After any malformed request the server answers the next one."""

import json

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

X = np.arange(6, dtype=np.float32).reshape(2, 3)
HEAD = json.dumps(
    {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}]}
).encode()
VALID = (
    b"POST /v2/models/null/infer HTTP/1.1\r\nHost: a\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
    % (len(HEAD), len(HEAD) + 24)
    + HEAD
    + X.tobytes()
)
EXAMPLES = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def check(served, raw: bytes) -> list[int]:
    """Send bytes and close; check that every status is an expected one and that the server still works."""
    received = served.talk(raw, ends=True, seconds=10)
    statuses = [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
    assert all(
        status in {100, 200, 400, 401, 404, 405, 408, 413, 415, 417, 431, 501, 503} for status in statuses
    )
    assert served.request("GET", "/v2/health/live").status == 200
    assert served.errors == []
    return statuses


@EXAMPLES
@given(st.binary(max_size=300))
def test_random_bytes(served, raw):
    check(served, raw)


@EXAMPLES
@given(st.integers(0, len(VALID) - 1))
@example(0)
def test_truncated_requests(served, size):
    assert check(served, VALID[:size]) == ([400] if size else [])


@EXAMPLES
@given(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=4))
def test_requests_with_changed_bytes(served, position, changed):
    check(served, VALID[:position] + changed + VALID[position + len(changed) :])


@EXAMPLES
@given(st.integers(-(1 << 70), 1 << 70), st.integers(-(1 << 70), 1 << 70))
@example(len(HEAD) + 24, 0)
@example(len(HEAD) + 24, len(HEAD) + 24)
@example((1 << 64) + 1, 0)
def test_wrong_lengths(served, length, head):
    lines = f"Inference-Header-Content-Length: {head}\r\nContent-Length: {length}\r\n\r\n".encode()
    check(served, b"POST /v2/models/null/infer HTTP/1.1\r\n" + lines + HEAD + X.tobytes())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)


@EXAMPLES
@given(
    st.sampled_from(
        ["id", "parameters", "inputs", "outputs", "name", "shape", "datatype", "data", "in.parameters"]
    ),
    values,
)
def test_documents_with_a_random_value_somewhere(served, field, value):
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    document = {"inputs": [tensor], "outputs": [{"name": "y"}]}
    if field in {"name", "shape", "datatype", "data"}:
        tensor[field] = value
    elif field == "in.parameters":
        tensor["parameters"] = value
    else:
        document[field] = value
    response = served.request("POST", "/v2/models/null/infer", document)
    assert response.status in {200, 400, 404}
    assert response.status == 200 or list(response.json) == ["error"]
    assert served.errors == []
