"""The model card of a model of arrays: its energy resolution or class separation, next to baseline estimators."""

from __future__ import annotations

from collections.abc import Iterator

from tamis.bundle import Bundle
from tamis.measure.physics.baselines import clearly_apart
from tamis.records import ArrayEvaluation, EnergyBin, EnergyFigures, Estimate
from tamis.report.card import head, signature, table, training_of
from tamis.report.content import plus_minus

MISTAKES_NAMED = 4
METHOD_NAMES = {
    "method_0": "method 0: two samples",
    "template_fit": "fit of eight pulses",
    "sum_5x5": "sum of 5 × 5 crystals",
    "sum_15x15": "sum of 15 × 15 crystals",
}


def write_array_card(bundle: Bundle, evaluation: ArrayEvaluation) -> str:
    """Return the card in Markdown."""
    parts = (
        head(bundle),
        signature(bundle, _score(bundle)),
        training_of(bundle),
        _sample(bundle, evaluation),
        _energies(evaluation),
        _classes(evaluation),
        _points(evaluation),
        _standing(evaluation),
        _limits(bundle),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _score(bundle: Bundle) -> str:
    background = bundle.manifest.training.get("background")
    if not isinstance(background, list):
        return "the score"
    names = " or ".join(map(str, background))
    return f"the score: the probability that it is not {names}, if all classes were equally frequent"


def _sample(bundle: Bundle, evaluation: ArrayEvaluation) -> Iterator[str]:
    yield "## Sample of this evaluation"
    yield ""
    yield f"{evaluation.rows:,} {evaluation.what} of {', '.join(evaluation.files)}, computed with {evaluation.engine}, {evaluation.created}."
    trained_on = bundle.manifest.training.get("files")
    shared = sorted(set(map(str, trained_on if isinstance(trained_on, list) else [])) & set(evaluation.files))
    if shared:
        yield f"**These files have the names of training files: {', '.join(shared)}. Unless they differ, the figures below are not of independent rows.**"
    yield ""


def _energies(evaluation: ArrayEvaluation) -> Iterator[str]:
    if not evaluation.energies:
        return
    yield "## Energy"
    yield ""
    rows = [
        (
            _range(energies),
            energies.rows,
            figures.method,
            plus_minus(figures.response),
            _percent(figures.spread),
            _percent(figures.within),
        )
        for energies in evaluation.energies
        for figures in energies.figures
    ]
    columns = ("true energy, GeV", evaluation.what, "method", "response", "spread", "68 % within")
    yield from table(columns, rows)
    yield "Response: median of measured over true energy. Spread: half the width of the central 68 % of that ratio, divided by its median. 68 % within: relative distance from the truth that 68 % of the rows stay within. Errors are bootstrap standard errors; the last rows are for all energies."
    yield ""
    if evaluation.empty:
        empty = [(e.method, e.rows, plus_minus(e.mean), plus_minus(e.p95)) for e in evaluation.empty]
        yield from table(("true energy 0: method", evaluation.what, "mean, GeV", "95 % below, GeV"), empty)


def _classes(evaluation: ArrayEvaluation) -> Iterator[str]:
    if not evaluation.classes:
        return
    yield "## Class separation"
    yield ""
    rows = [
        (
            c.name,
            c.rows,
            plus_minus(c.auc),
            f"{c.baseline}: {plus_minus(c.baseline_auc)}",
            _percent(c.efficiency),
            _percent(c.purity),
        )
        for c in evaluation.classes
    ]
    columns = (
        "class",
        evaluation.what,
        "AUC against the others",
        "AUC of the best single variable",
        "efficiency",
        "purity",
    )
    yield from table(columns, rows)
    yield "Each row is assigned to its most probable class; purity is for equally frequent classes. Errors are bootstrap standard errors."
    yield ""
    names = [c.name for c in evaluation.classes]
    shares = [
        (name, *(f"{100 * x:.1f} %" for x in row))
        for name, row in zip(names, evaluation.confusion, strict=True)
    ]
    yield from table(("true class", *(f"assigned to {name}" for name in names)), shares)
    mistakes = sorted(
        (
            (share, true, assigned)
            for true, row in zip(names, evaluation.confusion, strict=True)
            for assigned, share in zip(names, row, strict=True)
            if true != assigned
        ),
        reverse=True,
    )
    most = "; ".join(
        f"{100 * share:.1f} % of {true} are taken for {assigned}"
        for share, true, assigned in mistakes[:MISTAKES_NAMED]
    )
    yield f"Most frequent mistakes: {most}."
    yield ""


def _points(evaluation: ArrayEvaluation) -> Iterator[str]:
    if not evaluation.points:
        return
    yield "## Working points"
    yield ""
    names = [c.name for c in evaluation.classes]
    rows = [
        (
            point.name,
            f"{point.threshold:.6g}",
            *(_percent(point.accepted[name]) if name in point.accepted else "–" for name in names),
        )
        for point in evaluation.points
    ]
    yield from table(("working point", "threshold", *(f"{name} accepted" for name in names)), rows)


def _standing(evaluation: ArrayEvaluation) -> Iterator[str]:
    yield "## Where a baseline is better"
    yield ""
    losses = [
        *_energy_losses(evaluation),
        *(
            f"- {c.name}: {c.baseline} has the AUC {plus_minus(c.baseline_auc)}, the model {plus_minus(c.auc)}{_doubt(c.auc, c.baseline_auc)}."
            for c in evaluation.classes
            if c.baseline_auc.value > c.auc.value
        ),
    ]
    yield from losses or ["- Nowhere in the tables above."]
    yield ""


def _energy_losses(evaluation: ArrayEvaluation) -> Iterator[str]:
    for energies in evaluation.energies:
        model, *baselines = energies.figures
        for figure in ("spread", "within"):
            name = "the spread" if figure == "spread" else "the 68 % distance"
            own: Estimate = getattr(model, figure)
            for baseline in baselines:
                theirs: Estimate = getattr(baseline, figure)
                if own.value > theirs.value:
                    yield f"- {_range(energies)} GeV: {name} of {baseline.method} is {_percent(theirs)}, that of the model {_percent(own)}{_doubt(own, theirs)}."


def _doubt(own: Estimate, theirs: Estimate) -> str:
    return "" if clearly_apart(own, theirs) else " (within the errors)"


def _limits(bundle: Bundle) -> Iterator[str]:
    yield "## Limits of use"
    yield ""
    sample = bundle.manifest.training.get("sample", "")
    yield f"- Trained and evaluated on the same simple simulation (`tamis simulate {sample}`): the figures do not include any difference between that simulation and a real detector."
    yield "- The outputs depend on the distributions of energy, particle types and pile-up in the training; other distributions shift them, most at small signals."
    if bundle.manifest.nan == "propagate":
        yield "- A row with a NaN in its inputs gives NaN."
    yield ""


def _range(energies: EnergyBin) -> str:
    return f"{energies.low:.3g} to {energies.high:.3g}"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.2f} ± {100 * estimate.error:.2f} %"


def method_name(figures: EnergyFigures) -> str:
    """Return the name of an energy estimator for figures."""
    return METHOD_NAMES.get(figures.method, figures.method)
