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
from time import monotonic_ns, perf_counter_ns
from typing import Any

import numpy as np

from quickbeam.serve.models.model import FAILURES, Batching, Level, Model, Run
from quickbeam.serve.models.statistics import Statistics
from quickbeam.serve.protocol.messages import Answer, Asking, Fault, Refusal

WAITING_MOST = 4096  # requests of one model, where it does not say itself
_ALONE = Batching()


@dataclass(slots=True)
class _Waiting:
    asking: Asking
    rows: int
    kind: tuple[
        tuple[str, tuple[int, ...]], ...
    ]  # only requests with the same inputs, of the same shapes, go together
    since_ns: int
    deadline_ns: int | None


@dataclass(slots=True)
class _Batch:
    """A batch that runs, and what came of it, until those before it are answered."""

    waiting: list[_Waiting]
    done: tuple[Sequence[np.ndarray] | Exception, tuple[int, int, int]] | None = None


class Scheduler:
    """The queue of a model, and its instances."""

    def __init__(self, model: Model, loop: asyncio.AbstractEventLoop, statistics: Statistics) -> None:
        """Begin with nothing to do."""
        self.model, self.spec, self.statistics, self._loop = model, model.spec, statistics, loop
        self._batching = model.spec.batching or _ALONE
        self._levels: list[deque[_Waiting]] = [deque() for _ in self._batching.levels]
        self._late: list[deque[_Waiting]] = [deque() for _ in self._levels]
        self._again: deque[_Waiting] = deque()  # of a batch that failed: each by itself now
        pairs = list(zip(self._levels, self._late, strict=True))
        # Served in this order: what waited too long comes behind its own level, and before the next.
        self._queues = [self._again, *(queue for pair in pairs for queue in pair)]
        self._by_level = [(*pair, rules) for pair, rules in zip(pairs, self._batching.levels, strict=True)]
        self._names = [spec.name for spec in model.spec.inputs]
        self._batches: deque[_Batch] = deque()  # that run, in their order, where answers have to keep it
        self._count = 0
        self._free = list(range(len(model.instances)))
        self._threads: list[_Thread | None] = [None] * len(model.instances)
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._closed = False
        self.running = 0
        self.on_idle: Callable[[], None] | None = None

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return self._count

    def submit(self, asking: Asking) -> None:
        """Take a request, or refuse it at once."""
        if self._closed:
            raise Refusal(Fault.UNAVAILABLE, f"the model {self.spec.name!r} is being unloaded")
        rows = self.spec.rows_of(asking.inputs)
        asking.inputs = {
            spec.name: asking.inputs[spec.name] for spec in self.spec.inputs if spec.name in asking.inputs
        }
        level = self._level(asking)
        rules = self._batching.levels[level]
        if self._is_full(level):
            raise Refusal(
                Fault.UNAVAILABLE,
                f"too many requests wait for the model {self.spec.name!r}: {len(self._levels[level]) + len(self._late[level])}",
            )
        now = monotonic_ns()
        kind = tuple([(name, array.shape[1:]) for name, array in asking.inputs.items()])
        self._levels[level].append(_Waiting(asking, rows, kind, now, _deadline(asking, rules, now)))
        self._count += 1
        self._soon()

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._dispatch)

    def _is_full(self, level: int) -> bool:
        queue, late = self._levels[level], self._late[level]
        most = self._batching.levels[level].most or WAITING_MOST
        if len(queue) + len(late) < most:
            return False
        self._drop_expired()  # what nobody waits for any more takes nobody's place
        return len(queue) + len(late) >= most

    def _level(self, asking: Asking) -> int:
        asked = asking.parameters.get("priority", 0)
        if not isinstance(asked, int) or isinstance(asked, bool) or asked < 0:
            raise Refusal(Fault.INVALID, f"the priority is {asked!r}; it has to be a whole number")
        levels = len(self._batching.levels)
        return asked - 1 if 1 <= asked <= levels else self._batching.default_level

    def _dispatch(self) -> None:
        self._due = False
        while self._free and self._count:
            batch = self._take()
            if not batch:
                break
            instance = self._free.pop()
            self.running += 1
            if self._batching.keeps_order:
                self._batches.append(_Batch(batch))
            run = self.model.instances[instance]
            if self.model.quick:
                self._finish(instance, batch, *_run(run, batch, self._names))
            else:
                thread = self._threads[instance]
                if thread is None:
                    thread = self._threads[instance] = _Thread(run, self._names)
                thread.work.put((batch, instance, self._hear))
        if self.on_idle is not None and not self._count and not self.running:
            on_idle, self.on_idle = self.on_idle, None
            on_idle()

    def _hear(self, *done: object) -> None:
        """Take a result in the thread of the loop."""
        self._loop.call_soon_threadsafe(self._finish_and_go_on, done)

    def _finish_and_go_on(self, done: tuple[object, ...]) -> None:
        self._finish(*done)  # type: ignore[arg-type] # as `_Thread` gives them
        self._dispatch()

    def _take(self) -> list[_Waiting]:
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

    def _together(self, queue: deque[_Waiting], now: int) -> int:
        """Return how many of a queue are done together now; 0 where the first may wait for more."""
        first, most, preferred = queue[0], self.spec.max_batch, self._batching.preferred
        taken = rows = liked = 0
        until = first.since_ns + self._batching.delay_ns
        for waiting in queue:
            if waiting.kind != first.kind or rows + waiting.rows > most or _is_over(waiting, now):
                break
            taken, rows = taken + 1, rows + waiting.rows
            if rows in preferred:
                liked = taken
            if waiting.deadline_ns is not None:  # half of its time is left for being computed
                until = min(until, (waiting.since_ns + waiting.deadline_ns) // 2)
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
            while queue and _is_over(queue[0], now):
                waiting = queue.popleft()
                own = waiting.asking.deadline_ns
                if rules.delays and not waiting.asking.cancelled() and (own is None or now < own):
                    waiting.deadline_ns = own
                    late.append(waiting)
                else:
                    self._expire(waiting)
            while late and _is_over(late[0], now):
                self._expire(late.popleft())
        while self._again and _is_over(self._again[0], now):
            self._expire(self._again.popleft())

    def _expire(self, waiting: _Waiting) -> None:
        self._count -= 1
        self.statistics.fail(monotonic_ns() - waiting.since_ns)
        if not waiting.asking.cancelled():
            waiting.asking.refuse(
                Refusal(
                    Fault.EXPIRED, f"the request for {self.spec.name!r} waited too long, and was not computed"
                )
            )

    def _finish(
        self,
        instance: int,
        batch: list[_Waiting],
        outputs: Sequence[np.ndarray] | Exception,
        times: tuple[int, int, int],
    ) -> None:
        """Hand each request what is its own."""
        self.running -= 1
        self._free.append(instance)
        if not self._batching.keeps_order:
            self._hand_back(batch, outputs, times)
            return
        next(one for one in self._batches if one.waiting is batch).done = (outputs, times)
        while self._batches and (done := self._batches[0].done) is not None:
            self._hand_back(self._batches.popleft().waiting, *done)

    def _hand_back(
        self, batch: list[_Waiting], outputs: Sequence[np.ndarray] | Exception, times: tuple[int, int, int]
    ) -> None:
        if not isinstance(outputs, Exception):
            self._answer(batch, outputs, times)
        elif len(batch) > 1:  # the fault of one of them: the others are not to suffer for it
            self._again.extend(batch)
            self._count += len(batch)
            self._soon()
        else:
            self._fail(batch, f"the model {self.spec.name!r} failed: {outputs}")

    def _fail(self, batch: list[_Waiting], told: str) -> None:
        for waiting in batch:
            self.statistics.fail(monotonic_ns() - waiting.since_ns)
            waiting.asking.refuse(Refusal(Fault.INTERNAL, told))

    def _answer(
        self, batch: list[_Waiting], outputs: Sequence[np.ndarray], times: tuple[int, int, int]
    ) -> None:
        spec, start = self.spec, perf_counter_ns()
        rows = sum(waiting.rows for waiting in batch)
        if (
            spec.max_batch
            and len(batch) > 1
            and any(not output.ndim or len(output) != rows for output in outputs)
        ):
            self._fail(batch, f"the model {spec.name!r} gave another number of rows than it got")
            return
        begin = 0
        for waiting in batch:
            end = begin + waiting.rows
            asking = waiting.asking
            chosen = spec.chosen(asking.wanted)
            own = outputs if len(batch) == 1 else [output[begin:end] for output in outputs]
            begin = end
            asking.answer(Answer(spec.name, spec.version, {spec.outputs[i].name: own[i] for i in chosen}))
        self.statistics.execution(
            [monotonic_ns() - waiting.since_ns for waiting in batch],
            rows if spec.max_batch else 1,
            times,
            perf_counter_ns() - start,
        )

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


def _deadline(asking: Asking, rules: Level, now: int) -> int | None:
    """Return until when a request may wait: its own deadline, or the queue's."""
    own = asking.parameters.get("timeout")
    limit = rules.timeout_ns
    if isinstance(own, int) and own > 0 and (rules.may_shorten or not limit):
        limit = min(limit or own * 1000, own * 1000)
    until = now + limit if limit else None
    if asking.deadline_ns is None or until is None:
        return until if asking.deadline_ns is None else asking.deadline_ns
    return min(until, asking.deadline_ns)


def _is_over(waiting: _Waiting, now: int) -> bool:
    return (waiting.deadline_ns is not None and now >= waiting.deadline_ns) or waiting.asking.cancelled()


def _run(
    run: Run, batch: list[_Waiting], names: Sequence[str]
) -> tuple[Sequence[np.ndarray] | Exception, tuple[int, int, int]]:
    """Run a batch; return outputs, and how long input and model took, and when it began."""
    start = perf_counter_ns()
    try:
        arrays: list[Any]
        if len(batch) == 1:
            own = batch[0].asking.inputs
            arrays = list(own.values()) if len(own) == len(names) else [own.get(name) for name in names]
        else:  # requests of one kind have the same inputs
            given = batch[0].asking.inputs
            arrays = [
                np.concatenate([waiting.asking.inputs[name] for waiting in batch]) if name in given else None
                for name in names
            ]
        ready = perf_counter_ns()
        outputs = run(arrays)
        return outputs, (start, ready - start, perf_counter_ns() - ready)
    except FAILURES as error:
        return error, (start, 0, 0)


class _Thread:
    """A thread that runs one instance."""

    def __init__(self, run: Run, names: Sequence[str]) -> None:
        self.work: SimpleQueue[tuple[list[_Waiting], int, Callable[..., None]] | None] = SimpleQueue()
        self._run, self._names = run, names
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while (job := self.work.get()) is not None:
            batch, instance, hear = job
            outputs, times = _run(self._run, batch, self._names)
            hear(instance, batch, outputs, times)
            del job, batch, outputs  # or the last arrays would be kept until the next request
