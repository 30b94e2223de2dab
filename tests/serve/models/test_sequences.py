"""Sequences of a model: one step at a time, states that survive failures, limits and idle ones."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from tamis.serve.batching import Batching, QueuePolicy, SequencePolicy
from tamis.serve.models.model import Model, ModelSpec, Spec
from tamis.serve.models.scheduler import Scheduler
from tamis.serve.models.sequences import MAX_WAITING_STEPS
from tamis.serve.models.statistics import Statistics
from tamis.serve.protocol.messages import Answer, Fault, InferRequest, Refusal, RequestedOutput

IDLE_US = 1_000_000_000  # longer than any test
FAILS = 99.0  # an input that the model fails on


class Sum:
    """A model that returns the sum of a sequence so far, and notes the batches that it ran."""

    def __init__(self, *, most=4, quick=True, batching=None):
        self.batches: list[list[float]] = []
        self.hold = None
        spec = ModelSpec(
            "sum",
            "1",
            "test",
            (Spec("x", "FP32", (1,)), Spec("s", "FP32", (1,))),
            (Spec("next_s", "FP32", (1,)), Spec("y", "FP32", (1,))),
            8,
            batching or Batching(),
            sequences=SequencePolicy({"s": "next_s"}, most, IDLE_US),
        )
        self.model = Model(spec, [self._run], quick=quick)

    def _run(self, arrays):
        x, s = arrays
        self.batches.append(x[:, 0].tolist())
        if self.hold is not None:
            assert self.hold.wait(10)
        if (x == FAILS).any():
            raise ValueError("it failed")
        return [s + x, s + x]


class Client:
    """Sends steps to a scheduler and keeps the answers, by request."""

    def __init__(self, scheduler):
        self.scheduler, self.pending = scheduler, []

    def send(self, key, value, *, cancelled=lambda: False, outputs=(), inputs=None, timeout_us=0, **flags):
        done = asyncio.get_running_loop().create_future()
        arrays = {"x": np.array([[value]], np.float32)} if inputs is None else inputs
        parameters = {f"sequence_{name}": flag for name, flag in {"id": key, **flags}.items()}
        parameters |= {"timeout": timeout_us} if timeout_us else {}
        request = InferRequest(
            "sum", "", "", arrays, done.set_result, done.set_result, outputs, parameters, cancelled=cancelled
        )
        try:
            self.scheduler.submit(request)
        except Refusal as refusal:
            done.set_result(refusal)
        return done

    async def step(self, key, value, **flags):
        """Return the sum, or the error."""
        return read(await self.send(key, value, **flags))


def read(outcome):
    return outcome if isinstance(outcome, Refusal) else float(outcome.outputs["y"][0, 0])


def play(served, act):
    async def scene():
        scheduler = Scheduler(served.model, asyncio.get_running_loop(), Statistics())
        try:
            return await asyncio.wait_for(act(Client(scheduler)), 20)
        finally:
            scheduler.end()

    return asyncio.run(scene())


def test_a_sequence_begins_with_zeros_goes_on_and_ends():
    async def act(client):
        assert await client.step(7, 1, start=True) == 1
        assert await client.step("seven", 10, start=True) == 10
        assert await client.step("7", 100, start=True) == 100  # a text is not the number
        assert await client.step(7, 2) == 3
        assert await client.step(7, 5, start=True) == 5
        assert await client.step(7, 1, end=True) == 6
        assert await client.step("seven", 1) == 11
        assert "must specify the START flag" in str(await client.step(7, 1))
        assert await client.step(9, 4, start=True, end=True) == 4
        assert len(client.scheduler._sequences) == 2

    play(Sum(), act)


def test_states_are_not_in_the_answer_unless_they_are_asked_for():
    async def act(client):
        answer = await client.send(1, 3, start=True)
        assert isinstance(answer, Answer)
        assert list(answer.outputs) == ["y"]
        answer = await client.send(1, 3, outputs=(RequestedOutput("next_s"),))
        assert float(answer.outputs["next_s"][0, 0]) == 6

    play(Sum(), act)


def test_steps_of_one_sequence_run_one_after_the_other_and_those_of_others_with_them():
    async def act(client):
        sent = [client.send(1, value, start=value == 1) for value in (1, 2, 3)]
        sent += [client.send(2, value, start=value == 10) for value in (10, 20)]
        assert client.scheduler.waiting == 5
        return [read(await one) for one in sent]

    served = Sum()
    assert play(served, act) == [1, 3, 6, 10, 30]
    assert served.batches == [[1, 10], [2, 20], [3]]


def test_a_step_that_fails_leaves_the_state_and_a_start_that_fails_leaves_none():
    async def act(client):
        assert await client.step(1, 1, start=True) == 1
        failed = await client.step(1, FAILS)
        assert failed.fault is Fault.INTERNAL
        assert await client.step(1, 2) == 3
        assert (await client.step(1, FAILS, end=True)).fault is Fault.INTERNAL
        assert await client.step(1, 2) == 5
        sent = [client.send(1, FAILS, start=True), client.send(1, 1), client.send(1, 8, start=True)]
        outcomes = [read(await one) for one in sent]
        assert "it failed" in str(outcomes[0])
        assert "START" in str(outcomes[1])
        assert outcomes[2] == 8
        assert (await client.step(2, FAILS, start=True)).fault is Fault.INTERNAL
        assert len(client.scheduler._sequences) == 1

    play(Sum(), act)


def test_one_failing_step_does_not_fail_or_repeat_those_of_others_in_its_batch():
    async def act(client):
        sent = [client.send(key, key, start=True) for key in (1, 2, 3)]
        assert [read(await one) for one in sent] == [1, 2, 3]
        sent = [client.send(1, 1), client.send(2, FAILS), client.send(3, 1)]
        outcomes = [read(await one) for one in sent]
        assert outcomes[0] == 2
        assert outcomes[2] == 4
        return [await client.step(key, 0) for key in (1, 2, 3)]

    assert play(Sum(), act) == [2, 2, 4]


def test_a_row_with_nan_has_nan_and_leaves_the_state():
    async def act(client):
        await client.step(1, 5, start=True)
        assert np.isnan(await client.step(1, np.nan))
        assert await client.step(1, 1) == 6
        assert np.isnan(await client.step(2, np.nan, start=True))
        assert await client.step(2, 1) == 1

    play(Sum(), act)


def test_a_cancelled_step_is_not_counted_and_the_next_one_runs():
    async def act(client):
        sent = [client.send(1, 1, start=True)]
        client.send(1, 50, cancelled=lambda: True)
        sent.append(client.send(1, 2))
        return [read(await one) for one in sent]

    served = Sum()
    assert play(served, act) == [1, 3]
    assert served.batches == [[1], [2]]


def test_idle_sequences_are_dropped_and_others_stay():
    async def act(client):
        sequences = client.scheduler._sequences
        await client.step(1, 1, start=True)
        await client.step(2, 1, start=True)
        oldest_ns = sequences._idle[1]
        sequences._idle[2] = newest_ns = oldest_ns + 5
        sequences.drop_idle(oldest_ns + 1000 * IDLE_US - 1)
        assert len(sequences) == 2
        sequences.drop_idle(oldest_ns + 1000 * IDLE_US)
        assert list(sequences._known) == [2]
        running = client.send(2, 1)
        sequences.drop_idle(newest_ns + 10**15)  # a sequence with a step under way is not idle
        assert read(await running) == 2

    served = Sum()
    play(served, act)


def test_no_sequence_is_dropped_for_a_new_one():
    async def act(client):
        client.scheduler._sequences._policy = SequencePolicy({"s": "next_s"}, 2, 10**12)
        for key in (1, 2):
            assert await client.step(key, key, start=True) == key
        refused = await client.step(3, 1, start=True)
        assert refused.fault is Fault.UNAVAILABLE
        assert "keeps the states of at most 2 sequences, and all are alive: end others" in str(refused)
        assert client.scheduler.statistics.failure.count == 1
        assert await client.step(1, 1, end=True) == 2
        assert await client.step(3, 1, start=True) == 1
        assert await client.step(2, 1) == 3

    play(Sum(), act)


@pytest.mark.parametrize("waits", [True, False])
def test_a_start_that_finds_the_queue_full_leaves_no_state(waits):
    served = Sum(quick=False, batching=Batching(priorities=(QueuePolicy(max_requests=1),)))
    served.hold = threading.Event()

    async def act(client):
        if not waits:
            served.hold.set()
            assert await client.step(1, 1, start=True) == 1
            served.hold.clear()
        running = client.send(1 if waits else 2, 1, start=True)
        await asyncio.sleep(0.01)
        refused = [client.send(1, 10, start=True)] if waits else []
        others = [client.send(3, 5, start=True)]  # fills the queue
        refused += [] if waits else [client.send(1, 10, start=True)]
        served.hold.set()
        assert read(await running) == 1
        assert "too many requests wait" in str(read(await refused[0]))
        assert "must specify the START flag" in str(await client.step(1, 100))
        assert read(await others[0]) == 5
        assert client.scheduler.statistics.failure.count == 1
        assert len(client.scheduler._sequences) == (1 if waits else 2)

    play(served, act)


def test_the_time_of_a_step_counts_from_its_arrival_and_not_from_its_turn():
    served = Sum(quick=False)
    served.hold = threading.Event()

    async def act(client):
        sent = [client.send(1, 1, start=True), client.send(1, 2), client.send(1, 3)]
        late = client.send(1, 4, timeout_us=20_000)
        await asyncio.sleep(0.05)
        served.hold.set()
        assert [read(await one) for one in sent] == [1, 3, 6]
        assert read(await late).fault is Fault.EXPIRED
        await asyncio.sleep(0)  # the statistics follow the answer
        assert client.scheduler.statistics.success.total_ns > 3 * 50_000_000

    play(served, act)


def test_waiting_steps_expire_on_time_behind_a_hanging_one():
    served = Sum(quick=False)
    served.hold = threading.Event()

    async def act(client):
        running = client.send(1, 1, start=True)
        await asyncio.sleep(0.01)
        late = [client.send(1, 10, timeout_us=20_000), client.send(1, 20, start=True, timeout_us=30_000)]
        others = [client.send(1, 100), client.send(1, 5, start=True), client.send(1, 2)]
        refused = [read(await asyncio.wait_for(one, 10)) for one in late]
        assert [one.fault for one in refused] == [Fault.EXPIRED] * 2
        assert not running.done()
        served.hold.set()
        assert read(await running) == 1
        assert "must specify the START flag" in str(
            await others[0]
        )  # it would have continued the second late one
        assert [read(await one) for one in others[1:]] == [5, 7]
        assert client.scheduler.waiting == 0
        assert served.batches == [[1], [5], [2]]

    play(served, act)


def test_waiting_steps_are_bounded():
    async def act(client):
        sent = [client.send(1, 1, start=number == 0) for number in range(MAX_WAITING_STEPS + 2)]
        outcomes = [read(await one) for one in sent]
        assert outcomes[:-1] == list(range(1, MAX_WAITING_STEPS + 2))
        assert "4096 steps of sequences wait" in str(outcomes[-1])
        assert client.scheduler.waiting == 0

    play(Sum(), act)


def test_a_model_that_is_unloaded_answers_the_steps_that_wait():
    async def act(client):
        idle = asyncio.get_running_loop().create_future()
        sent = [client.send(1, 1, start=True), client.send(1, 2), client.send(1, 3)]
        client.scheduler.close(lambda: idle.set_result([one.done() for one in sent]))
        assert (await client.step(1, 4)).fault is Fault.UNAVAILABLE
        assert await idle == [True] * 3
        return [read(await one) for one in sent]

    assert play(Sum(), act) == [1, 3, 6]


X = np.ones((1, 1), np.float32)


@pytest.mark.parametrize(
    ("key", "flags", "inputs", "message"),
    [
        (0, {"start": True}, {"x": X}, "has sequence_start or sequence_end but no sequence_id"),
        ("", {"end": True}, {"x": X}, "has sequence_start or sequence_end but no sequence_id"),
        (-1, {"start": True}, {"x": X}, r"is '-1'; pass an integer from 1 to 2\^64 - 1"),
        (1 << 64, {"start": True}, {"x": X}, "is '18446744073709551616'; pass an integer"),
        (True, {"start": True}, {"x": X}, "is 'True'; pass an integer"),
        (1.0, {"start": True}, {"x": X}, "is '1.0'; pass an integer"),
        ("n" * 129, {"start": True}, {"x": X}, "a text of at most 128 bytes"),
        ("\ud800", {"start": True}, {"x": X}, r"is '\\ud800'; pass an integer"),
        (1, {"start": 1}, {"x": X}, "must be true or false"),
        (1, {"start": True}, {"x": np.ones((2, 1), np.float32)}, "has 2 rows; a request with a sequence_id is one"),
        (1, {"start": True}, {"x": X, "s": X}, "has no input 's'; the inputs are x"),
        (1, {"start": True}, {"y": X}, "has no input 'y'; the inputs are x"),
        (0, {}, {"x": X}, "lacks the input 's'; pass sequence_id, and sequence_start in the first request"),
    ],
)  # fmt: skip
def test_wrong_steps_are_refused_and_begin_nothing(key, flags, inputs, message):
    async def act(client):
        refused = await client.send(key, 0, inputs=inputs, **flags)
        assert refused.fault is Fault.INVALID
        with pytest.raises(Refusal, match=message):
            raise refused
        assert len(client.scheduler._sequences) == 0
        assert await client.step((1 << 64) - 1, 2, start=True) == 2

    play(Sum(), act)


def test_states_may_still_be_passed_by_the_client():
    async def act(client):
        inputs = {"x": np.ones((3, 1), np.float32), "s": np.full((3, 1), 5, np.float32)}
        answer = await client.send(0, 0, inputs=inputs)
        np.testing.assert_array_equal(answer.outputs["next_s"], np.full((3, 1), 6))
        assert len(client.scheduler._sequences) == 0

    play(Sum(), act)
