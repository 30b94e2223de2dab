"""Bundles as served models; every engine instance has passed the gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from tamis.bundle import FIRMWARE_FILE, Bundle, Signature, Tensor
from tamis.engines import Options, Session, find_engine, states_of
from tamis.records import FirmwareRecord
from tamis.serve.batching import Batching, SequencePolicy
from tamis.serve.models.model import INLINE_NS, TIMED_CALLS, Model, ModelSpec, Run, Spec
from tamis.serve.protocol.tensors import datatype_of

MAX_BUNDLE_ROWS = 1 << 16

Dims = Mapping[str, tuple[int, ...]]


def bundle_spec(bundle: Bundle, *, sequences: bool = True) -> ModelSpec:
    """Return the interface of a bundle in the terms of the protocol; without `sequences`, states are plain inputs and outputs."""
    manifest, signature = bundle.manifest, bundle.manifest.signature
    max_batch = {"free": MAX_BUNDLE_ROWS, "fixed": signature.fixed_batch or 0, "none": 0}[signature.rows]
    return ModelSpec(
        name=manifest.name,
        version="1",
        platform="onnxruntime_onnx",
        inputs=tuple(_spec(tensor, bool(max_batch)) for tensor in signature.inputs),
        outputs=tuple(_spec(tensor, bool(max_batch)) for tensor in signature.outputs),
        max_batch=max_batch,
        batching=Batching() if signature.rows == "free" else None,
        facts={
            "bundle": manifest.name,
            "bundle_version": manifest.version,
            "model_sha256": manifest.files["model.onnx"].sha256,
        },
        sequences=_sequences(signature) if sequences else None,
    )


def _sequences(signature: Signature) -> SequencePolicy | None:
    """Return how states are kept; None for a model without rows or without states, or with states of free sizes."""
    states = states_of(signature)
    inputs = {spec.name: spec for spec in signature.inputs}
    for name, output in states.items():
        before, after = inputs[name], signature.output(output)
        if before.shape[1:] != after.shape[1:] or before.dtype != after.dtype:
            return None
        if not all(isinstance(size, int) for size in before.shape[1:]):
            return None
    return SequencePolicy(states) if states and signature.rows != "none" else None


def _spec(tensor: Tensor, has_rows: bool) -> Spec:
    shape = tuple(d if isinstance(d, int) else -1 for d in tensor.shape)
    row = shape[1:] or (1,)  # in the protocol a row has at least one dimension
    return Spec(tensor.name, datatype_of(np.dtype(tensor.dtype)), row if has_rows else shape)


def open_bundle(
    path: Path,
    engine: str,
    instances: int,
    threads: int,
    dims: Dims | None = None,
    *,
    sequences: bool = True,
) -> Model:
    """Open a bundle with verified, warm instances; `dims` are sizes of free dimensions that are compiled ahead."""
    bundle = Bundle.open(path)
    spec = bundle_spec(bundle, sequences=sequences)
    with ExitStack() as stack:  # closes the sessions if a later one fails
        sessions = open_sessions(bundle, engine, instances, threads, dims or {}, stack)
        if spec.batching is not None:
            spec = replace(spec, batching=Batching(max_merged_rows=sessions[0].useful_batch))
        rows = 1 if spec.batching is not None else None
        event = [
            np.asarray(bundle.golden.inputs[one.name])[:rows] for one in bundle.manifest.signature.inputs
        ]
        times = []
        for _ in range(TIMED_CALLS):
            start = perf_counter_ns()
            sessions[0].run(*event)
            times.append(perf_counter_ns() - start)
        runs = [_runner(session) for session in sessions]
        quick = min(times) < INLINE_NS and instances == 1
        facts = {**session_facts(sessions[0], dims or {}), **spec.facts}
        events = bundle.golden_events
        facts["verified"] = (
            f"yes: reproduces the golden outputs ({events} event{'s' * (events > 1)})"
            if sessions[0].verified
            else f"no: the engine {engine} computes nothing"
        )
        return Model(
            replace(spec, facts=facts),
            runs,
            stack.pop_all().close,
            quick=quick,
            free_dims=free_dims(bundle),
        )


def open_sessions(
    bundle: Bundle, engine: str, instances: int, threads: int, dims: Dims, stack: ExitStack
) -> list[Session]:
    """Open verified sessions, which the stack closes; of `dims` those apply that the bundle has."""
    free = free_dims(bundle)
    here = {name: sizes for name, sizes in dims.items() if name in free}  # others are of other models
    options = Options(threads=threads, dims=here)
    return [stack.enter_context(Session(bundle, find_engine(engine), options)) for _ in range(instances)]


def free_dims(bundle: Bundle) -> frozenset[str]:
    """Return the names of the free dimensions of the inputs."""
    return frozenset(d for spec in bundle.manifest.signature.inputs for d in spec.shape if isinstance(d, str))


def session_facts(session: Session, dims: Dims) -> dict[str, str]:
    """Return which engine runs and why, and whether sizes in `dims` have no effect on it."""
    facts = {"engine": session.computed_by}
    if not session.explanation.endswith(": requested"):
        facts["why"] = session.explanation
    if find_engine(session.engines[0]).emulates:
        facts["modelled"] = modelled_latency(session.bundle)
    named = free_dims(session.bundle) & set(dims)
    if named and not any(find_engine(name).compiles_sizes for name in session.engines):
        facts["ignored"] = dims_without_effect(named, session.engines)
    return facts


def dims_without_effect(names: Iterable[str], engines: Sequence[str]) -> str:
    """Return the note on sizes of dimensions that engines without fixed sizes do not need."""
    verb = "takes" if len(engines) == 1 else "take"
    return (
        f"--dims {', '.join(sorted(names))} has no effect: {' and '.join(engines)} {verb} events of any size"
    )


def _runner(session: Session) -> Run:
    signature = session.signature
    names = [spec.name for spec in signature.outputs]
    has_rows = signature.rows != "none"
    flat_inputs = [i for i, spec in enumerate(signature.inputs) if has_rows and len(spec.shape) == 1]
    flat_outputs = [i for i, spec in enumerate(signature.outputs) if has_rows and len(spec.shape) == 1]

    def run(arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        for i in flat_inputs:
            arrays[i] = arrays[i].reshape(-1)
        results = session.run(*arrays)
        outputs = [results[name] for name in names]
        for i in flat_outputs:
            outputs[i] = outputs[i].reshape(-1, 1)
        return outputs

    return run


def modelled_latency(bundle: Bundle) -> str:
    """Return the latency of the hardware that is emulated, as recorded in the bundle; the times of answers are not it."""
    if FIRMWARE_FILE not in bundle.manifest.files:
        return (
            f"the latency of the hardware is not recorded in {bundle.name}: `tamis firmware {bundle.name} --verify --into-bundle` "
            "does it; times of answers are those of the emulation"
        )
    record = FirmwareRecord.model_validate_json(bundle.text(FIRMWARE_FILE))
    return (
        f"the hardware takes {record.latency_ns:.3g} ns, {record.latency_cycles} cycles at {record.clock_mhz:g} MHz, and {record.pace}; "
        "times of answers are those of the emulation"
    )
