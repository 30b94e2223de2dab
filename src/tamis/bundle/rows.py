"""Find out by evaluation whether the leading dimension is a batch of independent events, a fixed batch or not a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis._base import ModelError
from tamis.bundle.reference import Reference
from tamis.bundle.sample import draw_inputs, free_sizes, rows_of
from tamis.bundle.signature import BATCH, Signature

PROBE_EVENTS = 3
ROW_AGREEMENT = 1e-9
COUPLED = (
    "rows influence each other, or the leading dimension is not a batch: inputs are never split into chunks"
)
ONE_BY_ONE = (
    "the leading dimension is declared free, but the graph takes one event per call: events run one by one"
)

Arrays = dict[str, np.ndarray]


def prove_rows(
    signature: Signature, reference: Reference, samples: Arrays | None, dims: Mapping[str, int]
) -> tuple[Signature, list[str]]:
    """Return the signature with the `rows` that the graph shows when evaluated, and notes on differences from the guess."""
    if signature.rows == "none":
        return signature, []
    if signature.rows == "fixed":
        return _prove_fixed(signature, reference, samples, dims)
    if samples is not None and len({array.shape[:1] for array in samples.values()}) > 1:
        return signature.model_copy(update={"rows": "none"}), [COUPLED]
    probe, sizes = _probe(signature, samples, dims, PROBE_EVENTS)
    together = _attempt(reference, probe)
    alone = [_attempt(reference, rows_of(probe, slice(i, i + 1))) for i in range(PROBE_EVENTS)]
    results = [result for result in alone if isinstance(result, dict)]
    if isinstance(together, ModelError):
        if len(results) == PROBE_EVENTS:
            return _one_by_one(signature), [ONE_BY_ONE]
        return _prove_coupled(signature, reference, samples, dims, together, sizes)
    if len(results) == PROBE_EVENTS and all(
        _close(value, _stacked([result[name] for result in results])) for name, value in together.items()
    ):
        return signature, []
    return signature.model_copy(update={"rows": "none"}), [COUPLED]


def _prove_coupled(
    signature: Signature,
    reference: Reference,
    samples: Arrays | None,
    dims: Mapping[str, int],
    error: ModelError,
    sizes: Mapping[str, int],
) -> tuple[Signature, list[str]]:
    """Evaluate inputs whose rows cannot be separated, such as the nodes and edges of one graph."""
    none = signature.model_copy(update={"rows": "none"})
    if samples is not None:
        hint = ""
        whole = _attempt(reference, samples)
    else:
        tried = ", ".join(f"{k}={v}" for k, v in sorted(sizes.items()) if k != BATCH)
        hint = f"; sizes tried: {tried} (choose others with --dims)"
        known = {d for spec in signature.inputs for d in spec.shape if isinstance(d, str)}
        chosen = free_sizes(none, {k: v for k, v in dims.items() if k in known}, 1)
        whole = _attempt(reference, draw_inputs(none, chosen, np.random.default_rng(1)))
    if isinstance(whole, ModelError):
        raise ModelError(f"{error}{hint}") from error
    return none, [COUPLED]


def _prove_fixed(
    signature: Signature, reference: Reference, samples: Arrays | None, dims: Mapping[str, int]
) -> tuple[Signature, list[str]]:
    """A fixed leading number is a batch if every output has it and the first event does not depend on the others."""
    step = signature.fixed_batch or 1
    none = signature.model_copy(update={"rows": "none"}), ([COUPLED] if step > 1 else [])
    if samples is not None and any(len(array) % step for array in samples.values()):
        return signature, []  # the samples do not fit; checking them reports it
    probe, _ = _probe(signature, samples, dims, step)
    values = reference(probe)
    if any(value.shape[:1] != (step,) for value in values.values()):
        return none
    if step > 1:
        altered = {name: np.concatenate([array[:1], _altered(array[1:])]) for name, array in probe.items()}
        changed = reference(altered)
        if not all(_close(value[:1], changed[name][:1]) for name, value in values.items()):
            return none
    return signature, []


def _probe(
    signature: Signature, samples: Arrays | None, dims: Mapping[str, int], events: int
) -> tuple[Arrays, dict[str, int]]:
    if samples is not None:
        count = min(len(array) for array in samples.values())
        picked = rows_of(samples, np.arange(events) % max(1, count))
        if count < events:  # repeating the same event would hide that events influence each other
            picked = {k: np.concatenate([v[:count], _altered(v[count:])]) for k, v in picked.items()}
        return picked, {}
    known = {d for spec in signature.inputs for d in spec.shape if isinstance(d, str)}
    sizes = free_sizes(signature, {k: v for k, v in dims.items() if k in known}, events)
    if signature.rows == "fixed":
        sizes[BATCH] = events
    return draw_inputs(signature, sizes, np.random.default_rng(1)), sizes


def _altered(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    scale = 0.5 + 0.25 * np.arange(len(array)).reshape(-1, *[1] * (array.ndim - 1)) / max(1, len(array))
    return (array * scale).astype(array.dtype)


def _attempt(reference: Reference, arrays: Arrays) -> Arrays | ModelError:
    try:
        return reference(arrays)
    except ModelError as error:
        return error


def _stacked(parts: list[np.ndarray]) -> np.ndarray | None:
    if any(part.ndim == 0 or part.shape[1:] != parts[0].shape[1:] for part in parts):
        return None
    return np.concatenate(parts)


def _close(a: np.ndarray, b: np.ndarray | None) -> bool:
    if b is None or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = float(np.nanmax(np.abs(a), initial=0.0)) if a.size else 0.0
    scale = scale if np.isfinite(scale) else 1.0
    return bool(np.allclose(a, b, rtol=ROW_AGREEMENT, atol=ROW_AGREEMENT * scale, equal_nan=True))


def _one_by_one(signature: Signature) -> Signature:
    """Return the signature with a fixed batch of one."""

    def fixed(shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
        return (1, *shape[1:]) if shape else shape

    return signature.model_copy(
        update={
            "rows": "fixed",
            "inputs": tuple(s.model_copy(update={"shape": fixed(s.shape)}) for s in signature.inputs),
            "outputs": tuple(s.model_copy(update={"shape": fixed(s.shape)}) for s in signature.outputs),
        }
    )
