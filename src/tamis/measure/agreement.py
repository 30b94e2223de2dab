"""Agreement: how an engine's outputs and decisions compare with the float64 reference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tamis._base import TamisError, UsageError
from tamis.bundle import Bundle, Output, Reference, decision_flips, evaluate
from tamis.engines import Options, Session, find_engine, first_difference, out_of_tolerance, saturation
from tamis.records import Agreement, OutputAgreement

MATCHING = (1e-4, 1e-3, 1e-2, 5e-2)  # relative: 0.01 %, 0.1 %, 1 %, 5 %


def verify(
    bundle: str | Path | Bundle,
    engine: str = "onnxruntime",
    *,
    inputs: dict[str, np.ndarray] | None = None,
    threads: int = 1,
) -> Agreement:
    """Compare an engine with the reference on the golden events, or on `inputs`.

    Never raises for a disagreement or an engine that cannot run the model; reports it.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    kind = find_engine(engine)
    if not kind.computes:
        raise UsageError(f"the engine {engine} computes nothing, so there is nothing to verify")
    kind.prepare()
    golden = bundle.golden
    if inputs is not None:
        bundle.manifest.signature.sizes(inputs)
    try:
        with Session(bundle, kind, Options(threads=threads), verify=False) as session:
            golden_outputs = session.run(**golden.inputs)
            outputs = golden_outputs if inputs is None else session.run(**inputs)
    except TamisError as error:
        return Agreement(
            bundle=bundle.name,
            engine=engine,
            version=kind.version(),
            events=0,
            passed=False,
            problem=str(error),
        )
    expected = (
        golden.outputs
        if inputs is None
        else evaluate(Reference(bundle.model), bundle.manifest.signature, inputs)
    )
    specs = bundle.manifest.signature.outputs
    differences = [
        (spec, first_difference(golden_outputs[spec.name], golden.outputs[spec.name], spec.tolerance))
        for spec in specs
    ]
    problems = [f"output {spec.name!r}: {difference}" for spec, difference in differences if difference]
    if problems and saturation(bundle, kind):
        problems.append(saturation(bundle, kind))
    score = bundle.manifest.score
    return Agreement(
        bundle=bundle.name,
        engine=engine,
        version=kind.version(),
        events=len(next(iter(expected.values()))) if bundle.manifest.signature.rows != "none" else 1,
        passed=not problems,
        problem="; ".join(problems),
        outputs=tuple(compare(spec, outputs[spec.name], expected[spec.name]) for spec in specs),
        flips=()
        if score is None
        else decision_flips(bundle.manifest.working_points, outputs[score], expected[score]),
    )


def compare(spec: Output, value: np.ndarray, reference: np.ndarray) -> OutputAgreement:
    """Compare two arrays element by element; equal infinities match, and NaN matches NaN."""
    v, r = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    tolerance = {
        "absolute_tolerance": spec.tolerance.absolute,
        "relative_tolerance": spec.tolerance.relative,
    }
    if v.shape != r.shape:
        return OutputAgreement(
            output=spec.name,
            values=int(r.size),
            largest_absolute=math.inf,
            largest_relative=math.inf,
            matching={f"{limit:g}": 0.0 for limit in MATCHING},
            out_of_tolerance=int(r.size),
            **tolerance,
        )
    same = (v == r) | (np.isnan(v) & np.isnan(r))
    with np.errstate(all="ignore"):
        absolute = np.where(same, 0.0, np.abs(v - r))
        relative = np.where(same, 0.0, absolute / np.abs(r))
    relative = np.where(np.isnan(relative), np.inf, relative)
    absolute = np.where(np.isnan(absolute), np.inf, absolute)
    return OutputAgreement(
        output=spec.name,
        values=int(v.size),
        largest_absolute=float(absolute.max(initial=0.0)),
        largest_relative=float(relative.max(initial=0.0)),
        matching={f"{limit:g}": float(np.mean(relative <= limit)) if v.size else 1.0 for limit in MATCHING},
        out_of_tolerance=int(
            out_of_tolerance(np.asarray(value), np.asarray(reference), spec.tolerance).sum()
        ),
        largest_relative_at=float(np.abs(r.flat[np.argmax(relative)])) if r.size else None,
        **tolerance,
    )
