"""Sequences of one model: the state of each is kept between its requests, of which one at a time is computed.

A step enters the scheduler's queue with the state of its sequence as inputs, once the step before it is answered, so that steps
of different sequences are batched like any other requests. A step that fails, expires or is cancelled leaves the state as it was.
Everything happens in the event loop's thread.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic_ns
from typing import Any, NamedTuple

import numpy as np

from tamis.serve.batching import Batching, SequencePolicy
from tamis.serve.models.model import ModelSpec
from tamis.serve.models.tickets import RequestTicket, prepare
from tamis.serve.protocol.messages import Fault, InferRequest, Parameter, Refusal
from tamis.serve.protocol.tensors import dtype_of

SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END = "sequence_id", "sequence_start", "sequence_end"
MAX_WAITING_STEPS = 4096  # of all sequences of a model, each behind an earlier step of its sequence
MAX_ID_BYTES = 128  # of a sequence's name, as in Triton

States = list[np.ndarray]


class StepFlags(NamedTuple):
    """Which sequence a request belongs to, and whether it is its first or its last step."""

    sequence_id: int | str
    start: bool
    end: bool


def is_step(parameters: Mapping[str, Parameter]) -> bool:
    """Return whether a request is a step of a sequence; as in Triton, the id 0 and an empty one mean none."""
    return any(
        parameters.get(name) not in (None, 0, "") for name in (SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END)
    )


def step_flags(parameters: Mapping[str, Parameter], model: str) -> StepFlags:
    """Return the sequence of a request; raise Refusal for parameters of a wrong type or without an id."""
    key = parameters.get(SEQUENCE_ID, 0)
    if key in (0, "") and not isinstance(key, bool):
        raise Refusal(
            Fault.INVALID,
            f"the request for {model!r} has {SEQUENCE_START} or {SEQUENCE_END} but no {SEQUENCE_ID}: pass an integer other than 0, or a text",
        )
    if not _is_id(key):
        raise Refusal(
            Fault.INVALID,
            f"the {SEQUENCE_ID} of the request for {model!r} is {str(key)[:40]!r}; pass an integer from 1 to 2^64 - 1, "
            f"or a text of at most {MAX_ID_BYTES} bytes in UTF-8",
        )
    flags = [parameters.get(name, False) for name in (SEQUENCE_START, SEQUENCE_END)]
    if not all(isinstance(flag, bool) for flag in flags):
        raise Refusal(
            Fault.INVALID,
            f"{SEQUENCE_START} and {SEQUENCE_END} of the request for {model!r} must be true or false",
        )
    return StepFlags(key, *map(bool, flags))  # type: ignore[arg-type] # an integer or a text, as checked


def _is_id(key: Parameter) -> bool:
    if isinstance(key, str):
        try:
            return len(key.encode()) <= MAX_ID_BYTES
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express
            return False
    return isinstance(key, int) and not isinstance(key, bool) and 0 < key < 1 << 64


@dataclass(slots=True)
class _Sequence:
    """The state of a sequence, None before its first step and after its last one; and its unanswered steps."""

    state: States | None = None
    running: StepTicket | None = None
    waiting: deque[StepTicket] = field(default_factory=deque)


class StepTicket(RequestTicket):
    """A step of a sequence: states are put in when its turn comes, and taken out when it is answered."""

    __slots__ = ("flags", "is_over", "owner", "sequence")

    def __init__(
        self, request: InferRequest, flags: StepFlags, sequence: _Sequence, owner: Sequences
    ) -> None:
        """Check the request; raise Refusal where the model does not take it."""
        spec = owner.spec
        rows = owner.step_spec.rows_of(request.inputs)
        if rows != 1:
            raise Refusal(
                Fault.INVALID,
                f"the request for {spec.name!r} has {rows} rows; a request with a {SEQUENCE_ID} is one step, of one row: "
                "send a request for each step",
            )
        shapes = [(name, array.shape[1:]) for name, array in request.inputs.items()]
        shapes += [(spec.inputs[index].name, spec.inputs[index].shape) for index in owner.inputs]
        # states are not among the outputs unless they are asked for by name
        indices = spec.output_indices(request.outputs) if request.outputs else owner.visible_outputs
        prepared = prepare(owner.batching, 1, tuple(shapes), request.parameters, indices)
        self._assign(request, spec, prepared)
        self.flags, self.sequence, self.owner = flags, sequence, owner
        self.is_over = False  # it expired before its turn

    def answer(self, outputs: Sequence[np.ndarray]) -> None:
        """Keep the states, let the next step begin, and answer: a client that has the answer finds the sequence as it is then."""
        broken = any(
            array is not None and array.dtype.kind == "f" and bool(np.isnan(array).any())
            for index, array in enumerate(self.arrays)
            if index not in self.owner.inputs
        )
        if broken:  # as in a StatefulSession: NaN out, and the state stays
            outputs = [np.full_like(one, np.nan) if one.dtype.kind == "f" else one for one in outputs]
            states = [self.arrays[index] for index in self.owner.inputs]
        else:
            states = [np.array(outputs[index], copy=True, order="C") for index in self.owner.outputs]
        self.sequence.state = None if self.flags.end else states
        self.owner.finish(self, monotonic_ns())
        super().answer(outputs)

    def refuse(self, refusal: Refusal) -> None:
        """Let the next step begin from the same state, and send an error."""
        self.owner.finish(self, monotonic_ns())
        super().refuse(refusal)

    def drop(self) -> None:
        """Let the next step begin from the same state."""
        self.owner.finish(self, monotonic_ns())


class Sequences:
    """The sequences of one version of a model; they end with it."""

    def __init__(
        self,
        spec: ModelSpec,
        policy: SequencePolicy,
        batching: Batching,
        queue: Callable[[StepTicket], None],
        refuse: Callable[[StepTicket, Refusal], None],
        expire: Callable[[StepTicket], None],
        sweep_at: Callable[[int], None],
    ) -> None:
        """Start without sequences.

        `queue` takes a step to be computed, `refuse` and `expire` answer one that is not; `sweep_at` asks for a call of `sweep`.
        """
        self.spec, self.batching, self._policy = spec, batching, policy
        self._queue, self._refuse, self._expire, self._sweep_at = queue, refuse, expire, sweep_at
        names = [one.name for one in spec.outputs]
        self.inputs = [index for index, one in enumerate(spec.inputs) if one.name in policy.states]
        self.outputs = [names.index(policy.states[spec.inputs[index].name]) for index in self.inputs]
        self.visible_outputs = tuple(index for index in range(len(names)) if index not in self.outputs)
        self.step_spec = replace(
            spec, inputs=spec.described_inputs, outputs=spec.described_outputs, sequences=None
        )
        self._known: dict[int | str, _Sequence] = {}
        self._idle: OrderedDict[int | str, int] = (
            OrderedDict()
        )  # when the last step was answered, oldest first
        self.waiting = 0
        self._expiring: dict[StepTicket, None] = {}  # those that wait, and not without a limit

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self._known)

    def submit(self, request: InferRequest, now_ns: int) -> None:
        """Take a step; raise Refusal where it cannot be computed."""
        name = self.spec.name
        flags = step_flags(request.parameters, name)
        self.drop_idle(now_ns)
        sequence = self._known.get(flags.sequence_id)
        if sequence is None:
            if not flags.start:
                raise self._not_started(flags)
            if len(self._known) >= self._policy.max_sequences:
                raise Refusal(
                    Fault.UNAVAILABLE,
                    f"the model {name!r} keeps the states of at most {self._policy.max_sequences} sequences, and all are alive: end others with {SEQUENCE_END}, "
                    "or serve it with a larger --max-sequences",
                )
            sequence = _Sequence()
        ticket = StepTicket(request, flags, sequence, self)
        ticket.queued_ns = now_ns
        if sequence.running is None:
            try:
                self._begin(ticket)
            except Refusal:
                if sequence.state is None:
                    self._known.pop(flags.sequence_id, None)
                    self._idle.pop(flags.sequence_id, None)
                raise
        elif self.waiting >= MAX_WAITING_STEPS:
            raise Refusal(
                Fault.UNAVAILABLE,
                f"{self.waiting} steps of sequences wait for the model {name!r}: wait for answers before sending more",
            )
        else:
            sequence.waiting.append(ticket)
            self.waiting += 1
            ticket.expires_ns = ticket.expires()
            if ticket.expires_ns is not None:
                self._expiring[ticket] = None
                self._sweep_at(ticket.expires_ns)
        self._known[flags.sequence_id] = sequence

    def sweep(self, now_ns: int) -> int | None:
        """Answer the steps that expired while they waited for an earlier one; return when the next one expires, in ns."""
        for ticket in [one for one in self._expiring if one.is_dead(now_ns)]:
            del self._expiring[ticket]
            ticket.is_over = True
            self._expire(ticket)
        return min([one.expires_ns for one in self._expiring if one.expires_ns is not None], default=None)

    def drop_idle(self, now_ns: int) -> None:
        """Drop the sequences that had no request for too long."""
        oldest_ns = now_ns - 1000 * self._policy.idle_us
        while self._idle:
            key, since_ns = next(iter(self._idle.items()))
            if since_ns > oldest_ns:
                return
            del self._idle[key], self._known[key]

    def _not_started(self, flags: StepFlags) -> Refusal:
        # the first half is what Triton says
        return Refusal(
            Fault.INVALID,
            f"inference request for sequence {flags.sequence_id} to model {self.spec.name!r} must specify the START flag on the first "
            f"request of the sequence: pass {SEQUENCE_START}; a sequence that was idle or whose model was reloaded begins again",
        )

    def _begin(self, ticket: StepTicket) -> None:
        """Queue a step with the state of its sequence; raise Refusal where that is not possible."""
        sequence, flags = ticket.sequence, ticket.flags
        state = self._zeros() if flags.start else sequence.state
        if state is None:
            raise self._not_started(flags)
        if flags.start:  # if it fails, later steps must not continue what was before it
            sequence.state = None
        for index, array in zip(self.inputs, state, strict=True):
            ticket.arrays[index] = array
        self._queue(ticket)
        sequence.running = ticket
        self._idle.pop(flags.sequence_id, None)

    def _zeros(self) -> States:
        specs: list[Any] = [self.spec.inputs[index] for index in self.inputs]
        return [np.zeros((1, *one.shape), dtype_of(one.datatype)) for one in specs]

    def finish(self, ticket: StepTicket, now_ns: int) -> None:
        """Let the next step of a sequence begin, or keep or forget the sequence."""
        sequence, key = ticket.sequence, ticket.flags.sequence_id
        if sequence.running is not ticket:
            return
        sequence.running = None
        while sequence.waiting:
            following = sequence.waiting.popleft()
            self.waiting -= 1
            self._expiring.pop(following, None)
            if following.is_over:
                sequence.state = None if following.flags.start else sequence.state
                continue
            try:
                self._begin(following)
            except Refusal as refusal:
                self._refuse(following, refusal)
            else:
                return
        if sequence.state is None:
            del self._known[key]
        else:
            self._idle[key] = now_ns
