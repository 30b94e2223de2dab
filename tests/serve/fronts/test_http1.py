"""HTTP/1.1 on real sockets: order, bounds, time limits, the end."""

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
    given = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": list(values)}
    body = json.dumps({"inputs": [given]}).encode()
    end = b"Connection: close\r\n" if close else b""
    head = b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: a\r\n%b%bContent-Length: %d\r\n\r\n"
    return head % (model.encode(), end, headers, len(body)) + body


def read_answer(one: socket.socket) -> tuple[bytes, bytes]:
    """Read one answer, and nothing behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = one.recv(1)
        assert piece, head
        head += piece
    size = int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
    body = bytearray()
    while len(body) < size:
        piece = one.recv(min(size - len(body), 1 << 20))
        assert piece, body[:1000]
        body += piece
    return head, bytes(body)


def is_cut_off(one: socket.socket, raw: bytes, times: int, pause_s: float) -> bool:
    """Send again and again; tell whether the other end has closed before the last."""
    try:
        for _ in range(times):
            one.sendall(raw)
            time.sleep(pause_s)
    except OSError:
        return True
    return False


def until(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_connection_is_kept(served):
    with served.socket() as one:
        for _ in range(3):
            one.sendall(LIVE)
            assert read_answer(one)[0].startswith(OK)


def test_connections_close_when_they_are_asked_to(served):
    raw = served.talk(LIVE.replace(b"Host", b"Connection: close\r\nHost") + LIVE)
    assert statuses(raw) == [200]
    assert b"connection: close" in raw
    raw = served.talk(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
    assert statuses(raw) == [200]


def test_an_old_client_may_keep_its_connection(served):
    with served.socket() as one:
        for _ in range(2):
            one.sendall(b"GET /v2/health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"connection: keep-alive" in read_answer(one)[0]


def test_answers_come_in_the_order_of_their_requests(serve):
    with serve() as served, served.socket() as one:
        one.sendall(infer([1.0], "slow") + infer([2.0]) + LIVE + infer([3.0], close=True))
        until(lambda: served.call(lambda: served.service.find("null").statistics.inferences) == 2)
        one.settimeout(0.05)
        with pytest.raises(TimeoutError):
            one.recv(1)  # later ones are done, and wait for the first
        one.settimeout(10)
        served.gate.set()
        raw = b""
        while piece := one.recv(1 << 16):
            raw += piece
        assert statuses(raw) == [200] * 4
        assert [raw.index(b'"data":[%d.0]' % i) for i in (1, 2, 3)] == sorted(
            raw.index(b'"data":[%d.0]' % i) for i in (1, 2, 3)
        )


def test_hundreds_of_requests_at_once_are_all_answered(served):
    count = 500
    raw = served.talk(LIVE * count + LIVE.replace(b"Host", b"Connection: close\r\nHost"))
    assert statuses(raw) == [200] * (count + 1)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_requests_may_come_in_pieces_of_any_size(served, size):
    raw = infer(range(300)) + infer([5.0], close=True)
    with served.socket() as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(raw), size):
            one.sendall(raw[begin : begin + size])
        found = b""
        while piece := one.recv(1 << 16):
            found += piece
    assert statuses(found) == [200, 200]
    assert b'"data":[5.0]' in found


def test_bodies_in_chunks(served):
    body = infer([1.0, 2.0]).partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(p), p) for p in (body[:5], body[5:6], body[6:]))
    head = b"POST /v2/models/null/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    raw = served.talk(head + chunks + b"0\r\nContent-Encoding: gzip\r\n\r\n")
    assert statuses(raw) == [200]
    assert b'"data":[1.0,2.0]' in raw


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_large_bodies_are_whole(served, size):
    x = np.arange(size, dtype=np.float32)
    given = {
        "name": "x",
        "shape": [1, size],
        "datatype": "FP32",
        "parameters": {"binary_data_size": x.nbytes},
    }
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    with served.socket() as one:
        for _ in range(2):
            one.sendall(
                b"POST /v2/models/null/infer HTTP/1.1\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
                % (len(head), len(head) + x.nbytes)
            )
            one.sendall(head + x.tobytes())
            _, body = read_answer(one)
            assert body.endswith(x.tobytes())
            one.sendall(LIVE)  # the parser goes on behind a body that passed it by
            assert read_answer(one)[0].startswith(OK)


def test_head_has_the_length_and_no_body(served):
    raw = served.talk(b"HEAD /v2 HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert raw.endswith(b"\r\n\r\n")
    assert b"content-length: 0" not in raw


def test_a_client_that_asks_first_is_told_to_go_on(served):
    raw = infer([1.0], headers=b"Expect: 100-continue\r\n", close=True)
    head, _, body = raw.partition(b"\r\n\r\n")
    with served.socket() as one:
        one.sendall(head + b"\r\n\r\n")
        assert one.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(body)
        assert read_answer(one)[0].startswith(OK)


def test_going_on_waits_for_the_answers_before(serve):
    head, _, body = infer([1.0], headers=b"Expect: 100-continue\r\n", close=True).partition(b"\r\n\r\n")
    with serve() as served, served.socket() as one:
        one.sendall(infer([1.0], "slow") + head + b"\r\n\r\n")
        until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
        served.gate.set()
        assert read_answer(one)[0].startswith(OK)
        assert one.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(body)
        assert read_answer(one)[0].startswith(OK)


@pytest.mark.parametrize(
    ("raw", "status", "told"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400, b"no HTTP/1.1"),
        (b"GET / HTTP/3.0\r\n\r\n", 400, b"no HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, b"no HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", 400, b"no HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, b"no HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, b"no HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, b"no HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, b"only chunked"),
        (b"POST / HTTP/1.1\r\nExpect: cake\r\nContent-Length: 1\r\n\r\n", 417, b"cake"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413, b"99999999999 bytes"),
        (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", 431, b"65536 bytes"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000 + b"\r\n\r\n", 431, b"65536 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % i for i in range(20_000)) + b"\r\n", 431, b"65536"),
        (b"\r\n" * 100_000, 431, b"65536 bytes"),
    ],
)
def test_what_breaks_the_protocol_is_told_and_cut_off(served, raw, status, told):
    found = served.talk(raw)
    assert statuses(found) == [status]
    assert told in found
    assert json.loads(found.partition(b"\r\n\r\n")[2]).keys() == {"error"}
    assert b"connection: close" in found


def test_what_came_before_a_fault_is_answered(served):
    assert statuses(served.talk(LIVE + b"\0\0\0\0")) == [200, 400]


def test_trailers_without_end_are_cut_off(served):
    head = b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    assert statuses(served.talk(head + b"A: " + b"a" * 300_000)) == [431]


def test_a_request_for_another_protocol_is_answered_in_this_one(served):
    asked = b"GET /v2/health/live HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with served.socket() as one:
        one.sendall(asked)
        assert read_answer(one)[0].startswith(OK)
    assert statuses(served.talk(b"CONNECT a:80 HTTP/1.1\r\n\r\n" + LIVE, ends=True))[0] in {400, 404, 405}


@pytest.mark.parametrize("cut", [5, 40, 120])
def test_a_request_cut_short_is_told_so(served, cut):
    found = served.talk(infer([1.0] * 50)[:cut], ends=True)
    assert statuses(found) == [400]


def test_who_sends_no_more_is_still_answered(serve):
    with serve() as served, served.socket() as one:
        one.sendall(infer([1.0], "slow"))
        one.shutdown(socket.SHUT_WR)
        until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
        served.gate.set()
        assert read_answer(one)[0].startswith(OK)
        assert one.recv(1) == b""


SMALL = HttpLimits(body_bytes_most=10_000)


def test_bodies_have_a_bound_however_they_come(serve):
    post = b"POST /v2/models/null/infer HTTP/1.1\r\n"
    with serve(limits=SMALL) as served:
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        assert statuses(served.talk(post + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 9)) == [413]
        bomb = gzip.compress(b" " * 9_000_000, mtime=0)
        assert len(bomb) < 10_000
        head = post + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        assert statuses(served.talk(head + bomb)) == [413]
        until(lambda: served.reserved == 0)
        assert served.reserved_most < 3 << 20


def test_who_sends_too_much_can_read_why(serve):
    with serve(limits=HttpLimits(body_bytes_most=1000, linger_s=5)) as served, served.socket() as one:
        one.sendall(b"POST /v2 HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n" + b" " * 20_000_000)
        assert statuses(one.recv(1000)) == [413]


def test_unpacking_takes_its_memory_from_what_all_bodies_have(serve):
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
        (b"gzip", b"no gzip at all", 400),
        (b"gzip", gzip.compress(b"{}", mtime=0)[:-9], 400),
        (b"gzip", gzip.compress(b"{}", mtime=0) + b"more", 400),
        (b"deflate", b"\xff\xff\xff", 400),
    ],
)
def test_what_cannot_be_unpacked_is_refused(served, coding, body, status):
    head = b"POST /v2/models/null/infer HTTP/1.1\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    assert statuses(served.talk(head % (coding, len(body)) + body)) == [status]


def test_all_bodies_together_have_a_bound(serve):
    with serve() as served:
        served.budget = 1000
        with served.socket() as one:
            one.sendall(b"POST /v2 HTTP/1.1\r\nContent-Length: 900\r\n\r\n")
            until(lambda: served.reserved == 900)
            assert statuses(served.talk(infer([1.0] * 100))) == [503]
            assert served.reserved == 900
        until(lambda: served.reserved == 0)
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
def test_who_keeps_the_server_waiting_is_cut_off(serve, raw, expected):
    with serve(limits=QUICK) as served:
        assert statuses(served.talk(raw)) == expected
        until(lambda: not served.connections)


def test_who_drips_a_head_is_cut_off(serve):
    with serve(limits=QUICK) as served, served.socket() as one:
        one.sendall(b"GET / HTTP/1.1\r\n")
        assert is_cut_off(one, b"A: b\r\n", 1000, 0.01)


def test_who_does_not_read_is_read_no_more_and_cut_off(serve):
    size = 1 << 20
    x = np.zeros(size, np.float32)
    given = {
        "name": "x",
        "shape": [1, size],
        "datatype": "FP32",
        "parameters": {"binary_data_size": x.nbytes},
    }
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    raw = b"POST /v2/models/null/infer HTTP/1.1\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
    raw = raw % (len(head), len(head) + x.nbytes) + head + x.tobytes()
    with serve(limits=QUICK) as served, served.socket() as one:
        assert is_cut_off(one, raw, 50, 0)
        assert served.call(lambda: served.service.find("null").statistics.inferences) < 10
        until(lambda: not served.connections)
        assert served.reserved == 0


@pytest.mark.parametrize("most", [1, 4])
def test_nobody_asks_faster_than_is_answered(serve, most):
    with serve(limits=HttpLimits(pipeline_most=most)) as served, served.socket() as one:
        raw = infer(range(9000), "slow")
        sender = threading.Thread(target=lambda: one.sendall(raw * 100))
        sender.start()
        until(lambda: served.call(lambda: served.service.find("slow").scheduler.waiting) >= most - 1)
        time.sleep(0.2)
        assert served.reserved < 10 * len(raw)
        served.gate.set()
        for _ in range(100):
            assert read_answer(one)[0].startswith(OK)
        sender.join(10)


def test_a_client_that_leaves_is_not_computed_for(serve):
    with serve() as served:
        with served.socket() as one, served.socket() as other:
            one.sendall(infer([1.0], "slow"))
            until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            other.sendall(infer([2.0], "slow"))
            until(lambda: served.call(lambda: served.service.find("slow").scheduler.waiting))
            other.close()
            until(lambda: len(served.connections) == 1)
            served.gate.set()
            assert read_answer(one)[0].startswith(OK)
        kept = served.service.find("slow").statistics
        until(lambda: served.call(lambda: kept.failure.count) == 1)
        assert kept.inferences == 1


def test_the_end_waits_for_answers_and_takes_nothing_new(serve):
    with serve() as served, served.socket() as idle, served.socket() as busy:
        busy.sendall(infer([1.0], "slow"))
        until(lambda: served.call(lambda: served.service.find("slow").scheduler.running))
        ended = served.drain(10)
        assert idle.recv(1) == b""
        served.gate.set()
        assert b"connection: close" in read_answer(busy)[0]
        assert busy.recv(1) == b""
        busy.close()
        assert ended.result(10) == 0


def test_the_end_does_not_wait_for_ever(serve, rest_of):
    with serve() as served, served.socket() as one:
        one.sendall(b"GET /v2 HTT")
        until(lambda: len(served.connections) == 1)
        assert served.drain(0.05).result(10) == 1
        assert rest_of(one) == b""


@pytest.mark.parametrize("admitted", [True, False])
def test_who_is_not_let_in_is_told_before_the_body_comes(serve, admitted):
    with serve(admit=lambda _: None if admitted else "this server wants a token") as served:
        raw = served.talk(infer([1.0], close=True))
        assert statuses(raw) == [200 if admitted else 401]
        assert (b"www-authenticate: Bearer" in raw) is not admitted


def test_the_fast_loop_does_the_same(serve):
    pytest.importorskip("uvloop")
    with serve(uvloop=True, limits=QUICK) as served:
        assert statuses(served.talk(LIVE * 3 + infer(range(50_000), close=True))) == [200] * 4
        assert statuses(served.talk(b"\0" * 100_000)) == [400]
        assert statuses(served.talk(b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\nab")) == [408]
        assert statuses(served.talk(infer([1.0] * 50)[:120], ends=True)) == [400]
        until(lambda: not served.connections)
        assert served.errors == []
