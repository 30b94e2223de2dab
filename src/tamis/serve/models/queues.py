"""The queue of one model: requests by priority, expired ones taken out, and the next batch chosen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from tamis.serve.batching import Batching, choose_batch, rows_worth_copying, wait_limit
from tamis.serve.models.model import ModelSpec
from tamis.serve.models.tickets import Ticket
from tamis.serve.protocol.messages import Fault, Refusal

MAX_WAITING = 4096  # requests of one priority, where the model's configuration sets no limit
_UNBATCHED = Batching()


class RequestQueue:
    """The waiting requests of one model; `expire` is called with each one that expired or was cancelled."""

    def __init__(self, spec: ModelSpec, expire: Callable[[Ticket], None]) -> None:
        """Start empty."""
        self.batching = spec.batching or _UNBATCHED
        self.count = 0
        self._name, self._expire = spec.name, expire
        self._merges = spec.batching is not None and spec.max_batch > 0
        self._max_rows = self.batching.max_merged_rows or spec.max_batch
        self._copying_counts = not (
            self.batching.delay_ns or self.batching.preserve_order or self.batching.preferred
        )
        self._limits = [policy.max_requests or MAX_WAITING for policy in self.batching.priorities]
        self._fresh: list[deque[Ticket]] = [deque() for _ in self.batching.priorities]
        self._late: list[deque[Ticket]] = [deque() for _ in self.batching.priorities]
        self._retries: deque[Ticket] = deque()  # of a batch that failed: each runs alone now
        self._by_priority = list(zip(self._fresh, self._late, self.batching.priorities, strict=True))
        # Late requests run after the others of their priority and before the next priority.
        self._in_order = [self._retries, *(queue for pair in self._by_priority for queue in pair[:2])]

    def append(self, ticket: Ticket, now_ns: int) -> None:
        """Add a request; raise Refusal where the queue is full."""
        prepared = ticket.prepared
        index = prepared.priority
        queue = self._fresh[index]
        if len(queue) >= self._limits[index] or self._late[index]:
            self._check_room(index, now_ns)
        since_ns = ticket.queued_ns = (
            ticket.queued_ns or now_ns
        )  # a step of a sequence may have waited before
        expires_ns = ticket.deadline_ns
        if prepared.timeout_ns and (expires_ns is None or since_ns + prepared.timeout_ns < expires_ns):
            expires_ns = since_ns + prepared.timeout_ns
        ticket.expires_ns = expires_ns
        delay_ns = self.batching.delay_ns
        ticket.wait_until_ns = wait_limit(now_ns, delay_ns, expires_ns) if delay_ns else now_ns
        queue.append(ticket)
        self.count += 1

    def _check_room(self, index: int, now_ns: int) -> None:
        queue, late, limit = self._fresh[index], self._late[index], self._limits[index]
        if len(queue) + len(late) >= limit:
            self.drop_expired(now_ns)
            if len(queue) + len(late) >= limit:
                raise Refusal(
                    Fault.UNAVAILABLE,
                    f"too many requests wait for the model {self._name!r}: {len(queue) + len(late)}",
                )

    def retry(self, batch: list[Ticket]) -> None:
        """Let each request of a failed batch run alone, before all others."""
        self._retries.extend(batch)
        self.count += len(batch)

    def pop_single(self, now_ns: int, max_rows: int) -> Ticket | None:
        """Take out the only waiting request, if there is exactly one, of at most `max_rows` rows, and it is not dead."""
        if self.count == 1:
            queue = self._first_queue()
            if queue[0].prepared.rows <= max_rows and not queue[0].is_dead(now_ns):
                self.count = 0
                return queue.popleft()
        return None

    def pop_batch(self, now_ns: int, *, may_wait: bool) -> tuple[list[Ticket], float]:
        """Take out the requests to run together now; if there are none, return when to ask again, in ns."""
        self.drop_expired(now_ns)
        if not self.count:
            return [], float("inf")
        queue = self._first_queue()
        size, until_ns = 1, float("inf")
        if self._merges and queue is not self._retries:
            limit = self._max_rows
            if self._copying_counts and len(queue) > 1:
                first = queue[0]
                nbytes = sum([one.nbytes for one in first.arrays if one is not None])
                limit = min(limit, rows_worth_copying(first.prepared.rows, nbytes))
            size, until_ns = choose_batch(
                _candidates(queue, now_ns),
                len(queue),
                now_ns if may_wait else float("inf"),
                max_rows=limit,
                preferred=self.batching.preferred,
            )
        self.count -= size
        return [queue.popleft() for _ in range(size)], until_ns

    def _first_queue(self) -> deque[Ticket]:
        return next(filter(None, self._in_order))

    def drop_expired(self, now_ns: int) -> None:
        """Take dead requests from the heads of the queues; those that may be delayed instead go to the end."""
        for queue, late, policy in self._by_priority:
            while queue and queue[0].is_dead(now_ns):
                ticket = queue.popleft()
                deadline_ns = ticket.deadline_ns
                if (
                    policy.delay_expired
                    and not ticket.is_cancelled()
                    and (deadline_ns is None or now_ns < deadline_ns)
                ):
                    ticket.expires_ns = deadline_ns
                    ticket.wait_until_ns = wait_limit(ticket.queued_ns, self.batching.delay_ns, deadline_ns)
                    late.append(ticket)
                else:
                    self._drop(ticket)
            while late and late[0].is_dead(now_ns):
                self._drop(late.popleft())
        while self._retries and self._retries[0].is_dead(now_ns):
            self._drop(self._retries.popleft())

    def _drop(self, ticket: Ticket) -> None:
        self.count -= 1
        self._expire(ticket)

    def sweep(self, now_ns: int) -> int | None:
        """Drop every dead request, not only at the heads; return when the next one expires, in ns."""
        for queue in self._in_order:
            dead = [ticket for ticket in queue if ticket.is_dead(now_ns)]
            if dead:
                alive = [ticket for ticket in queue if not ticket.is_dead(now_ns)]
                queue.clear()
                queue.extend(dead)  # first, where `drop_expired` finds them
                self.drop_expired(now_ns)
                queue.extend(alive)
        expiries = [
            ticket.expires_ns for queue in self._in_order for ticket in queue if ticket.expires_ns is not None
        ]
        return min(expiries, default=None)


def _candidates(queue: deque[Ticket], now_ns: int) -> Iterator[tuple[int, float]]:
    """Yield rows and wait limit of the leading requests that can run with the first one."""
    first = queue[0].prepared
    for ticket in queue:
        prepared = ticket.prepared
        if (prepared is not first and prepared.shapes != first.shapes) or ticket.is_dead(now_ns):
            return
        yield prepared.rows, ticket.wait_until_ns
