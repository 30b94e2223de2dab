"""Agreement: how an engine's numbers, and its decisions, compare with the float64 reference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tamis._base import TamisError, UsageError
from tamis.bundle import Bundle, Output, Reference, evaluate
from tamis.engines import Options, Session, find_engine, first_difference, out_of_tolerance, saturation
from tamis.records import Agreement, Flips, OutputAgreement

MATCHING = (1e-4, 1e-3, 1e-2, 5e-2)  # 0.01 %, 0.1 %, 1 %, 5 %
CONFIDENCE_Z = 1.959963984540054


def verify(
    bundle: str | Path | Bundle,
    engine: str = "onnxruntime",
    *,
    inputs: dict[str, np.ndarray] | None = None,
    threads: int = 1,
) -> Agreement:
    """Compare an engine with the reference on the golden events, or on given ones; nothing is refused, all is told."""
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    kind = find_engine(engine)
    if not kind.computes:
        raise UsageError(f"the engine {engine} does no work, so there is nothing to verify")
    kind.prepare()
    golden = bundle.golden
    if inputs is not None:
        bundle.manifest.signature.sizes(inputs)
    try:
        with Session(bundle, kind, Options(threads=threads), verify=False) as session:
            got_golden = session.run(**golden.inputs)
            got = got_golden if inputs is None else session.run(**inputs)
    except TamisError as error:
        return Agreement(
            bundle=bundle.name,
            engine=engine,
            version=kind.version(),
            events=0,
            passed=False,
            problem=str(error),
        )
    want = (
        golden.outputs
        if inputs is None
        else evaluate(Reference(bundle.model), bundle.manifest.signature, inputs)
    )
    specs = bundle.manifest.signature.outputs
    problems = [
        (spec, first_difference(got_golden[spec.name], golden.outputs[spec.name], spec.tolerance))
        for spec in specs
    ]
    told = [f"output {spec.name!r}: {problem}" for spec, problem in problems if problem]
    if told and saturation(bundle, kind):
        told.append(saturation(bundle, kind))
    score = bundle.manifest.score
    return Agreement(
        bundle=bundle.name,
        engine=engine,
        version=kind.version(),
        events=len(next(iter(want.values()))) if bundle.manifest.signature.rows != "none" else 1,
        passed=not told,
        problem="; ".join(told),
        outputs=tuple(compare(spec, got[spec.name], want[spec.name]) for spec in specs),
        flips=() if score is None else _flips(bundle, got[score], want[score]),
    )


def compare(spec: Output, value: np.ndarray, reference: np.ndarray) -> OutputAgreement:
    """Compare two arrays value by value; equal values, infinities and NaNs included, match exactly."""
    v, r = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    if v.shape != r.shape:
        nothing = {f"{limit:g}": 0.0 for limit in MATCHING}
        return OutputAgreement(
            output=spec.name,
            values=int(r.size),
            largest_absolute=math.inf,
            largest_relative=math.inf,
            matching=nothing,
            out_of_tolerance=int(r.size),
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
    )


def _flips(bundle: Bundle, value: np.ndarray, reference: np.ndarray) -> tuple[Flips, ...]:
    flips = []
    if value.shape != reference.shape or value.size != (len(value) if value.ndim else 1):
        return ()  # a threshold decides on one number per event
    for point in bundle.manifest.working_points:
        decided, right = np.ravel(value) > point.threshold, np.ravel(reference) > point.threshold
        count = int(np.sum(decided != right))
        low, high = wilson(count, decided.size)
        flips.append(
            Flips(
                working_point=point.name,
                threshold=point.threshold,
                decisions=int(decided.size),
                flips=count,
                low=low,
                high=high,
            )
        )
    return tuple(flips)


def wilson(successes: int, trials: int, z: float = CONFIDENCE_Z) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a probability; with no trials anything is possible."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)
