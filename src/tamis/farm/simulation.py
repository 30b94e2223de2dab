"""The farm in simulated time: discrete events, by simpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tamis._base import require
from tamis.farm.outcome import SimulationResult, summarise
from tamis.farm.server import Process, RunningServer, SimulatedRequest
from tamis.farm.settings import Closed, Farm, Open
from tamis.serve.client.servers import REST_FIRST_S, REST_MOST_S

SHARE_OF_WARM_UP = 0.1


def simulate(
    farm: Farm,
    *,
    requests: int = 20_000,
    seed: int = 1,
    warm_up: float = SHARE_OF_WARM_UP,
    advance: Callable[[int], None] = lambda _: None,
) -> SimulationResult:
    """Let so many requests be answered; the first of them, a share of `warm_up`, are not counted."""
    simpy = require("simpy", extra="farm", purpose="simulating a farm")
    running = _Running(farm, simpy.Environment(), np.random.default_rng(seed), advance)
    running.run(requests)
    done = running.done[:requests]
    return summarise(
        farm,
        done,
        round(warm_up * requests),
        running.servers,
        retried=running.retried,
        lost=running.begun - len(running.done),
    )


class _Client:
    """Whom a client believes to be dead, and whose turn it is."""

    __slots__ = ("failures", "resting", "turn")

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.resting: dict[int, float] = {}
        self.failures: dict[int, int] = {}

    def failed(self, number: int, now_s: float) -> None:
        """Leave a server alone, the longer the more often it failed."""
        self.failures[number] = failures = self.failures.get(number, 0) + 1
        self.resting[number] = now_s + min(REST_MOST_S, REST_FIRST_S * 2 ** (failures - 1))


class _Running:
    """A simulation under way."""

    def __init__(
        self, farm: Farm, environment: Any, rng: np.random.Generator, advance: Callable[[int], None]
    ) -> None:
        self.farm, self.env, self._rng, self._advance = farm, environment, rng, advance
        clocks = farm.clocks
        self.servers = [
            RunningServer(environment, farm.server, clocks[i % len(clocks)], self._send_back)
            for i in range(farm.servers)
        ]
        self._line_free = [0.0] * farm.servers
        self._dead: set[int] = set()
        self.done: list[SimulatedRequest] = []
        self.begun = self.retried = 0
        self._wanted = 0
        if farm.death is not None:
            environment.timeout(farm.death.at_s).callbacks.append(self._die)

    def run(self, requests: int) -> None:
        self._wanted = requests
        load = self.farm.load
        if isinstance(load, Open):
            self.env.process(self._arrivals(load))
        else:
            for number in range(load.clients):
                self.env.process(self._client(load, number))
        self.env.run()  # until nothing happens any more: what has no answer by then will never have one

    def _arrivals(self, load: Open) -> Process:
        clients = [
            _Client(int(self._rng.integers(self.farm.servers))) for i in range(load.clients)
        ]  # each where it happens to be
        for _ in range(self._wanted):
            yield self.env.timeout(self._rng.exponential(1.0 / load.rate_hz))
            client = clients[int(self._rng.integers(len(clients)))]
            self.env.process(self._call(SimulatedRequest(self.env.now, self.farm.rows), client))

    def _client(self, load: Closed, number: int) -> Process:
        client = _Client(number % self.farm.servers)
        fixed = load.think == "fixed"
        if fixed:  # all beginning together would be a queue that nobody has
            yield self.env.timeout(self._rng.random() * load.think_s)
        while len(self.done) < self._wanted:
            if load.think_s:
                yield self.env.timeout(load.think_s if fixed else self._rng.exponential(load.think_s))
            yield from self._call(SimulatedRequest(self.env.now, self.farm.rows), client)

    def _call(self, request: SimulatedRequest, client: _Client) -> Process:
        """Ask servers in turn, and at last do it locally."""
        farm = self.farm
        self.begun += 1
        flights = farm.network.flight_s
        request.flight_s = flights[int(self._rng.integers(len(flights)))] if len(flights) > 1 else flights[0]
        for number in self._in_turn(client):
            request.tries += 1
            request.sent_s, request.answer = self.env.now, self.env.event()
            self._send(request, number)
            if (yield request.answer):
                break
            self.retried += 1
            client.failed(number, self.env.now)
        else:
            request.fell_back = True
            request.began_s = request.arrived_s = self.env.now
            yield self.env.timeout(farm.patience.fallback_s)
            request.computed_s = self.env.now
        request.done_s = self.env.now
        self._end(request)

    def _in_turn(self, client: _Client) -> Iterator[int]:
        """Return the servers that a client believes in, beginning with another one each time."""
        awake: Sequence[int] = range(self.farm.servers)
        if client.resting:
            now = self.env.now
            awake = [i for i in awake if client.resting.get(i, now) <= now]
        if awake:
            client.turn += 1
            first = client.turn % len(awake)
            yield from (awake[(first + i) % len(awake)] for i in range(len(awake)))

    def _end(self, request: SimulatedRequest) -> None:
        self.done.append(request)
        if not len(self.done) % 1000:
            self._advance(1000)

    def _send(self, request: SimulatedRequest, number: int) -> None:
        """Let a request travel: over the line that all share, one after the other, then on its own."""
        network, now = self.farm.network, self.env.now
        on_line = network.request_bytes / network.bytes_per_s
        self._line_free[number] = max(self._line_free[number], now) + on_line
        delay = self._line_free[number] - now + network.travel_s + request.flight_s / 2
        self.env.timeout(delay, (request, number)).callbacks.append(self._arrive)

    def _arrive(self, event: Any) -> None:
        request, number = event.value
        if number in self._dead:
            self._fail(request)
        elif not self.servers[number].take(request):
            self.env.timeout(self.farm.network.travel_s, (request, False)).callbacks.append(_tell)

    def _send_back(self, request: SimulatedRequest, after_s: float) -> None:
        delay = after_s + self.farm.network.travel_s + request.flight_s / 2
        self.env.timeout(delay, (request, True)).callbacks.append(_tell)

    def _die(self, _: Any) -> None:
        assert self.farm.death is not None  # noqa: S101 - or nobody would have called
        number = self.farm.death.server
        self._dead.add(number)
        for request in self.servers[number].die():
            self._fail(request)

    def _fail(self, request: SimulatedRequest) -> None:
        """Let a client notice that its server has ended: its connection is cut, or its patience ends."""
        farm = self.farm
        assert farm.death is not None  # noqa: S101 - nobody else fails
        delay = farm.network.travel_s
        if farm.death.silent:
            delay = max(0.0, request.sent_s + farm.patience.timeout_s - self.env.now)
        self.env.timeout(delay, (request, False)).callbacks.append(_tell)


def _tell(event: Any) -> None:
    request, answered = event.value
    request.answer.succeed(answered)
