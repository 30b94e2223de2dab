"""The load generator: sends requests when they are due and records the times of the responses, in one thread."""

from __future__ import annotations

import select
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from time import monotonic_ns

import numpy as np

from tamis.records import Scenario, Traffic
from tamis.serve.client.channel import CallError, Channel, ClientCall
from tamis.serve.client.inference import PATH
from tamis.serve.wire import Buffer
from tamis.serve.wire.sending import Http2Sender

SPIN_NS = 1_200_000  # shorter waits are busy, since poll() has a resolution of milliseconds
DRAIN_NS = 2_000_000_000  # wait for late responses at the end, beyond the timeout


@dataclass
class LoadOutcome:
    """The times of the answered requests, in the order of completion, and the number of failed ones."""

    scheduled_ns: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)
    done_ns: list[int] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    begin_ns: int = 0
    end_ns: int = 0


LoadOutcomes = Sequence[LoadOutcome]  # one per model


class _Timed(ClientCall):
    """A call that records when it ended."""

    __slots__ = ("done_ns", "finished", "model", "scheduled_ns", "sent_ns")

    finished: list[_Timed]
    model: int
    scheduled_ns: int
    sent_ns: int
    done_ns: int

    def on_end(self) -> None:
        """Record the time of the response."""
        super().on_end()
        self.done_ns = monotonic_ns()
        self.finished.append(self)

    def on_reset(self, code: int) -> None:
        """Record the time of the response."""
        if not self.done:
            super().on_reset(code)
            self.done_ns = monotonic_ns()
            self.finished.append(self)


class Driver:
    """Sends prepared requests over one or more connections."""

    def __init__(
        self,
        address: str,
        requests: Sequence[tuple[int, Sequence[Buffer]]],
        *,
        models: int = 1,
        connections: int = 1,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
    ) -> None:
        """Connect; `requests` are for `models` models in turn."""
        self._channels = [Channel(address, tls=tls, token=token) for _ in range(connections)]
        self._poll = select.poll()
        self._by_descriptor = {channel.fileno(): channel for channel in self._channels}
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.POLLIN)
        self._requests = list(requests)
        self._number = 0
        self._finished: list[_Timed] = []
        self._models = models
        self._in_flight = [0] * models

    def run(self, traffic: Traffic) -> list[LoadOutcome]:
        """Send the traffic and return the outcome per model; requests due during the warm-up are not counted."""
        begin = monotonic_ns()
        counted_ns = begin + round(traffic.warm_up_s * 1e9)
        end_ns = counted_ns + round(traffic.seconds * 1e9)
        outcomes = [LoadOutcome(begin_ns=counted_ns, end_ns=end_ns) for _ in range(self._models)]
        if traffic.scenario is Scenario.SERVER:
            self._open_loop(traffic, begin, outcomes)
        elif traffic.scenario is Scenario.MULTI_STREAM:
            self._in_rounds(traffic, outcomes)
        elif traffic.think_s:
            self._thinking(traffic, begin, outcomes)
        else:
            self._closed_loop(traffic, end_ns, outcomes)
        until = monotonic_ns() + round(traffic.timeout_s * 1e9) + DRAIN_NS
        while any(self._in_flight) and (now := monotonic_ns()) < until:
            self._read(until - now)
            self._record(outcomes)
        for outcome, in_flight in zip(outcomes, self._in_flight, strict=True):
            outcome.unanswered = in_flight
        return outcomes

    def _open_loop(self, traffic: Traffic, begin: int, outcomes: LoadOutcomes) -> None:
        assert traffic.rate_hz is not None  # noqa: S101 - validated by Traffic
        whole_s = traffic.warm_up_s + traffic.seconds
        for due in (poisson_arrivals_ns(traffic.rate_hz, whole_s, traffic.seed) + begin).tolist():
            while (now := monotonic_ns()) < due:
                self._read(due - now)
                self._record(outcomes)
            self._send(due, traffic)
            self._record(outcomes)

    def _closed_loop(self, traffic: Traffic, end_ns: int, outcomes: LoadOutcomes) -> None:
        for _ in range(traffic.streams):
            self._send(monotonic_ns(), traffic)
        while (now := monotonic_ns()) < end_ns:
            self._read(end_ns - now)
            for _ in range(self._record(outcomes)):
                self._send(monotonic_ns(), traffic)

    def _thinking(self, traffic: Traffic, begin: int, outcomes: LoadOutcomes) -> None:
        """Run clients that each work for a random time between a response and their next request."""
        rng, mean_ns = np.random.default_rng(traffic.seed), traffic.think_s * 1e9
        due = [begin + round(rng.exponential(mean_ns)) for _ in range(traffic.streams)]
        heapify(due)
        end_ns = outcomes[0].end_ns
        while (now := monotonic_ns()) < end_ns:
            if due and due[0] <= now:
                self._send(heappop(due), traffic)
                self._read(0)
            else:
                self._read(min(due[0] if due else end_ns, end_ns) - now)
            for exchange in self._finished:
                heappush(due, exchange.done_ns + round(rng.exponential(mean_ns)))
            self._record(outcomes)

    def _in_rounds(self, traffic: Traffic, outcomes: LoadOutcomes) -> None:
        (outcome,) = outcomes  # only one model in this scenario
        while monotonic_ns() < outcome.end_ns:
            begin = monotonic_ns()
            for _ in range(traffic.streams):
                self._send(begin, traffic)
            last, failed = begin, False
            while any(self._in_flight):
                self._read(round(traffic.timeout_s * 1e9))
                for exchange in self._finished:
                    last = max(last, exchange.done_ns)
                    failed = failed or exchange.failure is not None
                    if exchange.failure is not None:
                        self._record_failure(exchange, outcome)
                self._in_flight[0] -= len(self._finished)
                self._finished.clear()
            if not failed and begin >= outcome.begin_ns:
                outcome.scheduled_ns.append(begin)
                outcome.sent_ns.append(begin)
                outcome.done_ns.append(last)

    def _send(self, scheduled_ns: int, traffic: Traffic) -> None:
        number, self._number = self._number, self._number + 1
        channel = self._channels[number % len(self._channels)]
        place = number % len(self._requests)
        size, pieces = self._requests[place]
        model = place % self._models

        def make(connection: Http2Sender, stream_id: int) -> _Timed:
            exchange = _Timed(connection, stream_id)
            exchange.finished = self._finished
            exchange.model = model
            exchange.scheduled_ns = scheduled_ns
            exchange.sent_ns = monotonic_ns()
            return exchange

        self._in_flight[model] += 1
        channel.begin(PATH, size, pieces, timeout_ns=round(traffic.timeout_s * 1e9), make=make)

    def _read(self, most_ns: int) -> None:
        """Wait for responses for at most `most_ns`, and read those that have arrived."""
        wait_ms = 0 if most_ns < SPIN_NS else (most_ns - SPIN_NS) // 1_000_000 + 1
        for descriptor, _ in self._poll.poll(wait_ms):
            self._by_descriptor[descriptor].read()

    def _record(self, outcomes: LoadOutcomes) -> int:
        """Record the finished requests; return their number."""
        finished = self._finished
        for exchange in finished:
            outcome = outcomes[exchange.model]
            self._in_flight[exchange.model] -= 1
            if exchange.failure is not None:
                self._record_failure(exchange, outcome)
            elif outcome.begin_ns <= exchange.scheduled_ns < outcome.end_ns:
                outcome.scheduled_ns.append(exchange.scheduled_ns)
                outcome.sent_ns.append(exchange.sent_ns)
                outcome.done_ns.append(exchange.done_ns)
        count = len(finished)
        finished.clear()
        return count

    def _record_failure(self, exchange: ClientCall, outcome: LoadOutcome) -> None:
        reason = str(exchange.failure)
        outcome.errors[reason] = outcome.errors.get(reason, 0) + 1
        if any(channel.closed for channel in self._channels):
            raise exchange.failure or CallError

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            channel.close()


def poisson_arrivals_ns(rate_hz: float, seconds: float, seed: int) -> np.ndarray:
    """Return the arrival times of a Poisson process, in nanoseconds since the start."""
    rng = np.random.default_rng(seed)
    expected = rate_hz * seconds
    gaps = rng.exponential(1e9 / rate_hz, int(expected + 10 * expected**0.5 + 50))
    times = np.cumsum(gaps)
    return times[times < seconds * 1e9].astype(np.int64)
