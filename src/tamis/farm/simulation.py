"""Discrete-event simulation of a farm, with simpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tamis._base import require
from tamis.farm.outcome import SimulationResult, summarise
from tamis.farm.server import Process, RunningServer, SimulatedRequest
from tamis.farm.settings import Closed, Farm, Open
from tamis.serve.client.servers import REST_FIRST_S, REST_MOST_S

WARM_UP_FRACTION = 0.1


def simulate(
    farm: Farm,
    *,
    requests: int = 20_000,
    seed: int = 1,
    warm_up: float = WARM_UP_FRACTION,
    advance: Callable[[int], None] = lambda _: None,
) -> SimulationResult:
    """Simulate until `requests` are answered; the first ones, a fraction `warm_up`, are not counted."""
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
    """The state of a client: which servers it avoids after failures, and which one is next."""

    __slots__ = ("failures", "resting", "turn")

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.resting: dict[int, float] = {}
        self.failures: dict[int, int] = {}

    def failed(self, number: int, now_s: float) -> None:
        """Avoid a server for a time that doubles with each failure."""
        self.failures[number] = failures = self.failures.get(number, 0) + 1
        self.resting[number] = now_s + min(REST_MOST_S, REST_FIRST_S * 2 ** (failures - 1))


class _Running:
    """The state of a running simulation."""

    def __init__(
        self, farm: Farm, environment: Any, rng: np.random.Generator, advance: Callable[[int], None]
    ) -> None:
        self.farm, self.env, self._rng, self._advance = farm, environment, rng, advance
        clocks = farm.clocks
        self.servers = [
            RunningServer(environment, farm.server, clocks[i % len(clocks)], self._send_back)
            for i in range(farm.servers)
        ]
        self._link_free = [0.0] * farm.servers
        self._dead: set[int] = set()
        self.done: list[SimulatedRequest] = []
        self.begun = self.retried = 0
        self._requests = 0
        if farm.death is not None:
            environment.timeout(farm.death.at_s).callbacks.append(self._die)

    def run(self, requests: int) -> None:
        self._requests = requests
        load = self.farm.load
        if isinstance(load, Open):
            self.env.process(self._arrivals(load))
        else:
            for number in range(load.clients):
                self.env.process(self._client(load, number))
        self.env.run()  # until no event is left: requests without a response by then are lost

    def _arrivals(self, load: Open) -> Process:
        clients = [_Client(int(self._rng.integers(self.farm.servers))) for _ in range(load.clients)]
        for _ in range(self._requests):
            yield self.env.timeout(self._rng.exponential(1.0 / load.rate_hz))
            client = clients[int(self._rng.integers(len(clients)))]
            self.env.process(self._call(SimulatedRequest(self.env.now, self.farm.rows), client))

    def _client(self, load: Closed, number: int) -> Process:
        client = _Client(number % self.farm.servers)
        fixed = load.think == "fixed"
        if fixed:  # spread the starts, or all clients would stay in step and queue
            yield self.env.timeout(self._rng.random() * load.think_s)
        while len(self.done) < self._requests:
            if load.think_s:
                yield self.env.timeout(load.think_s if fixed else self._rng.exponential(load.think_s))
            yield from self._call(SimulatedRequest(self.env.now, self.farm.rows), client)

    def _call(self, request: SimulatedRequest, client: _Client) -> Process:
        """Try the servers in turn, then compute on the client."""
        network = self.farm.network
        self.begun += 1
        flights = network.flight_s
        request.flight_s = flights[int(self._rng.integers(len(flights)))] if len(flights) > 1 else flights[0]
        for number in self._in_turn(client):
            request.tries += 1
            request.sent_s, request.answer = self.env.now, self.env.event()
            # first through the shared link, queued behind earlier requests, then with its own delay
            on_link = network.request_bytes / network.bytes_per_s
            self._link_free[number] = max(self._link_free[number], self.env.now) + on_link
            delay = self._link_free[number] - self.env.now + network.travel_s + request.flight_s / 2
            self.env.timeout(delay, (request, number)).callbacks.append(self._arrive)
            if (yield request.answer):
                break
            self.retried += 1
            client.failed(number, self.env.now)
        else:
            request.fell_back = True
            request.began_s = request.arrived_s = self.env.now
            yield self.env.timeout(self.farm.patience.fallback_s)
            request.computed_s = self.env.now
        request.done_s = self.env.now
        self.done.append(request)
        if not len(self.done) % 1000:
            self._advance(1000)

    def _in_turn(self, client: _Client) -> Iterator[int]:
        """Yield the servers that a client does not avoid, starting with the next one each time."""
        awake: Sequence[int] = range(self.farm.servers)
        if client.resting:
            now = self.env.now
            awake = [i for i in awake if client.resting.get(i, now) <= now]
        if awake:
            client.turn += 1
            first = client.turn % len(awake)
            yield from (awake[(first + i) % len(awake)] for i in range(len(awake)))

    def _arrive(self, event: Any) -> None:
        request, number = event.value
        if number in self._dead:
            self._fail(request)
        elif not self.servers[number].take(request):
            self.env.timeout(self.farm.network.travel_s, (request, False)).callbacks.append(_complete)

    def _send_back(self, request: SimulatedRequest, after_s: float) -> None:
        delay = after_s + self.farm.network.travel_s + request.flight_s / 2
        self.env.timeout(delay, (request, True)).callbacks.append(_complete)

    def _die(self, _: Any) -> None:
        assert self.farm.death is not None  # noqa: S101 - scheduled only with a death
        number = self.farm.death.server
        self._dead.add(number)
        for request in self.servers[number].die():
            self._fail(request)

    def _fail(self, request: SimulatedRequest) -> None:
        """Tell a client that its server is dead: by a closed connection, or, if it died silently, by the timeout."""
        farm = self.farm
        assert farm.death is not None  # noqa: S101 - only dead servers fail
        delay = farm.network.travel_s
        if farm.death.silent:
            delay = max(0.0, request.sent_s + farm.patience.timeout_s - self.env.now)
        self.env.timeout(delay, (request, False)).callbacks.append(_complete)


def _complete(event: Any) -> None:
    request, answered = event.value
    request.answer.succeed(answered)
