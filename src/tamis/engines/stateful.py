"""Sessions with a state: each stream of steps has its own, which the model takes as inputs and returns as outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tamis._base import InputMismatchError, UnreadableFileError, UsageError, atomic_path
from tamis.bundle import Bundle, Signature
from tamis.engines.engine import Arrays
from tamis.engines.session import Session

NEXT = "next_"  # an output of this name and the input without it are one state


def states_of(signature: Signature) -> dict[str, str]:
    """Return the inputs of a model that are states, each with the output that follows it: `h` and `next_h`."""
    outputs = {spec.name for spec in signature.outputs}
    return {spec.name: NEXT + spec.name for spec in signature.inputs if NEXT + spec.name in outputs}


@dataclass(frozen=True)
class _Batch:
    call: Callable[[], Arrays]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


class StatefulSession:
    """Runs a model step by step for any number of streams, and keeps the state of each; a state begins with zeros.

    Streams in one call do not mix. It serves one thread.
    """

    def __init__(self, session: Session, states: Mapping[str, str] | None = None) -> None:
        """Wrap an opened session; `states` names the output that follows each input, by default as `states_of` finds them."""
        self.session = session
        self.states = dict(states_of(session.signature) if states is None else states)
        if not self.states:
            names = ", ".join(spec.name for spec in session.signature.outputs)
            raise UsageError(
                f"the bundle {session.bundle.name} has no state: for an input h, an output {NEXT}h is expected; its outputs are {names}"
            )
        followed = {name: session.signature.output(output) for name, output in self.states.items()}
        self._specs = {spec.name: spec for spec in session.signature.inputs}
        for name, output in followed.items():
            if name not in self._specs or self._specs[name].shape[1:] != output.shape[1:]:
                raise UsageError(
                    f"the state {name!r} of the bundle {session.bundle.name} and the output {output.name!r} differ in shape"
                )
        self.inputs = [name for name in self._specs if name not in self.states]
        self._outputs = [s.name for s in session.signature.outputs if s.name not in self.states.values()]
        self._kept: dict[Hashable, dict[str, np.ndarray]] = {}
        self._batches: dict[int, _Batch] = {}
        self._loaded: tuple[Hashable, ...] = ()  # the streams whose states are in the buffers of their batch

    def run(self, streams: Sequence[Hashable], **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Take one step of each stream, a row each, and return the outputs.

        A row with a NaN has NaN outputs, and leaves the state of its stream as it was.
        """
        check_step(self.session.bundle, self.states, inputs, len(streams))
        batch = self._load(tuple(streams))
        for name, values in inputs.items():
            batch.inputs[name][...] = values
        broken = _broken(inputs, len(streams))
        self._advance(batch, broken if broken.any() else None)
        found = {name: batch.outputs[name].copy() for name in self._outputs}
        for values in found.values():
            if broken.any() and values.dtype.kind == "f":
                values[broken] = np.nan
        return found

    def steps(self, stream: Hashable, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Take some steps of one stream, a row each, and return the outputs of each; as `run` for one row after the other."""
        count = len(next(iter(inputs.values()), ()))
        check_step(self.session.bundle, self.states, inputs, count)
        batch = self._load((stream,))
        found = {
            name: np.empty((count, *batch.outputs[name].shape[1:]), batch.outputs[name].dtype)
            for name in self._outputs
        }
        broken = _broken(inputs, count).tolist()
        alone = np.ones(1, bool)
        for row in range(count):
            for name, values in inputs.items():
                batch.inputs[name][0] = values[row]
            self._advance(batch, alone if broken[row] else None)
            for name, kept in found.items():
                kept[row] = np.nan if broken[row] and kept.dtype.kind == "f" else batch.outputs[name][0]
        return found

    def _advance(self, batch: _Batch, broken: np.ndarray | None) -> None:
        """Take a step; the rows that are `broken` keep their states."""
        batch.call()
        for name, output in self.states.items():
            if broken is None:
                np.copyto(batch.inputs[name], batch.outputs[output])
            else:
                batch.inputs[name][~broken] = batch.outputs[output][~broken]

    def state(self, stream: Hashable) -> dict[str, np.ndarray]:
        """Return a copy of the state of a stream."""
        if stream in self._loaded:
            row, inputs = self._loaded.index(stream), self._batches[len(self._loaded)].inputs
            return {name: inputs[name][row].copy() for name in self.states}
        if stream in self._kept:
            return {name: value.copy() for name, value in self._kept[stream].items()}
        return {name: np.zeros(self._row(name), self._specs[name].dtype) for name in self.states}

    def set_state(self, stream: Hashable, state: Mapping[str, np.ndarray]) -> None:
        """Replace the state of a stream."""
        if state.keys() != self.states.keys():
            raise InputMismatchError(
                f"a state of the bundle {self.session.bundle.name} has {', '.join(self.states)}; got {', '.join(state) or 'nothing'}"
            )
        for name, value in state.items():
            if np.shape(value) != self._row(name):
                raise InputMismatchError(
                    f"the state {name!r} has the shape {np.shape(value)}, expected {self._row(name)}"
                )
        self._unload()
        self._kept[stream] = {
            name: np.array(state[name], self._specs[name].dtype, copy=True) for name in self.states
        }

    def reset(self, stream: Hashable) -> None:
        """Let a stream begin again, with zeros."""
        self._unload()
        self._kept.pop(stream, None)

    @property
    def streams(self) -> list[Hashable]:
        """Return the streams that have a state."""
        return list(dict.fromkeys((*self._kept, *self._loaded)))

    def save(self, path: Path) -> None:
        """Write the states of all streams, whose names are text or integers, as safetensors."""
        streams = self.streams
        wrong = next((one for one in streams if not isinstance(one, str | int)), None)
        if wrong is not None:
            raise UsageError(f"the stream {wrong!r} cannot be saved: name streams by text or integers")
        states = [self.state(one) for one in streams]
        tensors = {
            name: np.stack([state[name] for state in states])
            if states
            else np.zeros((0, *self._row(name)), self._specs[name].dtype)
            for name in self.states
        }
        with atomic_path(path) as part:
            save_file(tensors, part, {"streams": json.dumps(streams), "bundle": self.session.bundle.name})

    def restore(self, path: Path) -> None:
        """Take up the states of a file in the place of all own ones."""
        try:
            with safe_open(path, framework="numpy") as handle:
                streams = json.loads(handle.metadata()["streams"])
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise UnreadableFileError(
                f"{path} holds no states of streams ({error}); they are written by StatefulSession.save"
            ) from error
        before, loaded = self._kept, self._loaded
        self._kept, self._loaded = {}, ()
        try:
            for row, stream in enumerate(streams):
                self.set_state(stream, {name: values[row] for name, values in tensors.items()})
        except InputMismatchError:
            self._kept, self._loaded = before, loaded
            raise

    def _row(self, name: str) -> tuple[int, ...]:
        return tuple(int(size) for size in self._specs[name].shape[1:])

    def _load(self, streams: tuple[Hashable, ...]) -> _Batch:
        """Return the batch of some streams, with their states in its buffers."""
        if streams == self._loaded and streams:
            return self._batches[len(streams)]
        if len(set(streams)) < len(streams) or not streams:
            raise UsageError(
                "a call needs at least one stream, and each stream once: it takes one step of each"
            )
        self._unload()
        states = [self.state(one) for one in streams]
        batch = self._batches.get(len(streams))
        if batch is None:
            batch = self._batches[len(streams)] = self._bound(len(streams))
        for name in self.states:
            for row, state in enumerate(states):
                batch.inputs[name][row] = state[name]
        self._loaded = streams
        return batch

    def _unload(self) -> None:
        for stream in self._loaded:
            self._kept[stream] = self.state(stream)
        self._loaded = ()

    def _bound(self, rows: int) -> _Batch:
        inputs = {name: np.zeros((rows, *self._row(name)), spec.dtype) for name, spec in self._specs.items()}
        call = self.session.bind(**inputs)
        outputs = dict(zip((spec.name for spec in self.session.signature.outputs), call(), strict=True))
        return _Batch(call, inputs, outputs)


def check_step(
    bundle: Bundle, states: Mapping[str, str], inputs: Mapping[str, np.ndarray], rows: int
) -> None:
    """Raise InputMismatchError unless `inputs` has `rows` rows of every input of a bundle that is not a state."""
    specs = {spec.name: spec for spec in bundle.manifest.signature.inputs if spec.name not in states}
    if inputs.keys() != specs.keys():
        raise InputMismatchError(
            f"a step of the bundle {bundle.name} takes {', '.join(specs)}; got {', '.join(inputs) or 'nothing'}"
        )
    for name, values in inputs.items():
        expected = (rows, *(int(size) for size in specs[name].shape[1:]))
        if values.shape != expected or not np.can_cast(values.dtype, specs[name].dtype):
            raise InputMismatchError(
                f"the input {name!r} has the shape {values.shape} and type {values.dtype}; "
                f"expected {expected} and {specs[name].dtype}"
            )


def _broken(inputs: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """Return which rows have a NaN."""
    broken = np.zeros(rows, bool)
    for values in inputs.values():
        if values.dtype.kind == "f":
            broken |= np.isnan(values.reshape(rows, -1)).any(axis=1)
    return broken
