"""A simulated server: one event loop that reads, batches and responds, and model instances that compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from tamis.farm.clock import Clock
from tamis.farm.settings import ServerSpec

ROUNDING_S = 1e-9  # a timer may fire this much early through rounding
Process = Generator[Any, Any, None]


@dataclass(slots=True, eq=False)
class SimulatedRequest:
    """A request, with the times of its stages in simulated seconds."""

    due_s: float
    rows: int
    sent_s: float = 0.0
    arrived_s: float = 0.0
    queued_s: float = 0.0
    began_s: float = 0.0
    computed_s: float = 0.0
    done_s: float = 0.0
    flight_s: float = 0.0
    tries: int = 0
    fell_back: bool = False
    answer: Any = None  # the simpy event that its client waits for
    counted: bool = field(default=False)


class RunningServer:
    """A running server in the simulation."""

    def __init__(
        self,
        environment: Any,
        spec: ServerSpec,
        clock: Clock,
        answer: Callable[[SimulatedRequest, float], None],
    ) -> None:
        """Start idle; `answer(request, delay_s)` sends a response after a delay."""
        self._env, self._spec, self._clock, self._answer = environment, spec, clock.fresh(), answer
        self._inbox: deque[SimulatedRequest] = deque()
        self._queue: deque[SimulatedRequest] = deque()
        self._finished: deque[list[SimulatedRequest]] = deque()
        self._held: set[SimulatedRequest] = set()  # until the response is sent
        self._free = spec.instances
        self._wake: Any = None
        self._timer_s = float("inf")
        self.alive = True
        self.busy_s = self.loop_s = 0.0
        self.batches = self.rows = 0
        environment.process(self._run())

    def take(self, request: SimulatedRequest) -> bool:
        """Accept a request; return False if the server is full."""
        if len(self._held) >= self._spec.waiting_most:
            return False
        request.arrived_s = self._env.now
        self._held.add(request)
        self._inbox.append(request)
        self._wake_up()
        return True

    def die(self) -> list[SimulatedRequest]:
        """Stop at once; return the requests that will never be answered."""
        self.alive = False
        lost, self._held = list(self._held), set()
        self._wake_up()
        return lost

    def _wake_up(self) -> None:
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.succeed()

    def _run(self) -> Process:
        while self.alive:
            while self._finished:
                yield from self._hand_back(self._finished.popleft())
                self._free += 1
                yield from self._dispatch()
            if self._inbox:
                arrived, self._inbox = self._inbox, deque()
                if self._spec.in_s > 0:  # the event loop reads them
                    took = self._clock.takes(self._spec.in_s * len(arrived))
                    self.loop_s += took
                    yield self._env.timeout(took)
                for request in arrived:
                    request.queued_s = self._env.now
                self._queue.extend(arrived)
            yield from self._dispatch()
            if not self._inbox and not self._finished and self.alive:
                self._wake = self._env.event()
                yield self._wake

    def _dispatch(self) -> Process:
        spec = self._spec
        while self._free and self._queue and self.alive:
            taken = self._together()
            if not taken:
                return
            batch = [self._queue.popleft() for _ in range(taken)]
            rows = sum([request.rows for request in batch])
            seconds = spec.service.at(rows)
            begin = self._env.now
            took = self._clock.takes(seconds)
            self.busy_s += took
            self.batches, self.rows = self.batches + 1, self.rows + rows
            for request in batch:
                request.began_s, request.computed_s = begin, begin + took
            if spec.instances == 1 and seconds <= spec.quick_s:
                yield self._env.timeout(took)
                yield from self._hand_back(batch)
            else:
                self._free -= 1
                self._env.timeout(took, batch).callbacks.append(self._finish)

    def _together(self) -> int:
        queue, policy = self._queue, self._spec.policy
        if policy.delay_s is None:
            return 1
        ahead = [queue[i] for i in range(min(len(queue), policy.rows_most + 1))]
        taken, until = policy.choose(
            [request.rows for request in ahead],
            [request.queued_s for request in ahead],
            self._env.now + ROUNDING_S,
        )
        if not taken and not self._env.now < self._timer_s <= until:
            self._timer_s = until
            self._env.timeout(max(0.0, until - self._env.now)).callbacks.append(self._on_timer)
        return taken

    def _on_timer(self, _: Any) -> None:
        self._wake_up()

    def _finish(self, event: Any) -> None:
        self._finished.append(event.value)
        self._wake_up()

    def _hand_back(self, batch: list[SimulatedRequest]) -> Process:
        """Send the responses of a batch one after another."""
        if not self.alive:
            return
        whole = self._clock.takes(self._spec.out_s * len(batch))
        for place, request in enumerate(batch, start=1):
            self._held.discard(request)
            self._answer(request, whole * place / len(batch))
        if whole > 0:
            self.loop_s += whole
            yield self._env.timeout(whole)
