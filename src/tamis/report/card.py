"""The model card: what a bundle is, its performance, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from tamis.bundle import FIRMWARE_FILE, Bundle
from tamis.measure.physics.baselines import (
    BASELINE_NAMES,
    FRAME_BASELINES,
    JET_BASELINES,
    LEVEL1_BASELINES,
    Standing,
    clearly_apart,
    figures_of_merit,
    score_name,
    standings,
)
from tamis.records import Evaluation
from tamis.report.content import plus_minus

MADE_FROM_PARENT = ("compression", "distillation")  # what `tamis compress` records about the training
FEW_BACKGROUND = 10  # background entries above a threshold, below which an efficiency is not meaningful


def write_card(bundle: Bundle, evaluation: Evaluation) -> str:
    """Return the model card in Markdown."""
    parts = (
        head(bundle),
        signature(bundle, role(bundle)),
        training_of(bundle),
        _parent(bundle),
        _samples(bundle, evaluation),
        _merit(bundle, evaluation),
        _standing(bundle, evaluation),
        _working_points(bundle, evaluation),
        _limits(bundle, evaluation),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"
    yield ""


def head(bundle: Bundle) -> Iterator[str]:
    """Yield name, description, version and checksum."""
    manifest = bundle.manifest
    yield f"# Model card: {manifest.name}"
    yield ""
    if manifest.description:
        yield f"{manifest.description}."
        yield ""
    yield f"Version {manifest.version}, packed {manifest.created or 'at an unknown time'}; SHA-256 of the model `{manifest.files['model.onnx'].sha256}`."
    yield ""


def signature(bundle: Bundle, score: str) -> Iterator[str]:
    """Yield inputs, outputs, the meaning of the score, parameters and cost."""
    manifest = bundle.manifest
    yield "## Inputs and outputs"
    yield ""
    rows = [
        (
            s.name,
            kind,
            s.dtype,
            "×".join(map(str, s.shape)),
            s.units or "–",
            score if s.name == manifest.score else "",
        )
        for kind, specs in (("input", manifest.signature.inputs), ("output", manifest.signature.outputs))
        for s in specs
    ]
    yield from table(("name", "", "type", "shape", "units", ""), rows)
    counts = ", ".join(f"{part} {count:,}" for part, count in bundle.parameters.items())
    yield f"Parameters, counted from the weights: {counts}."
    if manifest.cost is not None:
        yield f"One event costs {manifest.cost.flops / 1e6:.2f} MFLOP; the weights take {manifest.cost.weight_bytes / 1e6:.2f} MB."
    yield ""


def _supervised(bundle: Bundle) -> bool:
    """Return whether the model was also trained on signal."""
    return "signal_files" in bundle.manifest.training


def role(bundle: Bundle) -> str:
    """Return the meaning of the score."""
    return (
        "the probability of the signal if signal and background were equally frequent"
        if _supervised(bundle)
        else "the anomaly score"
    )


def training_of(bundle: Bundle) -> Iterator[str]:
    """Yield how the model was trained."""
    yield "## Training"
    yield ""
    training = bundle.manifest.training
    if not training:
        yield "The bundle has no information about the training."
    rows = [
        (key.replace("_", " "), _plain(value))
        for key, value in training.items()
        if key not in MADE_FROM_PARENT
    ]
    if rows:
        yield from table(("setting", "value"), rows)
    yield ""


def _parent(bundle: Bundle) -> Iterator[str]:
    """Yield how a compressed model or a student compares with its parent, as recorded when it was made."""
    parent = bundle.manifest.parent
    for key in MADE_FROM_PARENT:
        facts: Any = bundle.manifest.training.get(key)
        if parent is None or not isinstance(facts, dict):
            continue
        yield f"## Compared with the parent, {parent.name}"
        yield ""
        yield f"On {facts['test_rows']} rows that the model was not trained on, when `tamis compress` made it; intervals at 95 %."
        yield ""
        rows = [
            (
                name,
                "" if one["parent"] is None else f"{one['parent']:.4g}",
                f"{one['value']:.4g}",
                f"{one['low']:.4g} to {one['high']:.4g}",
            )
            for name, one in facts["figures"].items()
        ]
        yield from table(("quantity", "parent", "this model", "interval"), rows)
        yield f"Options: {_plain({name: value for name, value in facts['options'].items() if value not in (None, False)})}."
        yield ""


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _samples(bundle: Bundle, evaluation: Evaluation) -> Iterator[str]:
    yield "## Samples of this evaluation"
    yield ""
    samples = (evaluation.background, *evaluation.signals)
    rows: list[tuple[object, ...]] = [
        (f.name, ", ".join(PurePath(file).name for file in f.files), f.events, f.jets) for f in samples
    ]
    if _rows(evaluation) == "events":
        rows = [row[:3] for row in rows]
    yield from table(("sample", "files", "events", "jets")[: len(rows[0])], rows)
    yield f"Scored with {evaluation.engine}, {evaluation.created}."
    trained_on = bundle.manifest.training.get("files")
    names = {str(name) for name in trained_on} if isinstance(trained_on, list) else set()
    shared = sorted(names & {PurePath(file).name for f in samples for file in f.files})
    if shared:
        yield f"**These files have the names of training files: {', '.join(shared)}. Unless they differ, the figures below are not of independent events.**"
    yield ""


def _merit(bundle: Bundle, evaluation: Evaluation) -> Iterator[str]:
    score = _score(bundle, evaluation)
    for facts in evaluation.signals:
        by_variable = {f.variable: f for f in evaluation.figures if f.signal == facts.name}
        if score not in by_variable:
            continue
        yield f"## {facts.name} against background"
        yield ""
        names = [score, *(name for name in BASELINE_NAMES if name in by_variable)]
        rows = [
            (
                f"**{name}**" if name == score else name,
                *(plus_minus(e) for e in figures_of_merit(by_variable[name]).values()),
            )
            for name in names
        ]
        yield from table(("variable", *figures_of_merit(by_variable[score])), rows)
    yield f"Errors are bootstrap standard errors. A baseline is a single variable of the same {_rows(evaluation)}."
    if any(f.variable in FRAME_BASELINES for f in evaluation.figures):
        yield "Frames of signal and background were sampled to have the same pT spectrum of the seed jets. Width is the energy-weighted mean distance from the centre of the frame in the calorimeters, multiplicity the number of candidates in the jet."
        yield ""
        return
    missing = [n for n in JET_BASELINES if all(f.variable != n for f in evaluation.figures)]
    if _rows(evaluation) == "events":
        missing = []
    if missing:
        yield f"Not compared, because the files lack the columns: {', '.join(missing)}."
    yield ""


def _rows(evaluation: Evaluation) -> str:
    """Return what the rows of an evaluation are: jets, or events of the Level-1 trigger."""
    return "events" if any(f.variable in LEVEL1_BASELINES for f in evaluation.figures) else "jets"


def _score(bundle: Bundle, evaluation: Evaluation) -> str:
    return bundle.manifest.score or score_name(evaluation)


def _standing(bundle: Bundle, evaluation: Evaluation) -> Iterator[str]:
    yield "## Comparison with the baselines"
    yield ""
    for standing in standings(evaluation, _score(bundle, evaluation)):
        yield f"- {_sentence(standing)}"
    yield ""


def _sentence(standing: Standing) -> str:
    place, own = f"{standing.signal}, {standing.figure}", standing.detector
    if not standing.ahead:
        return f"{place}: no baseline is ahead of the detector ({plus_minus(own)})."
    ahead = ", ".join(
        f"{name} ({plus_minus(e)}{'' if clearly_apart(own, e) else ', within the errors'})"
        for name, e in standing.ahead
    )
    return f"{place}: **the detector ({plus_minus(own)}) loses to** {ahead}."


def _working_points(bundle: Bundle, evaluation: Evaluation) -> Iterator[str]:
    yield "## Working points"
    yield ""
    points = bundle.manifest.working_points
    if not points:
        yield "The bundle has no working points."
        yield ""
        return
    samples = [evaluation.background.name, *(f.name for f in evaluation.signals)]
    rows = []
    for point in points:
        passed = evaluation.working_points.get(point.name, {})
        set_at = f"{point.background_efficiency:.4g}" if point.background_efficiency is not None else "–"
        fractions = (f"{passed[s]:.4f}" if s in passed else "–" for s in samples)
        rows.append(
            (point.name, f"{point.threshold:.6g}", f"{set_at} ({point.background or 'unknown'})", *fractions)
        )
    yield from table(("name", "threshold", "set at", *(f"{name} passes" for name in samples)), rows)


def _limits(bundle: Bundle, evaluation: Evaluation) -> Iterator[str]:
    yield "## Limits of use"
    yield ""
    if FIRMWARE_FILE in bundle.manifest.files:
        yield "- The model is meant for firmware: its integers are those of the hardware, and `firmware.json` has the proof."
    elif _rows(evaluation) == "events":
        yield "- The model is not meant for firmware; a student of it is."
    jets = evaluation.background.jets
    thin = [
        e
        for e in (evaluation.figures[0].signal_efficiency if evaluation.figures else {})
        if jets * float(e) < FEW_BACKGROUND
    ]
    if thin:
        yield f"- With {jets} background {_rows(evaluation)}, fewer than {FEW_BACKGROUND} are above the threshold at background {', '.join(thin)}: those figures and their errors are not reliable."
    yield "- The figures are for simulated events (Pythia 8, a parametric detector response, no pile-up unless the samples have it), not for data of an experiment."
    if _supervised(bundle):
        yield "- Set the threshold again on the background of the application: the probabilities were learned from equal shares of signal and background in one simulation."
        yield "- The images are those of this simulation: showers have a parametric shape; noise in empty cells and the bending of tracks before the calorimeter are simplified or absent; pile-up other than in the training changes the images."
    else:
        yield "- The score ranks events and is not a probability; set the threshold again on the background of the application."
        yield "- An unsupervised detector knows only the background of its training; a signal that is simpler than the background scores low."
    if bundle.manifest.nan == "propagate":
        yield f"- {'A jet' if _rows(evaluation) == 'jets' else 'An event'} with a NaN in its inputs scores NaN."
    yield ""
