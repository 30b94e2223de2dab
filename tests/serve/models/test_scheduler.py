"""The queue of a model: who runs with whom, in which order, and who never."""

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

MOST = 8


@dataclass
class Asked:
    """A request, and what came of it."""

    asking: InferRequest
    done: asyncio.Future
    answers: list[Answer | Refusal] = field(default_factory=list)


def ask(
    loop,
    arrays: dict[str, np.ndarray],
    *,
    cancelled: Callable[[], bool] = lambda: False,
    deadline_ns=None,
    **parameters,
) -> Asked:
    done = loop.create_future()

    def hear(found: Answer | Refusal) -> None:
        asked.answers.append(found)
        if not done.done():
            done.set_result(found)

    asking = InferRequest("m", "", "", arrays, hear, hear, (), parameters, deadline_ns, cancelled=cancelled)
    asked = Asked(asking, done)
    return asked


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[value] for value in values], np.float32)}


def model(
    run,
    *,
    batching: Batching | None = None,
    instances: int = 1,
    quick: bool = False,
    inputs: tuple[Spec, ...] = (Spec("x", "FP32", (-1,)),),
    max_batch: int = MOST,
) -> Model:
    spec = ModelSpec("m", "1", "test", inputs, (Spec("y", "FP32", (-1,)),), max_batch, batching)
    return Model(spec, [run] * instances, quick=quick)


def play(made: Model, act: Callable[[asyncio.AbstractEventLoop, Scheduler], object]) -> object:
    """Run a scene with a scheduler on a loop of its own, then drain."""

    async def scene():
        loop = asyncio.get_running_loop()
        scheduler = Scheduler(made, loop, Statistics())
        try:
            return await asyncio.wait_for(act(loop, scheduler), 20)
        finally:
            idle = loop.create_future()
            scheduler.close(lambda: idle.set_result(None))
            await asyncio.wait_for(idle, 20)
            scheduler.end()

    return asyncio.run(scene())


class Gate:
    """A model that waits to be let through, and remembers what it ran."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.ran: list[list[float]] = []

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.entered.set()
        assert self.open.wait(20)
        self.ran.append([float(value) for value in arrays[0][:, 0]])
        return [arrays[0] * 2]

    async def hold(self, loop, scheduler: Scheduler) -> Asked:
        """Occupy the one instance."""
        first = ask(loop, rows(-1))
        scheduler.submit(first.asking)
        await asyncio.to_thread(self.entered.wait, 20)
        return first


request = st.tuples(
    st.integers(0, MOST),  # rows
    st.integers(1, 3),  # columns: requests of other shapes do not go together
    st.booleans(),  # has the optional input
    st.integers(0, 3),  # priority
    st.sampled_from(["asks", "asks", "asks", "cancelled", "expired", "fails"]),
    st.booleans(),  # a moment passes before it
)


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(request, min_size=1, max_size=40),
    preferred=st.sampled_from([(), (4,), (2, 6)]),
    delay_us=st.sampled_from([0, 500]),
    levels=st.integers(1, 3),
    delays=st.booleans(),
    instances=st.integers(1, 3),
    quick=st.booleans(),
    keeps_order=st.booleans(),
)
def test_everybody_gets_its_own_rows(
    requests, preferred, delay_us, levels, delays, instances, quick, keeps_order
):
    computed: list[float] = []

    def run(arrays):
        x, bias = arrays
        assert len(x) <= MOST
        if (x == -5).any():
            raise ValueError("five below zero")
        computed.extend(x[:, 0].tolist())
        return [x * 2 + (0 if bias is None else bias)]

    batching = Batching(
        preferred,
        delay_us * 1000,
        tuple(QueuePolicy(delay_expired=delays) for _ in range(levels)),
        0,
        keeps_order,
    )
    inputs = (Spec("x", "FP32", (-1,)), Spec("bias", "FP32", (1,), optional=True))
    made = model(run, batching=batching, instances=instances, quick=quick, inputs=inputs)

    async def act(loop, scheduler):
        all_asked = []
        for number, (count, width, biased, priority, fate, pause) in enumerate(requests):
            x = np.arange(count * width, dtype=np.float32).reshape(count, width) + 1000 * (number + 1)
            if fate == "fails":
                x[:] = -5
            arrays = {"x": x} | ({"bias": np.full((count, 1), number + 0.5, np.float32)} if biased else {})
            one = ask(
                loop,
                arrays,
                cancelled=(lambda: True) if fate == "cancelled" else (lambda: False),
                deadline_ns=monotonic_ns() - 1 if fate == "expired" else None,
                priority=priority,
            )
            scheduler.submit(one.asking)
            all_asked.append((one, x, number + 0.5 if biased else 0, fate))
            if pause:
                await asyncio.sleep(0)
        await asyncio.gather(*[one.done for one, _, _, fate in all_asked if fate != "cancelled"])
        return all_asked

    for one, x, bias, fate in play(made, act):
        if fate == "cancelled":
            assert one.answers == []
        else:
            (answer,) = one.answers  # exactly once
            if fate == "expired":
                assert answer.fault is Fault.EXPIRED
            elif fate == "fails" and len(x):
                assert "five below zero" in str(answer)
            else:
                np.testing.assert_array_equal(answer.outputs["y"], x * 2 + bias)
        if fate in {"cancelled", "expired"}:
            assert not set(x[:, 0].tolist()) & set(computed)


def test_waiting_requests_are_done_together_up_to_the_batch():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [ask(loop, rows(*range(i, i + 3))) for i in (0, 10, 20)]
        for one in others:
            scheduler.submit(one.asking)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    play(model(gate, batching=Batching()), act)
    assert gate.ran == [[-1], [0, 1, 2, 10, 11, 12], [20, 21, 22]]


def test_other_shapes_wait_for_their_own_batch():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [
            ask(loop, {"x": np.full((1, width), i, np.float32)}) for i, width in enumerate((1, 1, 2, 2))
        ]
        for one in others:
            scheduler.submit(one.asking)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    play(model(gate, batching=Batching()), act)
    assert gate.ran == [[-1], [0, 1], [2, 3]]


def test_what_expired_behind_another_is_not_taken_along():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        patient, late = ask(loop, rows(1)), ask(loop, rows(2), timeout=1000)
        scheduler.submit(patient.asking)
        scheduler.submit(late.asking)
        await asyncio.sleep(0.01)
        gate.open.set()
        await asyncio.gather(first.done, patient.done, late.done)

    play(model(gate, batching=Batching()), act)
    assert gate.ran == [[-1], [1]]


def test_without_batching_each_runs_by_itself():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [ask(loop, rows(i)) for i in range(2)]
        for one in others:
            scheduler.submit(one.asking)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    play(model(gate), act)
    assert gate.ran == [[-1], [0], [1]]


def test_a_model_without_a_batch_may_have_a_queue_policy():
    async def act(loop, scheduler):
        one = ask(loop, {"x": np.ones(3, np.float32)})
        scheduler.submit(one.asking)
        return await one.done

    answer = play(model(lambda arrays: [arrays[0] * 2], batching=Batching(), max_batch=0), act)
    assert answer.outputs["y"].tolist() == [2, 2, 2]


def test_the_first_waits_for_others_only_so_long():
    ran: list[int] = []

    def run(arrays):
        ran.append(len(arrays[0]))
        return [arrays[0]]

    async def act(loop, scheduler):
        asked = [ask(loop, rows(i)) for i in range(3)]
        for one in asked:
            scheduler.submit(one.asking)
            await asyncio.sleep(0.005)
        await asyncio.gather(*[one.done for one in asked])

    play(model(run, batching=Batching(delay_ns=200_000_000), quick=True), act)
    assert ran == [3]


def test_a_preferred_size_is_not_waited_for_any_longer():
    ran: list[int] = []

    def run(arrays):
        ran.append(len(arrays[0]))
        return [arrays[0]]

    async def act(loop, scheduler):
        asked = [ask(loop, rows(i)) for i in range(5)]
        for one in asked:
            scheduler.submit(one.asking)
        await asyncio.gather(*[one.done for one in asked[:4]])
        assert not asked[4].done.done()

    play(model(run, batching=Batching((2, 4), 10**12), quick=True), act)
    assert ran == [4, 1]  # the last one when the queue was closed


def test_who_has_less_time_than_the_delay_is_still_computed():
    async def act(loop, scheduler):
        one = ask(loop, rows(1), timeout=200_000)  # in microseconds, against a delay of 20 s
        scheduler.submit(one.asking)
        return await one.done

    answer = play(
        model(lambda arrays: [arrays[0] * 2], batching=Batching(delay_ns=20 * 10**9), quick=True), act
    )
    assert isinstance(answer, Answer)


def test_the_urgent_go_first():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [ask(loop, rows(value), priority=level) for value, level in ((3, 3), (2, 0), (1, 1), (4, 9))]
        for one in others:
            scheduler.submit(one.asking)
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in others])

    levels = Batching(priorities=(QueuePolicy(),) * 3, default_priority=1)
    play(model(gate, batching=levels), act)
    assert gate.ran == [[-1], [1], [2, 4], [3]]  # none, or one that is not there, is the default: the second


def test_what_expired_is_refused_and_never_computed():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        late, patient = ask(loop, rows(1), timeout=1000), ask(loop, rows(2))
        scheduler.submit(late.asking)
        scheduler.submit(patient.asking)
        await asyncio.sleep(0.01)
        gate.open.set()
        await asyncio.gather(first.done, patient.done)
        return await late.done

    refusal = play(model(gate, batching=Batching()), act)
    assert refusal.fault is Fault.EXPIRED
    assert gate.ran == [[-1], [2]]


def test_what_is_late_may_be_put_behind_the_others_instead():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        late, patient = ask(loop, rows(1), timeout=1000), ask(loop, rows(2))
        scheduler.submit(late.asking)
        scheduler.submit(patient.asking)
        await asyncio.sleep(0.01)
        gate.open.set()
        await asyncio.gather(first.done, patient.done, late.done)

    play(
        model(gate, batching=Batching(priorities=(QueuePolicy(allow_override=True, delay_expired=True),))),
        act,
    )
    assert gate.ran == [[-1], [2], [1]]


def test_what_was_cancelled_is_never_computed():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        gone: list[bool] = []
        left, stays = ask(loop, rows(1), cancelled=lambda: bool(gone)), ask(loop, rows(2))
        scheduler.submit(left.asking)
        scheduler.submit(stays.asking)
        gone.append(True)
        gate.open.set()
        await asyncio.gather(first.done, stays.done)
        return left.answers

    assert play(model(gate, batching=Batching()), act) == []
    assert gate.ran == [[-1], [2]]


@pytest.mark.parametrize("delays", [False, True])
def test_a_full_queue_refuses_at_once(delays):
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        fit = [ask(loop, rows(i)) for i in range(2)]
        for one in fit:
            scheduler.submit(one.asking)
        with pytest.raises(Refusal, match="too many requests wait") as refused:
            scheduler.submit(ask(loop, rows(3)).asking)
        assert refused.value.fault is Fault.UNAVAILABLE
        gate.open.set()
        await asyncio.gather(first.done, *[one.done for one in fit])

    play(model(gate, batching=Batching(priorities=(QueuePolicy(max_requests=2, delay_expired=delays),))), act)


def test_the_expired_do_not_fill_the_queue():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        late = [ask(loop, rows(i), timeout=1000) for i in range(2)]
        for one in late:
            scheduler.submit(one.asking)
        await asyncio.sleep(0.01)
        fresh = ask(loop, rows(7))
        scheduler.submit(fresh.asking)
        assert all(one.answers for one in late)
        gate.open.set()
        await asyncio.gather(first.done, fresh.done)

    play(model(gate, batching=Batching(priorities=(QueuePolicy(max_requests=2),))), act)
    assert gate.ran == [[-1], [7]]


def test_answers_keep_the_order_where_that_is_asked_for():
    slow = threading.Event()

    def run(arrays):
        if arrays[0][0, 0] == 0:
            assert slow.wait(20)
        else:
            slow.set()
        return [arrays[0]]

    async def act(loop, scheduler):
        order: list[int] = []
        asked = [ask(loop, {"x": np.full((1, 1 + i), i, np.float32)}) for i in range(3)]
        for i, one in enumerate(asked):
            one.done.add_done_callback(lambda _, i=i: order.append(i))
            scheduler.submit(one.asking)
        await asyncio.gather(*[one.done for one in asked])
        return order

    made = model(run, batching=Batching(preserve_order=True), instances=3)
    assert play(made, act) == [0, 1, 2]


def test_another_number_of_rows_is_handed_to_nobody():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        others = [ask(loop, rows(i)) for i in range(2)]
        for one in others:
            scheduler.submit(one.asking)
        gate.open.set()
        await first.done
        return await asyncio.gather(*[one.done for one in others])

    def run(arrays):
        return [gate(arrays)[0][:1]]

    refusals = play(model(run, batching=Batching()), act)
    assert [refusal.fault for refusal in refusals] == [Fault.INTERNAL] * 2


def test_what_is_closed_finishes_what_waits_and_takes_nothing():
    gate = Gate()

    async def act(loop, scheduler):
        first = await gate.hold(loop, scheduler)
        second = ask(loop, rows(5))
        scheduler.submit(second.asking)
        idle = loop.create_future()
        scheduler.close(lambda: idle.set_result(None))
        with pytest.raises(Refusal, match="being unloaded"):
            scheduler.submit(ask(loop, rows(6)).asking)
        gate.open.set()
        await idle
        assert first.answers
        assert second.answers

    play(model(gate, batching=Batching()), act)


def test_what_expires_behind_an_instance_that_hangs_is_told_so_while_it_hangs():
    hangs, seen = threading.Event(), []

    def run(arrays):
        seen.append(arrays[0][0, 0])
        hangs.wait(20)
        return arrays

    async def act(loop, scheduler):
        first = ask(loop, rows(1.0))
        scheduler.submit(first.asking)
        await asyncio.sleep(0.02)
        patient = ask(loop, rows(2.0))
        hasty = [ask(loop, rows(3.0 + i), deadline_ns=monotonic_ns() + 20_000_000) for i in range(3)]
        for one in (patient, *hasty):
            scheduler.submit(one.asking)
        told = [await asyncio.wait_for(one.done, 10) for one in hasty]
        assert [one.fault for one in told] == [Fault.EXPIRED] * 3
        assert not first.done.done()
        assert scheduler.waiting == 1
        hangs.set()
        assert isinstance(await patient.done, Answer)
        assert seen == [1.0, 2.0]

    play(model(run), act)


@pytest.mark.parametrize("quick", [True, False])
def test_a_request_by_itself_is_counted_like_any_other(quick):
    async def act(loop, scheduler):
        for number in range(5):
            one = ask(loop, rows(1.0, 2.0) if number < 2 else rows(3.0))
            scheduler.submit(one.asking)
            await one.done
        kept = scheduler.statistics.flush()
        assert (kept.success.count, kept.executions, kept.inferences) == (5, 5, 7)
        assert {size: batch[1].count for size, batch in kept.batches.items()} == {1: 3, 2: 2}
        assert sum(kept.latency.counts) == 5
        assert kept.success.total_ns >= kept.infer.total_ns > 0
        assert kept.latency.total_ns == kept.success.total_ns

    play(model(lambda arrays: arrays, quick=quick), act)
