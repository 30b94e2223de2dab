"""The scheduler of a model: batches, order, expiry and cancellation of requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.serve.batching import Batching, QueuePolicy
from tamis.serve.models.model import Model, ModelSpec, Spec
from tamis.serve.models.scheduler import Scheduler
from tamis.serve.models.statistics import Statistics
from tamis.serve.protocol.messages import Answer, Fault, InferRequest, Refusal

MAX_BATCH = 8


@dataclass
class Call:
    """A request, and its answers."""

    request: InferRequest
    done: asyncio.Future
    answers: list[Answer | Refusal] = field(default_factory=list)


def call_of(
    loop,
    arrays: dict[str, np.ndarray],
    *,
    cancelled: Callable[[], bool] = lambda: False,
    deadline_ns=None,
    **parameters,
) -> Call:
    done = loop.create_future()

    def finish(outcome: Answer | Refusal) -> None:
        call.answers.append(outcome)
        if not done.done():
            done.set_result(outcome)

    request = InferRequest(
        "m", "", "", arrays, finish, finish, (), parameters, deadline_ns, cancelled=cancelled
    )
    call = Call(request, done)
    return call


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[value] for value in values], np.float32)}


def model(
    run,
    *,
    batching: Batching | None = None,
    instances: int = 1,
    quick: bool = False,
    inputs: tuple[Spec, ...] = (Spec("x", "FP32", (-1,)),),
    max_batch: int = MAX_BATCH,
) -> Model:
    spec = ModelSpec("m", "1", "test", inputs, (Spec("y", "FP32", (-1,)),), max_batch, batching)
    return Model(spec, [run] * instances, quick=quick)


def run_scene(served: Model, act: Callable[[asyncio.AbstractEventLoop, Scheduler], object]) -> object:
    """Run a coroutine with a scheduler on a new event loop, then drain the scheduler."""

    async def scene():
        loop = asyncio.get_running_loop()
        scheduler = Scheduler(served, loop, Statistics())
        try:
            return await asyncio.wait_for(act(loop, scheduler), 20)
        finally:
            idle = loop.create_future()
            scheduler.close(lambda: idle.set_result(None))
            await asyncio.wait_for(idle, 20)
            scheduler.end()

    return asyncio.run(scene())


class GatedModel:
    """A model that blocks until it is opened, and records its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.ran: list[list[float]] = []

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.entered.set()
        assert self.open.wait(20)
        self.ran.append([float(value) for value in arrays[0][:, 0]])
        return [arrays[0] * 2]

    async def hold(self, loop, scheduler: Scheduler) -> Call:
        """Occupy the only instance."""
        first = call_of(loop, rows(-1))
        scheduler.submit(first.request)
        await asyncio.to_thread(self.entered.wait, 20)
        return first


request = st.tuples(
    st.integers(0, MAX_BATCH),  # rows
    st.integers(1, 3),  # columns: only requests of equal shapes are batched
    st.booleans(),  # has the optional input
    st.integers(0, 3),  # priority
    st.sampled_from(["answered", "answered", "answered", "cancelled", "expired", "fails"]),
    st.booleans(),  # the loop runs before the next one
)


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(request, min_size=1, max_size=40),
    preferred=st.sampled_from([(), (4,), (2, 6)]),
    delay_us=st.sampled_from([0, 500]),
    priorities=st.integers(1, 3),
    delay_expired=st.booleans(),
    instances=st.integers(1, 3),
    quick=st.booleans(),
    preserve_order=st.booleans(),
)
def test_each_request_is_answered_once_with_its_own_rows(
    requests, preferred, delay_us, priorities, delay_expired, instances, quick, preserve_order
):
    computed: list[float] = []

    def run(arrays):
        x, bias = arrays
        assert len(x) <= MAX_BATCH
        if (x == -5).any():
            raise ValueError("five below zero")
        computed.extend(x[:, 0].tolist())
        return [x * 2 + (0 if bias is None else bias)]

    batching = Batching(
        preferred,
        delay_us * 1000,
        tuple(QueuePolicy(delay_expired=delay_expired) for _ in range(priorities)),
        0,
        preserve_order,
    )
    inputs = (Spec("x", "FP32", (-1,)), Spec("bias", "FP32", (1,), optional=True))
    served = model(run, batching=batching, instances=instances, quick=quick, inputs=inputs)

    async def act(loop, scheduler):
        calls = []
        for number, (count, width, has_bias, priority, outcome, pause) in enumerate(requests):
            x = np.arange(count * width, dtype=np.float32).reshape(count, width) + 1000 * (number + 1)
            if outcome == "fails":
                x[:] = -5
            arrays = {"x": x} | ({"bias": np.full((count, 1), number + 0.5, np.float32)} if has_bias else {})
            one = call_of(
                loop,
                arrays,
                cancelled=(lambda: True) if outcome == "cancelled" else (lambda: False),
                deadline_ns=monotonic_ns() - 1 if outcome == "expired" else None,
                priority=priority,
            )
            scheduler.submit(one.request)
            calls.append((one, x, number + 0.5 if has_bias else 0, outcome))
            if pause:
                await asyncio.sleep(0)
        await asyncio.gather(*[one.done for one, _, _, outcome in calls if outcome != "cancelled"])
        return calls

    for one, x, bias, outcome in run_scene(served, act):
        if outcome == "cancelled":
            assert one.answers == []
        else:
            (answer,) = one.answers  # exactly once
            if outcome == "expired":
                assert answer.fault is Fault.EXPIRED
            elif outcome == "fails" and len(x):
                assert "five below zero" in str(answer)
            else:
                np.testing.assert_array_equal(answer.outputs["y"], x * 2 + bias)
        if outcome in {"cancelled", "expired"}:
            assert not set(x[:, 0].tolist()) & set(computed)


def test_waiting_requests_are_batched_up_to_the_maximum():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [call_of(loop, rows(*range(i, i + 3))) for i in (0, 10, 20)]
        for one in others:
            scheduler.submit(one.request)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    run_scene(model(gate, batching=Batching()), act)
    assert gate.ran == [[-1], [0, 1, 2, 10, 11, 12], [20, 21, 22]]


def test_other_shapes_get_their_own_batch():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [
            call_of(loop, {"x": np.full((1, width), i, np.float32)}) for i, width in enumerate((1, 1, 2, 2))
        ]
        for one in others:
            scheduler.submit(one.request)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    run_scene(model(gate, batching=Batching()), act)
    assert gate.ran == [[-1], [0, 1], [2, 3]]


def test_expired_request_does_not_join_a_batch():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        patient, late = call_of(loop, rows(1)), call_of(loop, rows(2), timeout=1000)
        scheduler.submit(patient.request)
        scheduler.submit(late.request)
        await asyncio.sleep(0.01)
        gate.open.set()
        await asyncio.gather(first.done, patient.done, late.done)

    run_scene(model(gate, batching=Batching()), act)
    assert gate.ran == [[-1], [1]]


def test_without_batching_each_request_runs_alone():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [call_of(loop, rows(i)) for i in range(2)]
        for one in others:
            scheduler.submit(one.request)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    run_scene(model(gate), act)
    assert gate.ran == [[-1], [0], [1]]


def test_model_without_a_batch_dimension_may_have_a_queue_policy():
    async def act(loop, scheduler):
        one = call_of(loop, {"x": np.ones(3, np.float32)})
        scheduler.submit(one.request)
        return await one.done

    answer = run_scene(model(lambda arrays: [arrays[0] * 2], batching=Batching(), max_batch=0), act)
    assert answer.outputs["y"].tolist() == [2, 2, 2]


def test_first_request_waits_for_others_for_the_delay():
    ran: list[int] = []

    def run(arrays):
        ran.append(len(arrays[0]))
        return [arrays[0]]

    async def act(loop, scheduler):
        calls = [call_of(loop, rows(i)) for i in range(3)]
        for one in calls:
            scheduler.submit(one.request)
            await asyncio.sleep(0.005)
        await asyncio.gather(*[one.done for one in calls])

    run_scene(model(run, batching=Batching(delay_ns=200_000_000), quick=True), act)
    assert ran == [3]


def test_preferred_size_ends_the_delay():
    ran: list[int] = []

    def run(arrays):
        ran.append(len(arrays[0]))
        return [arrays[0]]

    async def act(loop, scheduler):
        calls = [call_of(loop, rows(i)) for i in range(5)]
        for one in calls:
            scheduler.submit(one.request)
        await asyncio.gather(*[one.done for one in calls[:4]])
        assert not calls[4].done.done()

    run_scene(model(run, batching=Batching((2, 4), 10**12), quick=True), act)
    assert ran == [4, 1]  # the last one when the scheduler was closed


def test_request_with_less_time_than_the_delay_is_computed():
    async def act(loop, scheduler):
        one = call_of(loop, rows(1), timeout=200_000)  # in microseconds, against a delay of 20 s
        scheduler.submit(one.request)
        return await one.done

    answer = run_scene(
        model(lambda arrays: [arrays[0] * 2], batching=Batching(delay_ns=20 * 10**9), quick=True), act
    )
    assert isinstance(answer, Answer)


def test_higher_priorities_run_first():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [
            call_of(loop, rows(value), priority=level) for value, level in ((3, 3), (2, 0), (1, 1), (4, 9))
        ]
        for one in others:
            scheduler.submit(one.request)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    priorities = Batching(priorities=(QueuePolicy(),) * 3, default_priority=1)
    run_scene(model(gate, batching=priorities), act)
    assert gate.ran == [
        [-1],
        [1],
        [2, 4],
        [3],
    ]  # no priority, or an unknown one, means the default: the second


def test_expired_request_is_rejected_and_not_computed():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        late, patient = call_of(loop, rows(1), timeout=1000), call_of(loop, rows(2))
        scheduler.submit(late.request)
        scheduler.submit(patient.request)
        await asyncio.sleep(0.01)
        gate.open.set()
        await asyncio.gather(first.done, patient.done)
        return await late.done

    refusal = run_scene(model(gate, batching=Batching()), act)
    assert refusal.fault is Fault.EXPIRED
    assert gate.ran == [[-1], [2]]


def test_expired_request_may_run_after_the_others_instead():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        late, patient = call_of(loop, rows(1), timeout=1000), call_of(loop, rows(2))
        scheduler.submit(late.request)
        scheduler.submit(patient.request)
        await asyncio.sleep(0.01)
        gate.open.set()
        await asyncio.gather(first.done, patient.done, late.done)

    run_scene(
        model(gate, batching=Batching(priorities=(QueuePolicy(allow_override=True, delay_expired=True),))),
        act,
    )
    assert gate.ran == [[-1], [2], [1]]


def test_cancelled_request_is_not_computed():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        is_cancelled = threading.Event()
        cancelled, other = (
            call_of(loop, rows(1), cancelled=is_cancelled.is_set),
            call_of(loop, rows(2)),
        )
        scheduler.submit(cancelled.request)
        scheduler.submit(other.request)
        is_cancelled.set()
        gate.open.set()
        await asyncio.gather(first.done, other.done)
        return cancelled.answers

    assert run_scene(model(gate, batching=Batching()), act) == []
    assert gate.ran == [[-1], [2]]


@pytest.mark.parametrize("delay_expired", [False, True])
def test_full_queue_rejects_at_once(delay_expired):
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        fit = [call_of(loop, rows(i)) for i in range(2)]
        for one in fit:
            scheduler.submit(one.request)
        with pytest.raises(Refusal, match="too many requests wait") as refused:
            scheduler.submit(call_of(loop, rows(3)).request)
        assert refused.value.fault is Fault.UNAVAILABLE
        assert scheduler.statistics.failure.count == 1
        with pytest.raises(Refusal, match="no input 'y'"):
            scheduler.submit(call_of(loop, {"y": np.ones((1, 1), np.float32)}).request)
        assert scheduler.statistics.failure.count == 1  # a wrong request does not count
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in fit])

    run_scene(
        model(
            gate, batching=Batching(priorities=(QueuePolicy(max_requests=2, delay_expired=delay_expired),))
        ),
        act,
    )


def test_expired_requests_do_not_fill_the_queue():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        late = [call_of(loop, rows(i), timeout=1000) for i in range(2)]
        for one in late:
            scheduler.submit(one.request)
        await asyncio.sleep(0.01)
        fresh = call_of(loop, rows(7))
        scheduler.submit(fresh.request)
        assert all(one.answers for one in late)
        gate.open.set()
        await asyncio.gather(first.done, fresh.done)

    run_scene(model(gate, batching=Batching(priorities=(QueuePolicy(max_requests=2),))), act)
    assert gate.ran == [[-1], [7]]


def test_answers_keep_the_order_if_configured():
    slow = threading.Event()

    def run(arrays):
        if arrays[0][0, 0] == 0:
            assert slow.wait(20)
        else:
            slow.set()
        return [arrays[0]]

    async def act(loop, scheduler):
        order: list[int] = []
        calls = [call_of(loop, {"x": np.full((1, 1 + i), i, np.float32)}) for i in range(3)]
        for i, one in enumerate(calls):
            one.done.add_done_callback(lambda _, i=i: order.append(i))
            scheduler.submit(one.request)
        await asyncio.gather(*[one.done for one in calls])
        return order

    served = model(run, batching=Batching(preserve_order=True), instances=3)
    assert run_scene(served, act) == [0, 1, 2]


def test_outputs_with_a_wrong_number_of_rows_are_rejected():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [call_of(loop, rows(i)) for i in range(2)]
        for one in others:
            scheduler.submit(one.request)
        gate.open.set()
        await first.done
        return await asyncio.gather(*[one.done for one in others])

    def run(arrays):
        return [gate(arrays)[0][:1]]

    for refusal in run_scene(model(run, batching=Batching()), act):
        assert refusal.fault is Fault.INTERNAL


def test_closed_scheduler_finishes_its_queue_and_accepts_nothing():
    gate = GatedModel()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        second = call_of(loop, rows(5))
        scheduler.submit(second.request)
        idle = loop.create_future()
        scheduler.close(lambda: idle.set_result(None))
        with pytest.raises(Refusal, match="being unloaded"):
            scheduler.submit(call_of(loop, rows(6)).request)
        gate.open.set()
        await idle
        assert first.answers
        assert second.answers

    run_scene(model(gate, batching=Batching()), act)


def test_requests_expire_on_time_behind_a_hanging_instance():
    released, seen = threading.Event(), []

    def run(arrays):
        seen.append(arrays[0][0, 0])
        released.wait(20)
        return arrays

    async def act(loop, scheduler):
        first = call_of(loop, rows(1.0))
        scheduler.submit(first.request)
        await asyncio.sleep(0.02)
        patient = call_of(loop, rows(2.0))
        impatient = [call_of(loop, rows(3.0 + i), deadline_ns=monotonic_ns() + 20_000_000) for i in range(3)]
        for one in (patient, *impatient):
            scheduler.submit(one.request)
        refusals = [await asyncio.wait_for(one.done, 10) for one in impatient]
        assert [one.fault for one in refusals] == [Fault.EXPIRED] * 3
        assert not first.done.done()
        assert scheduler.waiting == 1
        released.set()
        assert isinstance(await patient.done, Answer)
        assert seen == [1.0, 2.0]

    run_scene(model(run), act)


@pytest.mark.parametrize("quick", [True, False])
def test_single_request_is_counted_like_any_other(quick):
    async def act(loop, scheduler):
        for number in range(5):
            one = call_of(loop, rows(1.0, 2.0) if number < 2 else rows(3.0))
            scheduler.submit(one.request)
            await one.done
        statistics = scheduler.statistics.flush()
        assert (statistics.success.count, statistics.executions, statistics.inferences) == (5, 5, 7)
        assert {size: batch[1].count for size, batch in statistics.batches.items()} == {1: 3, 2: 2}
        assert sum(statistics.latency.counts) == 5
        assert statistics.success.total_ns >= statistics.infer.total_ns > 0
        assert statistics.latency.total_ns == statistics.success.total_ns

    run_scene(model(lambda arrays: arrays, quick=quick), act)
