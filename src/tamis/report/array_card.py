"""The card of a model of arrays: what it measures or tells apart, next to simple ways."""

from __future__ import annotations

from collections.abc import Iterator

from tamis.bundle import Bundle
from tamis.measure.physics.baselines import clearly_apart
from tamis.records import ArrayEvaluation, EnergyBin, EnergyFigures, Estimate
from tamis.report.card import head, signature, table, training_of
from tamis.report.content import plus_minus

WORDS = {
    "method_0": "method 0: two samples",
    "template_fit": "fit of eight pulses",
    "sum_5x5": "sum of 5 × 5 crystals",
    "sum_15x15": "sum of 15 × 15 crystals",
}


def write_array_card(bundle: Bundle, found: ArrayEvaluation) -> str:
    """Return the card in Markdown."""
    parts = (
        head(bundle),
        signature(bundle, "the score"),
        training_of(bundle),
        _sample(bundle, found),
        _energies(found),
        _classes(found),
        _standing(found),
        _limits(bundle),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _sample(bundle: Bundle, found: ArrayEvaluation) -> Iterator[str]:
    yield "## Sample of this evaluation"
    yield ""
    yield f"{found.rows:,} {found.what} of {', '.join(found.files)}, computed with {found.engine}, {found.created}."
    trained_on = bundle.manifest.training.get("files")
    shared = sorted(set(map(str, trained_on if isinstance(trained_on, list) else [])) & set(found.files))
    if shared:
        yield f"**These files have the names of training files: {', '.join(shared)}. Unless they differ, the figures below are not of independent rows.**"
    yield ""


def _energies(found: ArrayEvaluation) -> Iterator[str]:
    if not found.energies:
        return
    yield "## Energy"
    yield ""
    rows = [
        (
            f"{_range(one)}",
            one.rows,
            figures.method,
            plus_minus(figures.response),
            _percent(figures.spread),
            _percent(figures.within),
        )
        for one in found.energies
        for figures in one.figures
    ]
    columns = ("true energy, GeV", found.what, "measured by", "response", "spread", "68 % are within")
    yield from table(columns, rows)
    yield "Response: the median of measured over true. Spread: half the width of the central 68 % of it, over its median. Errors are bootstrap standard errors; the last rows are of all energies."
    yield ""
    if found.empty:
        nothing = [(e.method, e.rows, plus_minus(e.mean), plus_minus(e.p95)) for e in found.empty]
        yield from table(
            ("nothing there: measured by", found.what, "mean, GeV", "95 % are below, GeV"), nothing
        )


def _classes(found: ArrayEvaluation) -> Iterator[str]:
    if not found.classes:
        return
    yield "## What it tells apart"
    yield ""
    told = [
        (
            c.name,
            c.rows,
            plus_minus(c.auc),
            f"{c.baseline}: {plus_minus(c.baseline_auc)}",
            _percent(c.efficiency),
            _percent(c.purity),
        )
        for c in found.classes
    ]
    columns = (
        "class",
        found.what,
        "AUC against the others",
        "AUC of the best single variable",
        "efficiency",
        "purity",
    )
    yield from table(columns, told)
    yield "A row is called what is most probable; purity is for equal numbers of all classes. Errors are bootstrap standard errors."
    yield ""
    listed = [c.name for c in found.classes]
    shares = [
        (name, *(f"{100 * x:.1f} %" for x in row)) for name, row in zip(listed, found.confusion, strict=True)
    ]
    yield from table(("true", *(f"called {name}" for name in listed)), shares)


def _standing(found: ArrayEvaluation) -> Iterator[str]:
    yield "## Where it loses to a simple way"
    yield ""
    told = [*_energy_losses(found), *_class_losses(found)]
    yield from told or ["- Nowhere in the tables above."]
    yield ""


def _energy_losses(found: ArrayEvaluation) -> Iterator[str]:
    for one in found.energies:
        mine, *others = one.figures
        for figure in ("spread", "within"):
            own: Estimate = getattr(mine, figure)
            for other in others:
                theirs: Estimate = getattr(other, figure)
                gap = own.value - theirs.value
                if gap > 0:
                    yield f"- {_range(one)} GeV: {_figure(figure)} of {other.method} is {_percent(theirs)}, its own {_percent(own)}{_doubt(own, theirs)}."


def _class_losses(found: ArrayEvaluation) -> Iterator[str]:
    for one in found.classes:
        gap = one.baseline_auc.value - one.auc.value
        if gap > 0:
            yield f"- {one.name}: {one.baseline} has the AUC {plus_minus(one.baseline_auc)}, it {plus_minus(one.auc)}{_doubt(one.auc, one.baseline_auc)}."


def _figure(name: str) -> str:
    return "the spread" if name == "spread" else "the share within which 68 % are"


def _doubt(own: Estimate, theirs: Estimate) -> str:
    return "" if clearly_apart(own, theirs) else " (within the errors)"


def _limits(bundle: Bundle) -> Iterator[str]:
    yield "## Limits of use"
    yield ""
    told = bundle.manifest.training.get("sample", "")
    yield f"- Trained and measured on the same simple simulation (`tamis simulate {told}`): the figures are of it, not of an experiment, and hide every way in which a detector differs from it."
    yield "- What it answers leans on how frequent energies, kinds and pile-up were in the training; another mixture shifts it, most where there is little signal."
    if bundle.manifest.nan == "propagate":
        yield "- A row with a NaN in its inputs gives NaN."
    yield ""


def _range(one: EnergyBin) -> str:
    return f"{one.low:.3g} to {one.high:.3g}"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.2f} ± {100 * estimate.error:.2f} %"


def method_name(figures: EnergyFigures) -> str:
    """Return what a way of measuring is called in figures."""
    return WORDS.get(figures.method, figures.method)
