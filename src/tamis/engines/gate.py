"""The gate: an engine that does not reproduce the golden outputs is not opened."""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np

from tamis._base import VerificationError, host_facts
from tamis.bundle import Bundle, Golden, Tolerance, contiguous, precision_of
from tamis.engines.engine import Arrays, Engine


def pass_gate(bundle: Bundle, engine: Engine, run: Callable[[Arrays], Arrays]) -> None:
    """Replay the golden events as one batch, and the first alone; raise VerificationError where an output is out of tolerance."""
    golden = bundle.golden
    _replay(bundle, engine, run, golden)
    if bundle.manifest.signature.rows == "free":
        _replay(bundle, engine, run, golden.first_row())


def saturation(bundle: Bundle, engine: Engine) -> str:
    """Return advice if the engine's 8-bit products saturate for this model on this processor, else an empty string."""
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
    outputs = run([contiguous(golden.inputs[spec.name]) for spec in signature.inputs])
    if len(outputs) != len(signature.outputs):
        raise VerificationError(
            f"the engine {engine.name} returns {len(outputs)} outputs, the bundle {bundle.name} declares {len(signature.outputs)}"
        )
    for spec, value in zip(signature.outputs, outputs, strict=True):
        problem = first_difference(np.asarray(value), golden.outputs[spec.name], spec.tolerance)
        if problem:
            advice = saturation(bundle, engine) or "use another engine; `tamis verify` shows all errors"
            raise VerificationError(
                f"the engine {engine.name} does not reproduce the output {spec.name!r} of the bundle {bundle.name}: {problem}; "
                f"it is not opened: {advice}"
            )


def first_difference(value: np.ndarray, golden: np.ndarray, tolerance: Tolerance) -> str:
    """Return a clause about the worst element out of tolerance, or an empty string."""
    if value.shape != golden.shape:
        return f"its shape is {value.shape}, expected {golden.shape}"
    bad = out_of_tolerance(value, golden, tolerance)
    if not bad.any():
        return ""
    with np.errstate(all="ignore"):
        error = np.abs(value.astype(np.float64) - golden.astype(np.float64))
    index = np.unravel_index(int(np.argmax(np.where(bad, np.nan_to_num(error, nan=np.inf), -1.0))), bad.shape)
    place = ", ".join(str(int(i)) for i in index)
    return (
        f"element [{place}] is {value[index]:.9g}, golden {golden[index]:.9g}, error {error[index]:.3g} "
        f"> {tolerance.absolute:.3g} + {tolerance.relative:.3g} * |golden| ({int(bad.sum())} of {bad.size} elements out of tolerance)"
    )


def out_of_tolerance(value: np.ndarray, golden: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """Return a mask of the elements out of tolerance; equal infinities and two NaNs agree."""
    if golden.dtype.kind != "f":
        return np.asarray(value != golden)
    v, g = value.astype(np.float64), golden.astype(np.float64)
    with np.errstate(all="ignore"):
        close = np.abs(v - g) <= tolerance.absolute + tolerance.relative * np.abs(g)
    return ~(close & np.isfinite(v) | (v == g) | (np.isnan(v) & np.isnan(g)))
