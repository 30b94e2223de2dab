"""The story of the demo, as the record that the first page of its report is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tamis._base import TamisError, host_facts, parse_document, utc_timestamp
from tamis.bundle import Bundle
from tamis.measure.physics.baselines import BASELINE_NAMES, clearly_apart, score_name
from tamis.records import DemoModel, DemoPath, DemoRecord, DemoSample, Evaluation, RateRecord
from tamis.trigger import Menu, Outcome, RunSummary, read_decisions
from tamis.trigger.run.times import BIN_RATIO

SAMPLES = {  # title and description
    "qcd": ("QCD", "hard collisions of the ordinary kind, in which only quarks and gluons scatter"),
    "z-prime-tt": (
        "Z' to top quarks",
        "collisions that make a heavy particle which nobody has seen yet, a Z' of 1200 GeV, which decays to two top quarks",
    ),
}
SIMULATION = "proton collisions at 13.6 TeV from Pythia 8, with a simplified detector and without other collisions at the same time"
CARD = "evaluation.json"  # of a bundle: the figures of its model card
TIME_RATIO = 1.15  # of the edges of the histogram of times


def demo_record(
    menu: Menu,
    summary: RunSummary,
    rates: RateRecord,
    folder: Path,
    evaluations: Sequence[tuple[Bundle, Evaluation]],
    *,
    budget_ms: float,
) -> DemoRecord:
    """Return what happened: events by sample and path, time per event, and models next to single variables."""
    time = summary.times["event"]
    edges, counts = _time_histogram(time.bins, time.counts)
    models, unmeasured = _models(menu, evaluations)
    return DemoRecord(
        created=utc_timestamp(),
        host=host_facts(),
        menu=menu.menu,
        simulation=SIMULATION,
        budget_ms=budget_ms,
        input_hz=rates.input_hz,
        samples=_samples(summary, rates.kinds, folder),
        paths=tuple(
            DemoPath(
                name=name,
                description=path.description,
                streams=tuple(stream for stream, spec in menu.streams.items() if name in spec.paths),
                prescale=path.prescale,
            )
            for name, path in menu.paths.items()
        ),
        rate=rates.total,
        p50_ms=time.quantile_ns(0.5) / 1e6,
        p99_ms=time.quantile_ns(0.99) / 1e6,
        most_ms=time.most_ns / 1e6,
        time_edges_ms=edges,
        time_counts=counts,
        models=models,
        unmeasured=unmeasured,
    )


def _samples(summary: RunSummary, kinds: Mapping[str, str], folder: Path) -> tuple[DemoSample, ...]:
    """Count the decisions file by file: each sample is one file."""
    decisions = read_decisions(folder)
    accepted = decisions["outcome"] == Outcome.ACCEPTED
    samples = []
    for index, (file, (name, kind)) in enumerate(zip(summary.files, kinds.items(), strict=True)):
        mine = decisions["file"] == index
        samples.append(
            DemoSample(
                name=name,
                title=SAMPLES[name][0],
                kind="signal" if kind == "signal" else "background",
                description=SAMPLES[name][1],
                events=file.entries,
                accepted=int((mine & accepted).sum()),
                paths={
                    path: int((mine & accepted & decisions[f"HLT_{path}"]).sum())
                    for path in summary.counts.paths
                },
            )
        )
    return tuple(samples)


def _time_histogram(bins: Sequence[int], counts: Sequence[int]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    times_ms = BIN_RATIO ** (np.array(bins) + 0.5) / 1e6
    first = np.floor(np.log(times_ms[0]) / np.log(TIME_RATIO))
    last = np.ceil(np.log(times_ms[-1]) / np.log(TIME_RATIO)) + 1
    edges = TIME_RATIO ** np.arange(first, last + 1)
    filled, _ = np.histogram(times_ms, edges, weights=counts)
    return tuple(edges.tolist()), tuple(filled.astype(int).tolist())


def _models(
    menu: Menu, evaluations: Sequence[tuple[Bundle, Evaluation]]
) -> tuple[tuple[DemoModel, ...], tuple[str, ...]]:
    """Return the models of the demo and of the menu next to their baselines: from these events, or from the model's card."""
    measured = {bundle.name: (bundle, evaluation, "these events") for bundle, evaluation in evaluations}
    unmeasured = []
    for stage in menu.stages.values():
        if stage.bundle is None:
            continue
        bundle = Bundle.open(stage.bundle)
        if bundle.name in measured:
            continue
        try:
            found = parse_document(bundle.text(CARD), Evaluation, CARD)
        except TamisError:  # models of other kinds have other figures, or none
            unmeasured.append(bundle.name)
        else:
            measured[bundle.name] = (bundle, found, "the test events of its model card")
    models = [_model(evaluation, bundle, place) for bundle, evaluation, place in measured.values()]
    return tuple(one for one in models if one is not None), tuple(unmeasured)


def _model(evaluation: Evaluation, bundle: Bundle, place: str) -> DemoModel | None:
    signal = evaluation.signals[0].name
    of_signal = {figure.variable: figure.auc for figure in evaluation.figures if figure.signal == signal}
    score = of_signal.get(score_name(evaluation))
    baselines = {name: of_signal[name] for name in BASELINE_NAMES if name in of_signal}
    if score is None or not baselines:
        return None
    best = max(baselines, key=lambda name: baselines[name].value)
    apart = clearly_apart(score, baselines[best])
    return DemoModel(
        name=evaluation.bundle,
        purpose=bundle.manifest.description,
        signal=signal,
        measured_on=place,
        auc=score,
        baseline=best,
        baseline_auc=baselines[best],
        verdict=("better" if score.value > baselines[best].value else "worse") if apart else "equal",
    )
