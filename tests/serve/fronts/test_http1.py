"""HTTP/1.1 on real sockets: order, size limits, time limits, shutdown."""

import gzip
import json
import socket
import threading
import time

import numpy as np
import pytest

from tamis.serve.wire.http1 import HttpLimits

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


def statuses(raw: bytes) -> list[int]:
    return [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]]


def infer(values, model="null", headers=b"", close=False) -> bytes:
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": list(values)}
    body = json.dumps({"inputs": [tensor]}).encode()
    end = b"Connection: close\r\n" if close else b""
    head = b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: a\r\n%b%bContent-Length: %d\r\n\r\n"
    return head % (model.encode(), end, headers, len(body)) + body


def read_response(client: socket.socket) -> tuple[bytes, bytes]:
    """Read one response and nothing that follows."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        assert piece, head
        head += piece
    size = int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
    body = bytearray()
    while len(body) < size:
        piece = client.recv(min(size - len(body), 1 << 20))
        assert piece, body[:1000]
        body += piece
    return head, bytes(body)


def is_cut_off(client: socket.socket, raw: bytes, times: int, pause_s: float) -> bool:
    """Send repeatedly; return whether the server closed the connection before the last time."""
    try:
        for _ in range(times):
            client.sendall(raw)
            time.sleep(pause_s)
    except OSError:
        return True
    return False


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_connection_is_kept_alive(served):
    with served.socket() as client:
        for _ in range(3):
            client.sendall(LIVE)
            assert read_response(client)[0].startswith(OK)


def test_connection_closes_on_request(served):
    raw = served.talk(LIVE.replace(b"Host", b"Connection: close\r\nHost") + LIVE)
    assert statuses(raw) == [200]
    assert b"connection: close" in raw
    raw = served.talk(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
    assert statuses(raw) == [200]


def test_http10_client_may_keep_its_connection(served):
    with served.socket() as client:
        for _ in range(2):
            client.sendall(b"GET /v2/health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"connection: keep-alive" in read_response(client)[0]


def test_responses_come_in_the_order_of_requests(serve):
    with serve() as served, served.socket() as client:
        client.sendall(infer([1.0], "slow") + infer([2.0]) + LIVE + infer([3.0], close=True))
        wait_until(lambda: served.call(lambda: served.service.find("null").statistics.inferences) == 2)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)  # the later responses are ready and wait for the first
        client.settimeout(10)
        served.gate.set()
        raw = b""
        while piece := client.recv(1 << 16):
            raw += piece
        assert statuses(raw) == [200] * 4
        assert [raw.index(b'"data":[%d.0]' % i) for i in (1, 2, 3)] == sorted(
            raw.index(b'"data":[%d.0]' % i) for i in (1, 2, 3)
        )


def test_hundreds_of_pipelined_requests_are_answered(served):
    count = 500
    raw = served.talk(LIVE * count + LIVE.replace(b"Host", b"Connection: close\r\nHost"))
    assert statuses(raw) == [200] * (count + 1)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_requests_may_arrive_in_pieces_of_any_size(served, size):
    raw = infer(range(300)) + infer([5.0], close=True)
    with served.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(raw), size):
            client.sendall(raw[begin : begin + size])
        raw = b""
        while piece := client.recv(1 << 16):
            raw += piece
    assert statuses(raw) == [200, 200]
    assert b'"data":[5.0]' in raw


def test_chunked_body(served):
    body = infer([1.0, 2.0]).partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(p), p) for p in (body[:5], body[5:6], body[6:]))
    head = b"POST /v2/models/null/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    raw = served.talk(head + chunks + b"0\r\nContent-Encoding: gzip\r\n\r\n")
    assert statuses(raw) == [200]
    assert b'"data":[1.0,2.0]' in raw


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_large_bodies_arrive_intact(served, size):
    x = np.arange(size, dtype=np.float32)
    tensor = {
        "name": "x",
        "shape": [1, size],
        "datatype": "FP32",
        "parameters": {"binary_data_size": x.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    with served.socket() as client:
        for _ in range(2):
            client.sendall(
                b"POST /v2/models/null/infer HTTP/1.1\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
                % (len(head), len(head) + x.nbytes)
            )
            client.sendall(head + x.tobytes())
            _, body = read_response(client)
            assert body.endswith(x.tobytes())
            client.sendall(LIVE)  # the parser continues after a body that bypassed it
            assert read_response(client)[0].startswith(OK)


def test_head_request_gets_the_length_and_no_body(served):
    raw = served.talk(b"HEAD /v2 HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert raw.endswith(b"\r\n\r\n")
    assert b"content-length: 0" not in raw


def test_expect_continue(served):
    raw = infer([1.0], headers=b"Expect: 100-continue\r\n", close=True)
    head, _, body = raw.partition(b"\r\n\r\n")
    with served.socket() as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert read_response(client)[0].startswith(OK)


def test_continue_waits_for_earlier_responses(serve):
    head, _, body = infer([1.0], headers=b"Expect: 100-continue\r\n", close=True).partition(b"\r\n\r\n")
    with serve() as served, served.socket() as client:
        client.sendall(infer([1.0], "slow") + head + b"\r\n\r\n")
        wait_until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
        served.gate.set()
        assert read_response(client)[0].startswith(OK)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert read_response(client)[0].startswith(OK)


@pytest.mark.parametrize(
    ("raw", "status", "message"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400, b"not HTTP/1.1"),
        (b"GET / HTTP/3.0\r\n\r\n", 400, b"not HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, b"not HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", 400, b"not HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, b"not HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, b"not HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, b"not HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, b"supported is chunked"),
        (b"POST / HTTP/1.1\r\nExpect: cake\r\nContent-Length: 1\r\n\r\n", 417, b"cake"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413, b"99999999999 bytes"),
        (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", 431, b"65536 bytes"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000 + b"\r\n\r\n", 431, b"65536 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % i for i in range(20_000)) + b"\r\n", 431, b"65536"),
        (b"\r\n" * 100_000, 431, b"65536 bytes"),
    ],
)
def test_invalid_http_gets_an_error_and_is_disconnected(served, raw, status, message):
    response = served.talk(raw)
    assert statuses(response) == [status]
    assert message in response
    assert json.loads(response.partition(b"\r\n\r\n")[2]).keys() == {"error"}
    assert b"connection: close" in response


def test_requests_before_an_error_are_answered(served):
    assert statuses(served.talk(LIVE + b"\0\0\0\0")) == [200, 400]


def test_endless_trailers_are_cut_off(served):
    head = b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    assert statuses(served.talk(head + b"A: " + b"a" * 300_000)) == [431]


def test_upgrade_to_another_protocol_is_ignored(served):
    upgrade = b"GET /v2/health/live HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with served.socket() as client:
        for _ in range(3):
            client.sendall(upgrade)
            assert read_response(client)[0].startswith(OK)
    assert statuses(served.talk(b"CONNECT a:80 HTTP/1.1\r\n\r\n" + LIVE, ends=True))[0] in {400, 404, 405}


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("cut", [None, 30, 200])
def test_a_request_that_offers_another_protocol_is_answered_with_its_body(served, cut, is_chunked):
    head, body = infer([1.0, 2.0]).split(b"\r\n\r\n", 1)
    head += b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA"
    if is_chunked:
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        head = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"])
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    request = head + b"\r\n\r\n" + body
    with served.socket() as client:
        for _ in range(2):
            for piece in (request[:cut], request[cut:]) if cut else (request,):
                client.sendall(piece)
                time.sleep(0.02)
            status, text = read_response(client)[:2]
            assert status.startswith(OK), text
    assert statuses(served.talk(request + LIVE + request, ends=True)) == [200, 200, 200]


@pytest.mark.parametrize("cut", [5, 40, 120])
def test_truncated_request_is_an_error(served, cut):
    response = served.talk(infer([1.0] * 50)[:cut], ends=True)
    assert statuses(response) == [400]


def test_client_that_closes_its_sending_side_is_still_answered(serve):
    with serve() as served, served.socket() as client:
        client.sendall(infer([1.0], "slow"))
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
        served.gate.set()
        assert read_response(client)[0].startswith(OK)
        assert client.recv(1) == b""


SMALL = HttpLimits(max_body_bytes=10_000)


def test_body_size_is_limited_when_chunked_or_compressed(serve):
    post = b"POST /v2/models/null/infer HTTP/1.1\r\n"
    with serve(limits=SMALL) as served:
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        assert statuses(served.talk(post + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 9)) == [413]
        bomb = gzip.compress(b" " * 9_000_000, mtime=0)
        assert len(bomb) < 10_000
        head = post + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        assert statuses(served.talk(head + bomb)) == [413]
        wait_until(lambda: served.reserved == 0)
        assert served.reserved_most < 3 << 20


def test_client_that_sends_too_much_can_read_the_error(serve):
    with serve(limits=HttpLimits(max_body_bytes=1000, linger_s=5)) as served, served.socket() as client:
        client.sendall(b"POST /v2 HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n" + b" " * 20_000_000)
        assert statuses(client.recv(1000)) == [413]


def test_decompression_reserves_its_memory(serve):
    with serve() as served:
        served.budget = 1000
        body = gzip.compress(b" " * 5000, mtime=0)
        head = b"POST /v2/models/null/infer HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        assert statuses(served.talk(head % len(body) + body)) == [503]
        assert served.reserved == 0


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        (b"br", b"abc", 415),
        (b"gzip", b"not gzip at all", 400),
        (b"gzip", gzip.compress(b"{}", mtime=0)[:-9], 400),
        (b"gzip", gzip.compress(b"{}", mtime=0) + b"more", 400),
        (b"deflate", b"\xff\xff\xff", 400),
    ],
)
def test_body_that_cannot_be_decompressed_is_rejected(served, coding, body, status):
    head = b"POST /v2/models/null/infer HTTP/1.1\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    assert statuses(served.talk(head % (coding, len(body)) + body)) == [status]


def test_total_size_of_bodies_is_limited(serve):
    with serve() as served:
        served.budget = 1000
        with served.socket() as client:
            client.sendall(b"POST /v2 HTTP/1.1\r\nContent-Length: 900\r\n\r\n")
            wait_until(lambda: served.reserved == 900)
            assert statuses(served.talk(infer([1.0] * 100))) == [503]
            assert served.reserved == 900
        wait_until(lambda: served.reserved == 0)
        assert statuses(served.talk(infer([1.0], close=True))) == [200]


QUICK = HttpLimits(head_s=0.1, body_s=0.1, idle_s=0.1, write_s=0.2, linger_s=0.1, tick_s=0.02)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b"\r\n", []),
        (b"GET", [408]),
        (b"GET / HTTP/1.1\r\nA: b", [408]),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", [408]),
        (b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\nab", [408]),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", [408]),
        (LIVE, [200]),
    ],
)
def test_slow_client_is_disconnected(serve, raw, expected):
    with serve(limits=QUICK) as served:
        assert statuses(served.talk(raw)) == expected
        wait_until(lambda: not served.connections)


def test_client_that_sends_its_head_slowly_is_disconnected(serve):
    with serve(limits=QUICK) as served, served.socket() as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert is_cut_off(client, b"A: b\r\n", 1000, 0.01)


def test_client_that_does_not_read_is_disconnected(serve):
    size = 1 << 20
    x = np.zeros(size, np.float32)
    tensor = {
        "name": "x",
        "shape": [1, size],
        "datatype": "FP32",
        "parameters": {"binary_data_size": x.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    raw = b"POST /v2/models/null/infer HTTP/1.1\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
    raw = raw % (len(head), len(head) + x.nbytes) + head + x.tobytes()
    with serve(limits=QUICK) as served, served.socket() as client:
        assert is_cut_off(client, raw, 50, 0)
        assert served.call(lambda: served.service.find("null").statistics.inferences) < 10
        wait_until(lambda: not served.connections)
        assert served.reserved == 0


@pytest.mark.parametrize("limit", [1, 4])
def test_pipelined_requests_are_limited(serve, limit):
    with serve(limits=HttpLimits(max_pipelined=limit)) as served, served.socket() as client:
        raw = infer(range(9000), "slow")
        sender = threading.Thread(target=lambda: client.sendall(raw * 100))
        sender.start()
        wait_until(lambda: served.call(lambda: served.service.find("slow").scheduler.waiting) >= limit - 1)
        time.sleep(0.2)
        assert served.reserved < 10 * len(raw)
        served.gate.set()
        for _ in range(100):
            assert read_response(client)[0].startswith(OK)
        sender.join(10)


def test_request_of_a_disconnected_client_is_not_computed(serve):
    with serve() as served:
        with served.socket() as client, served.socket() as other:
            client.sendall(infer([1.0], "slow"))
            wait_until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            other.sendall(infer([2.0], "slow"))
            wait_until(lambda: served.call(lambda: served.service.find("slow").scheduler.waiting))
            other.close()
            wait_until(lambda: len(served.connections) == 1)
            served.gate.set()
            assert read_response(client)[0].startswith(OK)
        statistics = served.service.find("slow").statistics
        wait_until(lambda: served.call(lambda: statistics.failure.count) == 1)
        assert statistics.inferences == 1


def test_shutdown_waits_for_responses_and_accepts_no_new_requests(serve):
    with serve() as served, served.socket() as idle, served.socket() as busy:
        busy.sendall(infer([1.0], "slow"))
        wait_until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
        ended = served.drain(10)
        assert idle.recv(1) == b""
        served.gate.set()
        assert b"connection: close" in read_response(busy)[0]
        assert busy.recv(1) == b""
        busy.close()
        assert ended.result(10) == 0


def test_shutdown_gives_up_after_its_time_limit(serve, receive_rest):
    with serve() as served, served.socket() as client:
        client.sendall(b"GET /v2 HTT")
        wait_until(lambda: len(served.connections) == 1)
        assert served.drain(0.05).result(10) == 1
        assert receive_rest(client) == b""


@pytest.mark.parametrize("authorized", [True, False])
def test_unauthorized_request_is_rejected_before_its_body_arrives(serve, authorized):
    with serve(authorize=lambda _: None if authorized else "this server requires a token") as served:
        raw = served.talk(infer([1.0], close=True))
        assert statuses(raw) == [200 if authorized else 401]
        assert (b"www-authenticate: Bearer" in raw) is not authorized


def test_uvloop_behaves_the_same(serve):
    pytest.importorskip("uvloop")
    with serve(uvloop=True, limits=QUICK) as served:
        assert statuses(served.talk(LIVE * 3 + infer(range(50_000), close=True))) == [200] * 4
        assert statuses(served.talk(b"\0" * 100_000)) == [400]
        assert statuses(served.talk(b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\nab")) == [408]
        assert statuses(served.talk(infer([1.0] * 50)[:120], ends=True)) == [400]
        wait_until(lambda: not served.connections)
        assert served.errors == []
