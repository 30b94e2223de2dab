"""The server of the live page: what it tells, who may write, and what hostile or slow clients get."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import stat
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.monitor.live.conftest import TOKEN, bad_blocks, eventually

from tamis._base import UsageError
from tamis.monitor.journal import Journal, JournalAlarm
from tamis.monitor.live import LiveServer, LiveSettings, token_of
from tamis.monitor.live.feed import RAISED_MOST
from tamis.monitor.live.server import CONNECTIONS_MOST


def ask(server, path, method="GET", body=None, **headers):
    """Return the status and the body of a response."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


def json_of(server, path):
    status, body = ask(server, path)
    assert status == 200
    return json.loads(body)


def post(server, note, token=TOKEN, **headers):
    headers = {"Content_Type": "application/json", "Authorization": f"Bearer {token}"} | headers
    return ask(server, "/api/notes", "POST", json.dumps(note), **headers)


def note_on(key, **changes):
    return {"run": key[0], "block": key[1], "person": "A. Shifter", "action": "acknowledge", "text": ""} | changes  # fmt: skip


def raw(server, sent, seconds=20.0):
    """Send bytes, and return all that comes back."""
    host = urlsplit(server.address)
    with socket.create_connection((host.hostname, host.port), timeout=seconds) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        found = b""
        while part := client.recv(65536):
            found += part
    return found


class EventReader:
    """A client of the events."""

    def __init__(self, server, cursor="", buffer=None, **headers):
        host = urlsplit(server.address)
        self.client = socket.socket()
        if buffer is not None:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.client.settimeout(20)
        self.client.connect((host.hostname, host.port))
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.client.sendall(f"GET /api/events?cursor={cursor} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())  # fmt: skip
        self.file = self.client.makefile("rb")
        while self.file.readline().strip():
            pass  # the head

    def __iter__(self):
        told = {}
        for line in self.file:
            name, _, value = line.decode().strip().partition(": ")
            if name:
                told[name] = value
            elif told:
                yield told.get("event"), told.get("id"), json.loads(told.get("data", "{}"))
                told = {}

    def take(self, number, *kinds):
        """Return the next events of some kinds."""
        found = []
        for kind, place, data in self:
            if kind in kinds:
                found.append((kind, place, data))
            if len(found) == number:
                return found
        return found

    def close(self):
        self.file.close()
        self.client.close()


def test_state_trend_and_evidence_are_those_of_the_journal(live, judged):
    state = json_of(live, "/api/state")
    journal = Journal(judged)
    blocks = list(journal.blocks())
    journal.close()
    assert state["blocks"]["block"] == [one.block for one in blocks]
    assert state["blocks"]["state"] == [one.state for one in blocks]
    assert state["regions"] == ["EMBC", "EMBA", "EMECC", "EMECA"]
    assert (state["stream"], state["model"], state["block_s"]) == ("stream", "lar", 60)
    trend = json_of(live, "/api/trend?region=EMBC")
    assert trend["block"] == state["blocks"]["block"]
    assert [(one["quantity"], one["of"]) for one in trend["features"]][:3] == [("n", "number"), ("Q", "mean"), ("Q", "width")]  # fmt: skip
    good = [k for k, one in enumerate(blocks) if one.state == "good"]
    for one in trend["features"]:
        inside = [abs(one["value"][k] - one["expected"][k]) < 4 * one["spread"][k] for k in good]
        assert sum(inside) > 0.97 * len(good), one["of"]
    worst = max((one for one in blocks if one.state == "bad" and one.region in state["regions"]), key=lambda one: one.score)  # fmt: skip
    told = json_of(live, f"/api/block?run={worst.run}&block={worst.block}")
    assert told["kinds"] == list(worst.kinds)
    most = max(told["features"], key=lambda one: abs(one["pull"]))
    assert (most["region"], most["quantity"]) == (worst.region, worst.quantity)
    assert abs(most["pull"]) > 5
    assert (most["value"] > most["expected"]) == (worst.direction == "up")
    burst = next(one for one in blocks if one.kinds == ("SEVNOISEBURST",))
    told = json_of(live, f"/api/block?run={burst.run}&block={burst.block}")
    first = told["bursts"][0]
    assert told["most"][f"{first['region']} {first['name']}"][told["second"].index(first["second"])] == first["number"]  # fmt: skip
    assert ask(live, "/api/block?run=1&block=1")[0] == 404
    assert ask(live, "/api/trend?region=nowhere")[0] == 404


def test_metrics_are_prometheus_text(live, judged):
    status, body = ask(live, "/metrics")
    assert status == 200
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    bad = len(bad_blocks(judged))
    assert found["tamis_monitor_blocks_total", "bad"] == found[("tamis_monitor_alarms_total",)] == bad > 10
    journal = Journal(judged)
    last = list(journal.blocks())[-1]
    journal.close()
    assert found[("tamis_monitor_last_run",)] == last.run
    assert found[("tamis_monitor_last_block",)] == last.block
    assert 0 < found[("tamis_monitor_seconds_since_last_block",)] < 600
    assert found[("tamis_monitor_judging_seconds_total",)] > 0
    assert found[("tamis_monitor_stale",)] == 0
    journal = Journal(judged)
    assert found[("tamis_monitor_second_alarms_total",)] == len(list(journal.alarms())) > 10
    journal.close()
    assert found[("tamis_monitor_raised_alarms",)] == 0


def test_new_blocks_and_notes_come_as_events(monitor, stream_features, tmp_path):
    with LiveServer(tmp_path / "out", LiveSettings(0, token=TOKEN)) as server:
        state = json_of(server, "/api/state")
        assert state["blocks"]["run"] == []
        reader = EventReader(server, state["cursor"])
        for block in stream_features[:3]:
            list(monitor.take(block))
        found = reader.take(3, "block")
        assert [(one["run"], one["block"]) for _, _, one in found] == [one.key for one in stream_features[:3]]
        assert found[2][2]["value"][:1] == pytest.approx(stream_features[2].features[:1], rel=1e-5)
        assert post(server, note_on(stream_features[1].key))[0] == 200
        ((_, place, note),) = reader.take(1, "note")
        assert (note["block"], note["person"]) == (stream_features[1].key[1], "A. Shifter")
        reader.close()
        for block in stream_features[3:5]:
            list(monitor.take(block))
        # A client that comes back gets what it has missed, and nothing twice.
        for again in (EventReader(server, Last_Event_ID=place), EventReader(server, place)):
            missed = again.take(2, "block", "note", "reset")
            assert [(kind, one["block"]) for kind, _, one in missed] == [("block", one.key[1]) for one in stream_features[3:5]]  # fmt: skip
            again.close()
        for foreign in ("", "other-28.1.0", place.replace(".1", ".9999999"), "x.y.z"):
            other = EventReader(server, foreign)
            assert next(iter(other))[0] is None  # how long to wait before trying again
            assert other.take(1, "reset", "block")[0][0] == "reset"
            other.close()


def alarm_in(key, second=53, region="EMBC"):
    return JournalAlarm(*key, second, second, region, "tau", "up", ("HVTRIP",), 3.5, lasts=False)


def test_alarms_come_before_the_verdict_and_end_with_it(monitor, stream_features, tmp_path):
    with LiveServer(tmp_path / "out", LiveSettings(0)) as server:
        reader = EventReader(server, json_of(server, "/api/state")["cursor"])
        key = stream_features[0].key
        assert reader.take(1, "raised")[0][2] == []
        server.take_alarm(alarm_in(key))
        ((_, _, raised),) = reader.take(1, "raised")
        assert [(one["block"], one["second"], one["region"], one["kinds"]) for one in raised] == [(key[1], 53, "EMBC", ["HVTRIP"])]  # fmt: skip
        other = alarm_in(stream_features[1].key, region="EMECA")
        server.take_alarm(other)
        server.take_alarm(other)
        assert len(reader.take(1, "raised")[0][2]) == 2
        assert [one["second"] for one in json_of(server, "/api/state")["raised"]] == [53, 53]
        assert "tamis_monitor_raised_alarms 2\n" in ask(server, "/metrics")[1].decode()
        again = EventReader(server, json_of(server, "/api/state")["cursor"])  # a client that comes later
        assert len(again.take(1, "raised")[0][2]) == 2
        again.close()
        list(monitor.take(stream_features[0]))
        found = reader.take(2, "block", "raised")
        assert [kind for kind, *_ in found] == ["block", "raised"]
        assert [one["region"] for one in found[1][2]] == ["EMECA"]
        server.take_alarm(alarm_in(key))  # comes too late: the verdict has it
        list(monitor.take(stream_features[1]))
        assert reader.take(2, "block", "raised")[-1][2] == []
        reader.close()


def test_many_alarms_are_bounded(monitor, tmp_path):
    with LiveServer(tmp_path / "out", LiveSettings(0)) as server:
        for block in range(3 * RAISED_MOST):
            server.take_alarm(alarm_in((1, block)))
        eventually(lambda: any(one["block"] == 3 * RAISED_MOST - 1 for one in json_of(server, "/api/state")["raised"]))  # fmt: skip
        assert len(json_of(server, "/api/state")["raised"]) == RAISED_MOST


def test_the_evidence_of_a_block_has_its_alarms(live, judged):
    journal = Journal(judged)
    trip = next(one for one in journal.alarms() if one.kinds[0] == "HVTRIP")
    journal.close()
    told = json_of(live, f"/api/block?run={trip.run}&block={trip.block}")
    found = JournalAlarm(
        trip.run, trip.block, **told["alarms"][0] | {"kinds": tuple(told["alarms"][0]["kinds"])}
    )
    assert found.score == pytest.approx(trip.score)
    assert replace(found, score=trip.score) == trip
    state = json_of(live, "/api/state")["blocks"]
    place = state["block"].index(trip.block)
    assert state["alarms"][place] == told["alarms"]
    assert state["alarms"][place - 5] == []


def test_a_note_needs_the_token_and_a_name(live, judged):
    key = bad_blocks(judged)[0]
    for token in ("", "wrong-token-of-the-shift", TOKEN[:-1], TOKEN + "x"):
        assert post(live, note_on(key), token)[0] == 401
    for changes, status in (
        ({"person": "  "}, 400),
        ({"person": "x" * 81}, 400),
        ({"action": "delete"}, 400),
        ({"action": "good"}, 400),
        ({"text": "x" * 2001}, 400),
        ({"run": "1"}, 400),
        ({"run": True}, 400),
        ({"block": 10**30}, 400),
        ({"block": 99999}, 409),
    ):
        assert post(live, note_on(key, **changes))[0] == status, changes
    assert json_of(live, "/api/notes") == {"notes": []}
    assert post(live, note_on(key, text="seen\n\x00<b>", person=" A. Shifter "))[0] == 200
    assert post(live, note_on(key, action="good", text="a test of the clock"))[0] == 200
    journal = Journal(judged)
    notes = journal.notes(key)
    journal.close()
    assert [(one.person, one.action, one.text) for one in notes] == [("A. Shifter", "acknowledge", "seen <b>"), ("A. Shifter", "good", "a test of the clock")]  # fmt: skip


def test_without_a_token_nothing_can_be_written(judged):
    with LiveServer(judged, LiveSettings(0)) as server:
        assert json_of(server, "/api/state")["writable"] is False
        status, body = post(server, note_on(bad_blocks(judged)[0]))
        assert status == 403
        assert b"--live-token" in body


def test_requests_of_other_sites_are_rejected(live, judged):
    note = note_on(bad_blocks(judged)[0])
    assert ask(live, "/api/state", Host="evil.example")[0] == 421
    assert ask(live, "/api/state", Host="127.0.0.1.evil.example:80")[0] == 421
    assert ask(live, "/api/state", Host="[::1]:9000")[0] == 200
    assert post(live, note, Origin="http://evil.example")[0] == 403
    assert post(live, note, Sec_Fetch_Site="cross-site")[0] == 403
    assert post(live, note, Content_Type="text/plain")[0] == 415
    assert post(live, note, Origin=live.address.rstrip("/"), Sec_Fetch_Site="same-origin")[0] == 200
    status, _ = ask(live, "/api/notes", "OPTIONS", Origin="http://evil.example")
    assert status == 405


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", 431),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /api/block?run=1&block=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /?" + b"&".join(b"a=1" for _ in range(50)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localh", None),
        (b"", None),
    ],
)  # fmt: skip
def test_hostile_requests_get_a_clean_answer(live, sent, status):
    answer = raw(live, sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status if status else b"")
    assert b"Traceback" not in answer
    assert ask(live, "/")[0] == 200


def test_clients_that_send_nothing_make_room_for_others(live):
    host = urlsplit(live.address)
    idle = [socket.create_connection((host.hostname, host.port)) for _ in range(CONNECTIONS_MOST + 20)]
    try:
        for _ in range(5):
            assert ask(live, "/api/state")[0] == 200
    finally:
        for one in idle:
            one.close()


def test_a_client_that_reads_nothing_stops_neither_the_monitor_nor_others(monitor, stream_features, tmp_path):
    with LiveServer(tmp_path / "out", LiveSettings(0)) as server:
        cursor = json_of(server, "/api/state")["cursor"]
        slow = [EventReader(server, cursor, buffer=4096) for _ in range(5)]
        for block in stream_features:
            list(monitor.take(block))
        eventually(lambda: len(json_of(server, "/api/state")["blocks"]["run"]) == len(monitor.journal.keys()))
        assert len(monitor.journal.keys()) >= len(stream_features)
        for one in slow:
            one.close()


def test_the_page_forbids_what_it_does_not_need(live):
    connection = http.client.HTTPConnection(urlsplit(live.address).netloc, timeout=20)
    connection.request("GET", "/")
    answer = connection.getresponse()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = answer.read().decode()
    connection.close()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert ask(live, "/", "HEAD") == (200, b"")


def test_a_journal_of_an_earlier_version_is_shown(judged):
    base = sqlite3.connect(judged / "journal.sqlite")
    base.execute("DROP TABLE evidence")
    base.execute("DELETE FROM fact WHERE name IN ('watch', 'title')")
    base.commit()
    base.close()
    with LiveServer(judged, LiveSettings(0)) as server:
        state = json_of(server, "/api/state")
        assert "bad" in state["blocks"]["state"]
        assert state["regions"] == []
        run, block = bad_blocks(judged)[0]
        assert json_of(server, f"/api/block?run={run}&block={block}")["state"] == "bad"
        assert ask(server, "/metrics")[0] == 200


def test_a_token_file_is_private(tmp_path):
    path = tmp_path / "new" / "token"
    token = token_of(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_of(path) == token
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        token_of(path)
    path.chmod(0o600)
    for text in ("", "short", "two words-that-are-long-enough", "x" * 20 + "é"):
        path.write_text(text)
        with pytest.raises(UsageError, match="one token of at least 16"):
            token_of(path)


def test_an_address_that_cannot_be_used_is_named(live, judged):
    port = urlsplit(live.address).port
    with pytest.raises(UsageError, match=f"port {port}"):
        LiveServer(judged, LiveSettings(port))
    with pytest.raises(UsageError, match=r"cannot listen at 192\.0\.2\.1"):
        LiveServer(judged, LiveSettings(0, host="192.0.2.1"))


def test_closing_ends_connections(judged):
    server = LiveServer(judged, LiveSettings(0))
    reader = EventReader(server, json_of(server, "/api/state")["cursor"])
    start = time.monotonic()
    server.close()
    server.close()
    assert time.monotonic() - start < 5
    reader.take(10, "block")  # ends
    reader.close()
