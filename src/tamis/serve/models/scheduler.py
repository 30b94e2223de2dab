"""Who runs when, and with whom: the queue of one model.

All of it happens in the thread of the event loop; a model that takes long runs in a thread of its own. Requests that are
waiting are done together where the model's batching allows, rows of one request beside those of another and handed back by
their places. What has expired, or was cancelled, is never computed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic_ns

import numpy as np

from tamis.serve.models.model import FAILURES, QUICK_NS, Batching, Model, Run
from tamis.serve.models.statistics import Statistics
from tamis.serve.models.tickets import AskingTicket, Ticket
from tamis.serve.protocol.messages import Asking, Fault, Refusal
from tamis.serve.request_log import RequestLog

QUICK_ROWS_FIRST = 64
WAITING_MOST = 4096  # requests of one model, where it does not say itself
SWEEP_NS = 5_000_000  # at least so long between two looks through all that waits
COPIED_MOST = 1 << 20  # bytes of inputs of one batch, where a model's batching wants nothing in particular
_ALONE = Batching()


@dataclass(slots=True)
class _Batch:
    """A batch that runs, and what came of it, until those before it are answered."""

    waiting: list[Ticket]
    done: tuple[Sequence[np.ndarray] | Exception, tuple[int, int, int]] | None = None


class Scheduler:
    """The queue of a model, and its instances."""

    def __init__(
        self,
        model: Model,
        loop: asyncio.AbstractEventLoop,
        statistics: Statistics,
        log: RequestLog | None = None,
    ) -> None:
        """Begin with nothing to do."""
        self._log = log
        self.model, self.spec, self.statistics, self._loop = model, model.spec, statistics, loop
        self.batching = model.spec.batching or _ALONE
        self._levels: list[deque[Ticket]] = [deque() for _ in self.batching.levels]
        self._late: list[deque[Ticket]] = [deque() for _ in self._levels]
        self._again: deque[Ticket] = deque()  # of a batch that failed: each by itself now
        pairs = list(zip(self._levels, self._late, strict=True))
        # Served in this order: what waited too long comes behind its own level, and before the next.
        self._queues = [self._again, *(queue for pair in pairs for queue in pair)]
        self._by_level = [(*pair, rules) for pair, rules in zip(pairs, self.batching.levels, strict=True)]
        self._merged_most = self.batching.merged_most or model.spec.max_batch
        self._most = [level.most or WAITING_MOST for level in self.batching.levels]
        self._batches: deque[_Batch] = deque()  # that run, in their order, where answers have to keep it
        self._count = 0
        self._first: Ticket | None = None  # what was taken while nothing else waited
        self._free = list(range(len(model.instances)))
        self._quick_rows = (
            QUICK_ROWS_FIRST if model.quick else 0
        )  # so many at most are done in the loop's thread
        self._threads: list[_Thread | None] = [None] * len(model.instances)
        self._may_be_alone = not self.batching.delay_ns and not self.batching.keeps_order
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_ns = 0
        self._closed = False
        self.running = 0
        self.on_idle: Callable[[], None] | None = None

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return self._count

    def submit(self, asking: Asking) -> None:
        """Take a request, or refuse it at once."""
        self.take(AskingTicket(asking, self.spec, self.batching))

    def take(self, ticket: Ticket) -> None:
        """Take a request that was checked, or refuse it at once."""
        prepared = ticket.prepared
        if self._closed:
            raise Refusal(Fault.UNAVAILABLE, f"the model {self.spec.name!r} is being unloaded")
        queue = self._levels[prepared.level]
        if len(queue) >= self._most[prepared.level] or self._late[prepared.level]:
            self._refuse_if_full(prepared.level)
        now = ticket.since_ns = monotonic_ns()
        ticket.until_ns = ticket.own_ns
        if prepared.limit_ns:
            until = now + prepared.limit_ns
            ticket.until_ns = until if ticket.own_ns is None else min(until, ticket.own_ns)
        queue.append(ticket)
        self._first = None if self._count else ticket
        self._count += 1
        if ticket.until_ns is not None and not self._free:
            self._look_after(ticket.until_ns)
        self._soon()

    def take_now(self, ticket: Ticket) -> None:
        """Take a request whose sender waits for it; where nothing else is to be done, it is done before this returns."""
        now = ticket.since_ns = monotonic_ns()
        over = ticket.own_ns is not None and now >= ticket.own_ns
        if self._count or self._closed or over or not self._is_lone(ticket):
            self.take(ticket)
        else:
            self._do_alone(ticket, now)

    def _is_lone(self, ticket: Ticket) -> bool:
        """Tell whether a request that nothing else waits with is best done at once, in the loop's thread."""
        return bool(
            self._may_be_alone and self._free and not self._again and ticket.prepared.rows <= self._quick_rows
        )

    def _do_alone(self, ticket: Ticket, begin: int) -> None:
        """Do what is done for any batch, with less ado."""
        try:
            outputs = self.model.instances[self._free[-1]](ticket.arrays)
        except FAILURES as error:
            self._fail([ticket], f"the model {self.spec.name!r} failed: {error}")
            return
        done, rows = monotonic_ns(), ticket.prepared.rows
        ticket.hear(outputs)
        end = monotonic_ns()
        self.statistics.lone(
            end - ticket.since_ns, rows if self.spec.max_batch else 1, 0, done - begin, end - done
        )
        if done - begin > QUICK_NS or rows == self._quick_rows:
            self._learn(rows, done - begin)
        if self._log is not None:
            self._note([ticket], done - begin, end)

    def _note(self, batch: list[Ticket], computed_ns: int, now: int) -> None:
        for one in batch:
            waited_ns = now - one.since_ns - computed_ns
            assert self._log is not None  # noqa: S101 - as the callers know
            self._log.answered(
                one.request_id,
                self.spec.name,
                self.spec.version,
                one.prepared.rows,
                max(0, waited_ns),
                computed_ns,
            )

    def _refuse(self, ticket: Ticket, refusal: Refusal) -> None:
        if self._log is not None:
            self._log.refused(ticket.request_id, self.spec.name, str(refusal))
        ticket.refuse(refusal)

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._dispatch)

    def _refuse_if_full(self, level: int) -> None:
        queue, late, most = self._levels[level], self._late[level], self._most[level]
        if len(queue) + len(late) >= most:
            self._drop_expired()  # what nobody waits for any more takes nobody's place
        if len(queue) + len(late) >= most:
            raise Refusal(
                Fault.UNAVAILABLE,
                f"too many requests wait for the model {self.spec.name!r}: {len(queue) + len(late)}",
            )

    def _dispatch(self) -> None:
        self._due = False
        first = self._first
        if first is not None and self._count == 1 and self._is_lone(first):
            queue, now = self._levels[first.prepared.level], monotonic_ns()
            if queue and queue[0] is first and not first.is_over(now):
                self._count, self._first = 0, None
                self._do_alone(queue.popleft(), now)
        while self._free and self._count:
            batch = self._take()
            if not batch:
                break
            instance = self._free.pop()
            self.running += 1
            if self.batching.keeps_order:
                self._batches.append(_Batch(batch))
            run = self.model.instances[instance]
            if self._is_quick(batch):
                outputs, times = _run(run, batch)
                self._learn(sum([one.prepared.rows for one in batch]), times[2])
                self._finish(instance, batch, outputs, times)
            else:
                thread = self._threads[instance]
                if thread is None:
                    thread = self._threads[instance] = _Thread(run)
                thread.work.put((batch, instance, self._hear))
        if self.on_idle is not None and not self._count and not self.running:
            on_idle, self.on_idle = self.on_idle, None
            on_idle()

    def _is_quick(self, batch: list[Ticket]) -> bool:
        return sum([one.prepared.rows for one in batch]) <= self._quick_rows

    def _learn(self, rows: int, elapsed_ns: int) -> None:
        """Note how many rows are quick: others wait while the loop's thread computes."""
        if elapsed_ns > QUICK_NS and rows > 1:
            self._quick_rows = min(self._quick_rows, max(1, rows // 2))
        elif elapsed_ns < QUICK_NS // 4 and rows >= self._quick_rows:
            self._quick_rows = 2 * rows

    def _hear(self, *done: object) -> None:
        """Take a result in the thread of the loop."""
        self._loop.call_soon_threadsafe(self._finish_and_go_on, done)

    def _finish_and_go_on(self, done: tuple[object, ...]) -> None:
        self._finish(*done)  # type: ignore[arg-type] # as `_Thread` gives them
        self._dispatch()

    def _take(self) -> list[Ticket]:
        """Return the next requests to be done together, or none where the first may wait for more."""
        now = monotonic_ns()
        self._drop_expired(now)
        for queue in self._queues:
            if queue:
                break
        else:
            return []
        taken = 1
        if self.spec.batching is not None and self.spec.max_batch and queue is not self._again:
            taken = self._together(queue, now)
        self._count -= taken
        return [queue.popleft() for _ in range(taken)]

    def _together(self, queue: deque[Ticket], now: int) -> int:
        """Return how many of a queue are done together now; 0 where the first may wait for more."""
        first, most, preferred = queue[0], self._merged_most, self.batching.preferred
        if self._may_be_alone and not preferred and len(queue) > 1:
            most = min(most, _rows_to_copy(first))
        taken = rows = liked = 0
        until = first.since_ns + self.batching.delay_ns
        for waiting in queue:
            if (
                waiting.prepared.kind != first.prepared.kind
                or (taken and rows + waiting.prepared.rows > most)
                or waiting.is_over(now)
            ):
                break
            taken, rows = taken + 1, rows + waiting.prepared.rows
            if rows in preferred:
                liked = taken
            if waiting.until_ns is not None:  # half of its time is left for being computed
                until = min(until, (waiting.since_ns + waiting.until_ns) // 2)
        if now >= until or self._closed:
            return taken
        if liked:
            return liked
        if taken < len(queue) or rows >= (preferred[-1] if preferred else most):
            return taken
        if self._timer is None or self._timer_ns > until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_ns = until
            self._timer = self._loop.call_later((until - now) / 1e9, self._wake)
        return 0

    def _wake(self) -> None:
        self._timer = None
        self._dispatch()

    def _drop_expired(self, now: int = 0) -> None:
        """Refuse what waited too long, and forget what nobody waits for any more."""
        now = now or monotonic_ns()
        for queue, late, rules in self._by_level:
            while queue and queue[0].is_over(now):
                waiting = queue.popleft()
                own = waiting.own_ns
                if rules.delays and not waiting.is_cancelled() and (own is None or now < own):
                    waiting.until_ns = own
                    late.append(waiting)
                else:
                    self._expire(waiting)
            while late and late[0].is_over(now):
                self._expire(late.popleft())
        while self._again and self._again[0].is_over(now):
            self._expire(self._again.popleft())

    def _look_after(self, until_ns: int) -> None:
        """Refuse what has waited too long also while every instance is busy, or hangs."""
        if self._sweep is None or until_ns < self._sweep_ns:
            if self._sweep is not None:
                self._sweep.cancel()
            self._sweep_ns = max(until_ns, monotonic_ns() + SWEEP_NS)
            self._sweep = self._loop.call_later((self._sweep_ns - monotonic_ns()) / 1e9, self._sweep_all)

    def _sweep_all(self) -> None:
        self._sweep, now = None, monotonic_ns()
        for queue in self._queues:
            over = [one for one in queue if one.is_over(now)]
            if over:
                rest = [one for one in queue if not one.is_over(now)]
                queue.clear()
                queue.extend(over)  # those first, so that they are found there
                self._drop_expired(now)
                queue.extend(rest)
        left = [one.until_ns for queue in self._queues for one in queue if one.until_ns is not None]
        if left:
            self._look_after(min(left))

    def _expire(self, waiting: Ticket) -> None:
        self._count -= 1
        self.statistics.fail(monotonic_ns() - waiting.since_ns)
        if not waiting.is_cancelled():
            told = f"the request for {self.spec.name!r} waited too long, and was not computed"
            self._refuse(waiting, Refusal(Fault.EXPIRED, told))

    def _finish(
        self,
        instance: int,
        batch: list[Ticket],
        outputs: Sequence[np.ndarray] | Exception,
        times: tuple[int, int, int],
    ) -> None:
        """Hand each request what is its own."""
        self.running -= 1
        self._free.append(instance)
        if not self.batching.keeps_order:
            self._hand_back(batch, outputs, times)
            return
        next(one for one in self._batches if one.waiting is batch).done = (outputs, times)
        while self._batches and (done := self._batches[0].done) is not None:
            self._hand_back(self._batches.popleft().waiting, *done)

    def _hand_back(
        self, batch: list[Ticket], outputs: Sequence[np.ndarray] | Exception, times: tuple[int, int, int]
    ) -> None:
        if not isinstance(outputs, Exception):
            self._answer(batch, outputs, times)
        elif len(batch) > 1:  # the fault of one of them: the others are not to suffer for it
            self._again.extend(batch)
            self._count += len(batch)
            self._soon()
        else:
            self._fail(batch, f"the model {self.spec.name!r} failed: {outputs}")

    def _fail(self, batch: list[Ticket], told: str) -> None:
        for waiting in batch:
            self.statistics.fail(monotonic_ns() - waiting.since_ns)
            self._refuse(waiting, Refusal(Fault.INTERNAL, told))

    def _answer(
        self, batch: list[Ticket], outputs: Sequence[np.ndarray], times: tuple[int, int, int]
    ) -> None:
        spec, start = self.spec, monotonic_ns()
        rows = sum([waiting.prepared.rows for waiting in batch])
        if (
            spec.max_batch
            and len(batch) > 1
            and any(not output.ndim or len(output) != rows for output in outputs)
        ):
            self._fail(batch, f"the model {spec.name!r} gave another number of rows than it got")
            return
        if len(batch) == 1:
            batch[0].hear(outputs)
        else:
            begin = 0
            for waiting in batch:
                end = begin + waiting.prepared.rows
                waiting.hear([output[begin:end] for output in outputs])
                begin = end
        now = monotonic_ns()
        elapsed = [now - waiting.since_ns for waiting in batch]
        self.statistics.execution(elapsed, rows if spec.max_batch else 1, times, monotonic_ns() - start)
        if self._log is not None:
            self._note(batch, times[2], now)

    def close(self, on_idle: Callable[[], None] | None = None) -> None:
        """Take nothing any more; what waits is done, and then `on_idle` is called, once, in the thread of the loop."""
        self._closed = True
        self.on_idle = on_idle
        self._soon()

    def end(self) -> None:
        """End the threads."""
        for thread in self._threads:
            if thread is not None:
                thread.work.put(None)


def _rows_to_copy(ticket: Ticket) -> int:
    """Return up to how many rows like these it pays to lay together: beyond the caches, copying costs more than calls."""
    size = sum([one.nbytes for one in ticket.arrays if one is not None])
    rows = ticket.prepared.rows
    return max(rows, COPIED_MOST * rows // max(size, 1))


def _run(run: Run, batch: list[Ticket]) -> tuple[Sequence[np.ndarray] | Exception, tuple[int, int, int]]:
    """Run a batch; return outputs, and how long input and model took, and when it began."""
    start = monotonic_ns()
    try:
        arrays = batch[0].arrays
        if len(batch) > 1:  # requests of one kind have the same inputs
            arrays = [
                None if one is None else np.concatenate([waiting.arrays[place] for waiting in batch])
                for place, one in enumerate(arrays)
            ]
        ready = monotonic_ns()
        outputs = run(arrays)
        return outputs, (start, ready - start, monotonic_ns() - ready)
    except FAILURES as error:
        return error, (start, 0, 0)


class _Thread:
    """A thread that runs one instance."""

    def __init__(self, run: Run) -> None:
        self.work: SimpleQueue[tuple[list[Ticket], int, Callable[..., None]] | None] = SimpleQueue()
        self._run = run
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while (job := self.work.get()) is not None:
            batch, instance, hear = job
            outputs, times = _run(self._run, batch)
            hear(instance, batch, outputs, times)
            del job, batch, outputs  # or the last arrays would be kept until the next request
