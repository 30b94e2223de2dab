"""The card of a classifier: what each selector tells apart, and what it takes off the rate behind a trigger path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from tamis.bundle import Bundle
from tamis.records import Estimate, Selection, Selector
from tamis.report.canvas import LINES, MUTED, colour, label, new_figure, save, style
from tamis.report.card import head, signature, table, training_of
from tamis.report.content import plus_minus

FEW = 10  # background rows below which an efficiency means little


def write_class_card(bundle: Bundle, found: Selection) -> str:
    """Return the card in Markdown."""
    score = f"the score: 1 - p({found.classes[0]})"
    parts = (
        head(bundle),
        signature(bundle, score),
        training_of(bundle),
        _samples(bundle, found),
        _areas(found),
        _rates(found),
        _limits(bundle, found),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def of_probabilities(found: Selection) -> list[Selector]:
    """Return the selectors that are the probability of their own class."""
    return [s for s in found.selectors if s.variable == f"p({s.signal})"]


def of_background(found: Selection) -> list[Selector]:
    """Return the others: the score and plain variables, each against the background class."""
    return [s for s in found.selectors if s.variable != f"p({s.signal})"]


def _samples(bundle: Bundle, found: Selection) -> Iterator[str]:
    yield "## Samples of this evaluation"
    yield ""
    rows = [
        (s.name, ", ".join(PurePath(file).name for file in s.files), s.events, s.rows, f"{s.rate:g}")
        for s in found.samples
    ]
    yield from table(("class", "files", "events", "rows", "rate"), rows)
    yield f"Rates are relative; together they are the mix that the path accepts. Scored with {found.engine}, {found.created}."
    trained_on = bundle.manifest.training.get("files")
    names = {str(name) for name in trained_on} if isinstance(trained_on, list) else set()
    shared = sorted(names & {PurePath(file).name for s in found.samples for file in s.files})
    if shared:
        yield f"**These files have the names of training files: {', '.join(shared)}. Unless they differ, the figures below are not of independent events.**"
    yield ""


def _areas(found: Selection) -> Iterator[str]:
    yield "## What it tells apart"
    yield ""
    rows = [(f"**{s.variable}**", s.signal, "all others", plus_minus(s.auc)) for s in of_probabilities(found)]
    rows += [(s.variable, s.signal, ", ".join(s.against), plus_minus(s.auc)) for s in of_background(found)]
    yield from table(("selector", "signal", "against", "AUC"), rows)
    yield "Errors are bootstrap standard errors. Several classes that are background together count the same each. Single variables are of the same events, without any training."
    yield ""


def _rates(found: Selection) -> Iterator[str]:
    yield "## At 99 % of the signal"
    yield ""
    signals = found.classes[1:]
    shown = [s for s in of_probabilities(found) if s.signal in signals] + of_background(found)
    rows = [
        (s.signal, s.variable, *(_percent(s.passing[name]) for name in found.classes), _percent(s.removed))
        for s in sorted(shown, key=lambda s: signals.index(s.signal))
    ]
    columns = ("signal", "selector", *(f"{name} passes" for name in found.classes), "rate that goes away")
    yield from table(columns, rows)
    yield "The threshold is set on these events where 99 % of the signal pass; the last column is of the mix of all samples."
    yield ""


def _limits(bundle: Bundle, found: Selection) -> Iterator[str]:
    yield "## Limits of use"
    yield ""
    thin = [
        s
        for s in of_probabilities(found)
        if sum(x.rows for x in found.samples if x.name != s.signal)
        * max(e.value for name, e in s.passing.items() if name != s.signal)
        < FEW
    ]
    if thin:
        yield f"- Fewer than {FEW} background rows pass {', '.join(s.variable for s in thin)} at 99 % of its signal: that figure means little."
    yield "- The figures hold for simulated events (Pythia 8 at leading order, a parametric detector response with parametric b-tags and fakes), not for data of an experiment."
    yield "- Every class counted the same in the training: a probability is one only for a mix of equal parts, and a threshold has to be set anew on the mix that it will meet."
    yield "- Only events with a lepton that the feature takes are scored; what the path loses before is not counted."
    if bundle.manifest.nan == "propagate":
        yield "- An event with a NaN in its inputs scores NaN."
    yield ""


def _percent(estimate: Estimate) -> str:
    return f"({100 * estimate.value:.2f} ± {100 * estimate.error:.2f}) %"


def draw_selectors(found: Sequence[Selection], folder: Path, name: str) -> Path:
    """Draw the probability of every class against all others, of some bundles on the same samples."""
    classes = found[0].classes
    with style():
        figure, frames = new_figure(len(classes), size=(5.1 * len(classes), 5.6))
        for axes, signal in zip(frames, classes, strict=True):
            for index, one in enumerate(found):
                selector = next(s for s in of_probabilities(one) if s.signal == signal)
                x, y = [p[1] for p in selector.curve], [p[0] for p in selector.curve]
                told = f"{one.bundle}  {selector.auc.value:.4f} ± {selector.auc.error:.4f}"
                axes.plot(x, y, label=told, color=colour(index), linestyle=LINES[index % len(LINES)])
            axes.axvline(0.99, color=MUTED, linestyle=":", lw=1.2)
            axes.set_yscale("log")
            axes.set_ylim(1e-3, 1.0)
            axes.set_xlim(0.5, 1.0)
            axes.set_xlabel(f"efficiency for {signal}")
            axes.set_ylabel("efficiency for the others")
            axes.legend(loc="upper left", fontsize=9.5, title="area under the curve", title_fontsize=9.5)
            label(axes, "", f"simulation, {signal}")  # three frames leave no room beside the name
        save(figure, folder, name)
    return folder / f"{name}.png"
