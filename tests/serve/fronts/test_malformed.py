"""Whatever comes, the server answers the next one."""

import json

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

X = np.arange(6, dtype=np.float32).reshape(2, 3)
HEAD = json.dumps(
    {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}]}
).encode()
GOOD = (
    b"POST /v2/models/null/infer HTTP/1.1\r\nHost: a\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
    % (len(HEAD), len(HEAD) + 24)
    + HEAD
    + X.tobytes()
)
MANY = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def check(served, raw: bytes) -> list[int]:
    """Send what has an end; see that all is answered by known statuses, and that the server goes on."""
    found = served.talk(raw, ends=True, seconds=10)
    statuses = [int(part[:3]) for part in found.split(b"HTTP/1.1 ")[1:]]
    assert all(
        status in {100, 200, 400, 401, 404, 405, 408, 413, 415, 417, 431, 501, 503} for status in statuses
    )
    assert served.ask("GET", "/v2/health/live").status == 200
    assert served.errors == []
    return statuses


@MANY
@given(st.binary(max_size=300))
def test_bytes_of_any_kind(served, raw):
    check(served, raw)


@MANY
@given(st.integers(0, len(GOOD) - 1))
@example(0)
def test_requests_cut_anywhere(served, size):
    assert check(served, GOOD[:size]) == ([400] if size else [])


@MANY
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=4))
def test_requests_with_bytes_changed(served, place, changed):
    check(served, GOOD[:place] + changed + GOOD[place + len(changed) :])


@MANY
@given(st.integers(-(1 << 70), 1 << 70), st.integers(-(1 << 70), 1 << 70))
@example(len(HEAD) + 24, 0)
@example(len(HEAD) + 24, len(HEAD) + 24)
@example((1 << 64) + 1, 0)
def test_lengths_that_lie(served, length, head):
    lines = f"Inference-Header-Content-Length: {head}\r\nContent-Length: {length}\r\n\r\n".encode()
    check(served, b"POST /v2/models/null/infer HTTP/1.1\r\n" + lines + HEAD + X.tobytes())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)


@MANY
@given(
    st.sampled_from(
        ["id", "parameters", "inputs", "outputs", "name", "shape", "datatype", "data", "in.parameters"]
    ),
    values,
)
def test_documents_with_anything_anywhere(served, place, value):
    given = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    asked = {"inputs": [given], "outputs": [{"name": "y"}]}
    if place in {"name", "shape", "datatype", "data"}:
        given[place] = value
    elif place == "in.parameters":
        given["parameters"] = value
    else:
        asked[place] = value
    answer = served.ask("POST", "/v2/models/null/infer", asked)
    assert answer.status in {200, 400, 404}
    assert answer.status == 200 or list(answer.json) == ["error"]
    assert served.errors == []
