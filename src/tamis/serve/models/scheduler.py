"""Runs the requests of one model: queued, batched where its configuration allows, and answered each with its own rows.

Everything happens in the event loop's thread, except that a slow model runs in a thread per instance. Requests that have
expired or were cancelled are never computed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import monotonic_ns
from typing import NamedTuple

import numpy as np

from tamis.serve.models.model import FAILURES, INLINE_NS, Model, Run
from tamis.serve.models.queues import RequestQueue
from tamis.serve.models.sequences import Sequences, is_step
from tamis.serve.models.statistics import Statistics
from tamis.serve.models.tickets import RequestTicket, Ticket
from tamis.serve.protocol.messages import Fault, InferRequest, Refusal
from tamis.serve.request_log import RequestLog

INLINE_ROWS_FIRST = 64  # rows that a quick model runs in the event loop, until it was timed
SWEEP_NS = 5_000_000  # least time between two searches of the whole queue for expired requests


class _Result(NamedTuple):
    """What an execution returned or raised, and how long it took to gather the inputs and to run the model."""

    outputs: Sequence[np.ndarray] | Exception
    input_ns: int = 0
    infer_ns: int = 0


class Scheduler:
    """The queue of a model, and the instances that serve it."""

    def __init__(
        self,
        model: Model,
        loop: asyncio.AbstractEventLoop,
        statistics: Statistics,
        log: RequestLog | None = None,
    ) -> None:
        """Start idle."""
        self.model, self.spec, self.statistics = model, model.spec, statistics
        self._loop, self._log = loop, log
        self._queue = RequestQueue(model.spec, self._expire)
        self.batching = self._queue.batching
        self._sequences = (
            Sequences(
                model.spec,
                model.spec.sequences,
                self.batching,
                self._enqueue,
                self._reject,
                self._expire,
                self._sweep_at,
            )
            if model.spec.sequences is not None
            else None
        )
        self._free = list(range(len(model.instances)))
        self._threads: list[_InstanceThread | None] = [None] * len(model.instances)
        self._inline_rows = INLINE_ROWS_FIRST if model.quick else 0  # at most these run in the loop's thread
        self._waits_for_nobody = not (self.batching.delay_ns or self.batching.preserve_order)
        self._in_order: deque[tuple[list[Ticket], list[_Result]]] = deque()  # where answers keep their order
        self._dispatch_is_due = False
        self._batch_timer: asyncio.TimerHandle | None = None
        self._batch_timer_ns = 0.0
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._sweep_timer_ns = 0
        self._closed = False
        self.running = 0  # batches
        self._on_idle: Callable[[], None] | None = None

    @property
    def waiting(self) -> int:
        """Return the number of queued requests, and of those that wait for an earlier step of their sequence."""
        return self._queue.count + (self._sequences.waiting if self._sequences is not None else 0)

    # Requests come in.

    def submit(self, request: InferRequest) -> None:
        """Check and queue a request; raise Refusal where it is rejected."""
        if self._sequences is not None and is_step(request.parameters):
            self._check_open()
            try:
                self._sequences.submit(request, monotonic_ns())
            except Refusal as refusal:
                self._count_overload(refusal)
                raise
        else:
            self.take(RequestTicket(request, self.spec, self.batching))

    def take(self, ticket: Ticket) -> None:
        """Queue a checked request; raise Refusal where the queue is full or closed."""
        self._check_open()
        try:
            self._enqueue(ticket)
        except Refusal as refusal:
            self._count_overload(refusal)
            raise

    def _count_overload(self, refusal: Refusal) -> None:
        """Count a request that was rejected as too many wait, as Triton does; one that was wrong does not count."""
        if refusal.fault is Fault.UNAVAILABLE:
            self.statistics.fail(0)

    def _check_open(self) -> None:
        if self._closed:
            raise Refusal(Fault.UNAVAILABLE, f"the model {self.spec.name!r} is being unloaded")

    def _enqueue(self, ticket: Ticket) -> None:
        self._queue.append(ticket, monotonic_ns())
        if ticket.expires_ns is not None and not self._free:
            self._sweep_at(ticket.expires_ns)
        self._dispatch_soon()

    def take_now(self, ticket: Ticket) -> None:
        """Run a request before returning, if nothing else waits and it is quick; otherwise queue it."""
        now = monotonic_ns()
        deadline_ns = ticket.deadline_ns
        if (
            self._waits_for_nobody
            and self._free
            and not self._queue.count
            and not self._closed
            and ticket.prepared.rows <= self._inline_rows
            and (deadline_ns is None or now < deadline_ns)
        ):
            ticket.queued_ns = now
            self._run_single(ticket, now)
        else:
            self.take(ticket)

    # Requests run.

    def _dispatch_soon(self) -> None:
        if not self._dispatch_is_due:
            self._dispatch_is_due = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Start as many batches as there are free instances."""
        self._dispatch_is_due = False
        queue = self._queue
        if self._waits_for_nobody and self._free:
            now = monotonic_ns()
            single = queue.pop_single(now, self._inline_rows)
            if single is not None:
                self._run_single(single, now)
        while self._free and queue.count:
            now = monotonic_ns()
            batch, until_ns = queue.pop_batch(now, may_wait=not self._closed)
            if not batch:
                # dispatch again when the first request may wait no longer
                if queue.count and (self._batch_timer is None or until_ns < self._batch_timer_ns):
                    if self._batch_timer is not None:
                        self._batch_timer.cancel()
                    self._batch_timer_ns = until_ns
                    self._batch_timer = self._loop.call_later((until_ns - now) / 1e9, self._on_batch_timer)
                break
            self._run_batch(batch)
        if self._on_idle is not None and not queue.count and not self.running:
            on_idle, self._on_idle = self._on_idle, None
            on_idle()

    def _run_single(self, ticket: Ticket, start_ns: int) -> None:
        """Run one request in the loop's thread: as `_run_batch`, at a fraction of its overhead."""
        try:
            outputs = self.model.instances[self._free[-1]](ticket.arrays)
        except FAILURES as error:
            self._fail([ticket], f"the model {self.spec.name!r} failed: {error}")
            return
        infer_ns, rows = monotonic_ns() - start_ns, ticket.prepared.rows
        ticket.answer(outputs)
        end_ns = monotonic_ns()
        self.statistics.add_single(
            end_ns - ticket.queued_ns,
            rows if self.spec.max_batch else 1,
            0,
            infer_ns,
            end_ns - start_ns - infer_ns,
        )
        if infer_ns > INLINE_NS or rows == self._inline_rows:
            self._learn(rows, infer_ns)
        if self._log is not None:
            self._log_answers(self._log, [ticket], infer_ns, end_ns)

    def _run_batch(self, batch: list[Ticket]) -> None:
        """Run a batch on a free instance: in the loop's thread where that is quick, otherwise in the instance's own."""
        instance = self._free.pop()
        self.running += 1
        if self.batching.preserve_order:
            self._in_order.append((batch, []))
        run = self.model.instances[instance]
        rows = sum([ticket.prepared.rows for ticket in batch])
        if rows <= self._inline_rows:
            result = _execute(run, batch)
            self._learn(rows, result.infer_ns)
            self._finish(instance, batch, result)
        else:
            thread = self._threads[instance]
            if thread is None:
                thread = self._threads[instance] = _InstanceThread(run, self._finish_from_thread)
            thread.jobs.put((instance, batch))

    def _learn(self, rows: int, infer_ns: int) -> None:
        """Adjust how many rows run in the loop's thread: all other requests wait meanwhile."""
        if infer_ns > INLINE_NS and rows > 1:
            self._inline_rows = min(self._inline_rows, max(1, rows // 2))
        elif infer_ns < INLINE_NS // 4 and rows >= self._inline_rows:
            self._inline_rows = 2 * rows

    def _on_batch_timer(self) -> None:
        self._batch_timer = None
        self._dispatch()

    # Requests are answered.

    def _finish_from_thread(self, instance: int, batch: list[Ticket], result: _Result) -> None:
        """Hand a result over to the loop's thread."""

        def finish() -> None:
            self._finish(instance, batch, result)
            self._dispatch()

        self._loop.call_soon_threadsafe(finish)

    def _finish(self, instance: int, batch: list[Ticket], result: _Result) -> None:
        """Free the instance and answer; where answers keep their order, once all batches before are answered."""
        self.running -= 1
        self._free.append(instance)
        if not self.batching.preserve_order:
            self._complete(batch, result)
            return
        next(results for running, results in self._in_order if running is batch).append(result)
        while self._in_order and self._in_order[0][1]:
            first, (its_result,) = self._in_order.popleft()
            self._complete(first, its_result)

    def _complete(self, batch: list[Ticket], result: _Result) -> None:
        if not isinstance(result.outputs, Exception):
            self._answer(batch, result.outputs, result)
        elif len(batch) > 1:  # one request may have caused it: the others should not fail with it
            self._queue.retry(batch)
            self._dispatch_soon()
        else:
            self._fail(batch, f"the model {self.spec.name!r} failed: {result.outputs}")

    def _answer(self, batch: list[Ticket], outputs: Sequence[np.ndarray], result: _Result) -> None:
        """Answer each request with its own rows."""
        spec, start_ns = self.spec, monotonic_ns()
        rows = sum([ticket.prepared.rows for ticket in batch])
        if len(batch) == 1:
            batch[0].answer(outputs)
        elif spec.max_batch and any(not output.ndim or len(output) != rows for output in outputs):
            self._fail(batch, f"the model {spec.name!r} did not return the {rows} rows of its batch")
            return
        else:
            begin = 0
            for ticket in batch:
                end = begin + ticket.prepared.rows
                ticket.answer([output[begin:end] for output in outputs])
                begin = end
        now = monotonic_ns()
        self.statistics.add_batch(
            [now - ticket.queued_ns for ticket in batch],
            rows if spec.max_batch else 1,
            result.input_ns,
            result.infer_ns,
            now - start_ns,
        )
        if self._log is not None:
            self._log_answers(self._log, batch, result.infer_ns, now)

    def _log_answers(self, log: RequestLog, batch: list[Ticket], infer_ns: int, now: int) -> None:
        spec = self.spec
        for ticket in batch:
            waited_ns = max(0, now - ticket.queued_ns - infer_ns)
            log.answered(
                ticket.request_id, spec.name, spec.version, ticket.prepared.rows, waited_ns, infer_ns
            )

    def _fail(self, batch: list[Ticket], message: str) -> None:
        for ticket in batch:
            self._reject(ticket, Refusal(Fault.INTERNAL, message))

    def _reject(self, ticket: Ticket, refusal: Refusal) -> None:
        """Count a request as failed, and send the error."""
        self.statistics.fail(monotonic_ns() - ticket.queued_ns)
        self._refuse(ticket, refusal)

    def _refuse(self, ticket: Ticket, refusal: Refusal) -> None:
        if self._log is not None:
            self._log.refused(ticket.request_id, self.spec.name, str(refusal))
        ticket.refuse(refusal)

    # Requests expire.

    def _expire(self, ticket: Ticket) -> None:
        self.statistics.fail(monotonic_ns() - ticket.queued_ns)
        if not ticket.is_cancelled():
            message = f"the request for {self.spec.name!r} waited too long, and was not computed"
            self._refuse(ticket, Refusal(Fault.EXPIRED, message))
        else:
            ticket.drop()

    def _sweep_at(self, expires_ns: int) -> None:
        """Refuse expired requests even while every instance is busy or hangs."""
        if self._sweep_timer is None or expires_ns < self._sweep_timer_ns:
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()
            now = monotonic_ns()
            self._sweep_timer_ns = max(expires_ns, now + SWEEP_NS)
            self._sweep_timer = self._loop.call_later((self._sweep_timer_ns - now) / 1e9, self._sweep)

    def _sweep(self) -> None:
        self._sweep_timer = None
        now = monotonic_ns()
        for waiting in (self._queue, self._sequences):
            next_ns = waiting.sweep(now) if waiting is not None else None
            if next_ns is not None:
                self._sweep_at(next_ns)

    # The end.

    def close(self, on_idle: Callable[[], None] | None = None) -> None:
        """Accept no more requests; `on_idle` is called once, in the loop's thread, when all queued ones are answered."""
        self._closed = True
        self._on_idle = on_idle
        self._dispatch_soon()

    def end(self) -> None:
        """Stop the threads."""
        for thread in self._threads:
            if thread is not None:
                thread.jobs.put(None)


def _execute(run: Run, batch: list[Ticket]) -> _Result:
    """Run a batch; the inputs of several requests are concatenated."""
    start_ns = monotonic_ns()
    try:
        arrays = batch[0].arrays
        if len(batch) > 1:  # with equal shapes, the same inputs are present
            arrays = [
                None if one is None else np.concatenate([ticket.arrays[index] for ticket in batch])
                for index, one in enumerate(arrays)
            ]
        ready_ns = monotonic_ns()
        outputs = run(arrays)
        return _Result(outputs, ready_ns - start_ns, monotonic_ns() - ready_ns)
    except FAILURES as error:
        return _Result(error)


class _InstanceThread:
    """A thread that runs one instance; results go to `finish`, in this thread."""

    def __init__(self, run: Run, finish: Callable[[int, list[Ticket], _Result], None]) -> None:
        self.jobs: SimpleQueue[tuple[int, list[Ticket]] | None] = SimpleQueue()
        self._run, self._finish = run, finish
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            instance, batch = job
            result = _execute(self._run, batch)
            self._finish(instance, batch, result)
            del job, batch, result  # otherwise the last arrays stay alive until the next request
