"""The model card: what a bundle is, and what it honestly can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from tamis.bundle import Bundle
from tamis.measure.physics.baselines import (
    BASELINE_NAMES,
    FRAME_BASELINES,
    Standing,
    clearly_apart,
    figures_of_merit,
    score_name,
    standings,
)
from tamis.records import Evaluation
from tamis.report.content import plus_minus

FEW = 10  # background jets above a threshold, below which an efficiency means little


def write_card(bundle: Bundle, evaluation: Evaluation) -> str:
    """Return the model card in Markdown."""
    parts = (
        head(bundle),
        signature(bundle, role(bundle)),
        training_of(bundle),
        _samples(bundle, evaluation),
        _merit(bundle, evaluation),
        _standing(bundle, evaluation),
        _working_points(bundle, evaluation),
        _limits(bundle, evaluation),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Write a table in Markdown."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"
    yield ""


def head(bundle: Bundle) -> Iterator[str]:
    """Say which bundle it is."""
    manifest = bundle.manifest
    yield f"# Model card: {manifest.name}"
    yield ""
    if manifest.description:
        yield f"{manifest.description}."
        yield ""
    yield f"Version {manifest.version}, packed {manifest.created or 'at an unknown time'}; SHA-256 of the model `{manifest.files['model.onnx'].sha256}`."
    yield ""


def signature(bundle: Bundle, score: str) -> Iterator[str]:
    """Tell inputs, outputs and what the score is, parameters and cost."""
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
    yield f"Parameters, counted off the weights: {counts}."
    if manifest.cost is not None:
        yield f"One event costs {manifest.cost.flops / 1e6:.2f} MFLOP; the weights take {manifest.cost.weight_bytes / 1e6:.2f} MB."
    yield ""


def _supervised(bundle: Bundle) -> bool:
    """Tell whether the model was trained on signal too."""
    return "signal_files" in bundle.manifest.training


def role(bundle: Bundle) -> str:
    """Return what the score is."""
    return (
        "the probability of the signal, were both as frequent" if _supervised(bundle) else "the anomaly score"
    )


def training_of(bundle: Bundle) -> Iterator[str]:
    """Tell how it was trained."""
    yield "## Training"
    yield ""
    training = bundle.manifest.training
    if not training:
        yield "The bundle does not say how the model was trained."
    rows = [(key.replace("_", " "), _plain(value)) for key, value in training.items()]
    if rows:
        yield from table(("what", "value"), rows)
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
    rows = [(f.name, ", ".join(PurePath(file).name for file in f.files), f.events, f.jets) for f in samples]
    yield from table(("sample", "files", "events", "jets"), rows)
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
        found = {f.variable: f for f in evaluation.figures if f.signal == facts.name}
        if score not in found:
            continue
        yield f"## {facts.name} against background"
        yield ""
        names = [score, *(name for name in BASELINE_NAMES if name in found)]
        rows = [
            (
                f"**{name}**" if name == score else name,
                *(plus_minus(e) for e in figures_of_merit(found[name]).values()),
            )
            for name in names
        ]
        yield from table(("variable", *figures_of_merit(found[score])), rows)
    yield "Errors are bootstrap standard errors. A baseline is a single variable of the same jets, without any training."
    if any(f.variable in FRAME_BASELINES for f in evaluation.figures):
        yield "Frames of signal and background were drawn to have one spectrum of jet pT (of the seed). Width is the mean distance of the calorimeters' energy from the middle of the frame, multiplicity the number of candidates in the jet."
        yield ""
        return
    missing = [
        n
        for n in BASELINE_NAMES
        if n not in FRAME_BASELINES and all(f.variable != n for f in evaluation.figures)
    ]
    if missing:
        yield f"Not compared, since the files lack the columns: {', '.join(missing)}."
    yield ""


def _score(bundle: Bundle, evaluation: Evaluation) -> str:
    return bundle.manifest.score or score_name(evaluation)


def _standing(bundle: Bundle, evaluation: Evaluation) -> Iterator[str]:
    yield "## Where the detector loses to a baseline"
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
        yield "The bundle sets no thresholds."
        yield ""
        return
    samples = [evaluation.background.name, *(f.name for f in evaluation.signals)]
    rows = []
    for point in points:
        passed = evaluation.working_points.get(point.name, {})
        set_at = f"{point.background_efficiency:.4g}" if point.background_efficiency is not None else "–"
        found = (f"{passed[s]:.4f}" if s in passed else "–" for s in samples)
        rows.append(
            (point.name, f"{point.threshold:.6g}", f"{set_at} ({point.background or 'unknown'})", *found)
        )
    yield from table(("name", "threshold", "set at", *(f"{name} passes" for name in samples)), rows)


def _limits(bundle: Bundle, evaluation: Evaluation) -> Iterator[str]:
    yield "## Limits of use"
    yield ""
    jets = evaluation.background.jets
    thin = [
        e
        for e in (evaluation.figures[0].signal_efficiency if evaluation.figures else {})
        if jets * float(e) < FEW
    ]
    if thin:
        yield f"- With {jets} background jets fewer than {FEW} lie above the threshold at background {', '.join(thin)}: those figures, and their errors, mean little."
    yield "- The figures hold for simulated events (Pythia 8, a parametric detector response, no pile-up unless the samples have it), not for data of an experiment."
    if _supervised(bundle):
        yield "- A threshold has to be set anew on the background that it will meet: what the network calls probable was learnt on equal shares of one simulation."
        yield "- Images hold what this simulation puts into them. Showers are shared out by a parametric shape, noise in empty cells and the bending of tracks before the calorimeter are simplified or absent; another pile-up than that of the training changes the images."
    else:
        yield "- The score is meant for ranking: it is no probability, and a threshold has to be set anew on the background that it will meet."
        yield "- An unsupervised detector knows the background of its training only; a signal that looks simpler than the background scores low."
    if bundle.manifest.nan == "propagate":
        yield "- A jet with a NaN in its inputs scores NaN."
    yield ""
