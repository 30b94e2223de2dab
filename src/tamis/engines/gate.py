"""The gate: an engine that does not reproduce the golden outputs is not opened."""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np

from tamis._base import VerificationError, host_facts
from tamis.bundle import Bundle, Golden, Tolerance, contiguous, precision_of
from tamis.engines.engine import Arrays, Engine


def pass_gate(bundle: Bundle, engine: Engine, run: Callable[[Arrays], Arrays]) -> None:
    """Replay the golden events together, and the first alone; refuse with the output, the element and the error."""
    golden = bundle.golden
    _replay(bundle, engine, run, golden)
    if bundle.manifest.signature.rows == "free":
        _replay(bundle, engine, run, golden.first_row())


def saturation(bundle: Bundle, engine: Engine) -> str:
    """Return a sentence if this engine's 8-bit products of this model saturate on this processor, else an empty string."""
    sets = set(host_facts().instruction_sets)
    has_vnni = bool(sets & {"avx512_vnni", "avx_vnni"}) or platform.machine() not in ("x86_64", "AMD64")
    if not engine.saturates or has_vnni or precision_of(bundle.model) != "quantised":
        return ""
    return (
        f"{engine.name} saturates on processors without VNNI: it adds pairs of 8-bit products in 16 bits. Use the engine "
        "onnxruntime or native, or quantise the weights to 7 bits (reduce_range=True in onnxruntime.quantization)"
    )


def _replay(bundle: Bundle, engine: Engine, run: Callable[[Arrays], Arrays], golden: Golden) -> None:
    signature = bundle.manifest.signature
    got = run([contiguous(golden.inputs[spec.name]) for spec in signature.inputs])
    if len(got) != len(signature.outputs):
        raise VerificationError(
            f"the engine {engine.name} returns {len(got)} outputs, the bundle {bundle.name} declares {len(signature.outputs)}"
        )
    for spec, value in zip(signature.outputs, got, strict=True):
        problem = first_difference(np.asarray(value), golden.outputs[spec.name], spec.tolerance)
        if problem:
            advice = (
                saturation(bundle, engine)
                or "use another engine, or see `tamis verify` for the size of the error"
            )
            raise VerificationError(
                f"the engine {engine.name} does not reproduce the output {spec.name!r} of the bundle {bundle.name}: {problem}; "
                f"it is not opened: {advice}"
            )


def first_difference(value: np.ndarray, golden: np.ndarray, tolerance: Tolerance) -> str:
    """Return a clause about the worst element out of tolerance, or nothing."""
    if value.shape != golden.shape:
        return f"its shape is {value.shape}, the golden one {golden.shape}"
    bad = out_of_tolerance(value, golden, tolerance)
    if not bad.any():
        return ""
    with np.errstate(all="ignore"):
        error = np.abs(value.astype(np.float64) - golden.astype(np.float64))
    index = np.unravel_index(int(np.argmax(np.where(bad, np.nan_to_num(error, nan=np.inf), -1.0))), bad.shape)
    place = ", ".join(str(int(i)) for i in index)
    return (
        f"element [{place}] is {value[index]:.9g}, golden {golden[index]:.9g}, error {error[index]:.3g} "
        f"> {tolerance.absolute:.3g} + {tolerance.relative:.3g} * |golden| ({int(bad.sum())} of {bad.size} elements are off)"
    )


def out_of_tolerance(value: np.ndarray, golden: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """Tell which elements break the tolerance; equal infinities and matching NaNs agree."""
    if golden.dtype.kind != "f":
        return np.asarray(value != golden)
    v, g = value.astype(np.float64), golden.astype(np.float64)
    with np.errstate(all="ignore"):
        close = np.abs(v - g) <= tolerance.absolute + tolerance.relative * np.abs(g)
    return ~(close & np.isfinite(v) | (v == g) | (np.isnan(v) & np.isnan(g)))
