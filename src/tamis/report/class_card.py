"""The model card of a classifier, and the ROC curves of its classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from tamis.bundle import Bundle
from tamis.records import Estimate, Selection, Selector
from tamis.report.canvas import LINES, MUTED, colour, label, new_figure, save, style
from tamis.report.card import FEW_BACKGROUND, head, signature, table, training_of
from tamis.report.content import plus_minus


def write_class_card(bundle: Bundle, selection: Selection) -> str:
    """Return the card in Markdown."""
    score = f"the score: 1 - p({selection.classes[0]})"
    parts = (
        head(bundle),
        signature(bundle, score),
        training_of(bundle),
        _samples(bundle, selection),
        _areas(selection),
        _rates(selection),
        _limits(bundle, selection),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def of_probabilities(selection: Selection) -> list[Selector]:
    """Return the selectors that are the probability of their class."""
    return [s for s in selection.selectors if s.variable == f"p({s.signal})"]


def of_background(selection: Selection) -> list[Selector]:
    """Return the other selectors: the score and single variables, against the background class."""
    return [s for s in selection.selectors if s.variable != f"p({s.signal})"]


def _samples(bundle: Bundle, selection: Selection) -> Iterator[str]:
    yield "## Samples of this evaluation"
    yield ""
    rows = [
        (s.name, ", ".join(PurePath(file).name for file in s.files), s.events, s.rows, f"{s.rate:g}")
        for s in selection.samples
    ]
    yield from table(("class", "files", "events", "rows", "rate"), rows)
    yield f"Rates are relative; together they are the mix that the path accepts. Scored with {selection.engine}, {selection.created}."
    trained_on = bundle.manifest.training.get("files")
    names = {str(name) for name in trained_on} if isinstance(trained_on, list) else set()
    shared = sorted(names & {PurePath(file).name for s in selection.samples for file in s.files})
    if shared:
        yield f"**These files have the names of training files: {', '.join(shared)}. Unless they differ, the figures below are not of independent events.**"
    yield ""


def _areas(selection: Selection) -> Iterator[str]:
    yield "## Class separation"
    yield ""
    rows = [
        (f"**{s.variable}**", s.signal, "all others", plus_minus(s.auc)) for s in of_probabilities(selection)
    ]
    rows += [
        (s.variable, s.signal, ", ".join(s.against), plus_minus(s.auc)) for s in of_background(selection)
    ]
    yield from table(("selector", "signal", "against", "AUC"), rows)
    yield "Errors are bootstrap standard errors. Where several classes are background, each has equal weight. Single variables are of the same events."
    yield ""


def _rates(selection: Selection) -> Iterator[str]:
    yield "## At 99 % of the signal"
    yield ""
    signals = selection.classes[1:]
    shown = [s for s in of_probabilities(selection) if s.signal in signals] + of_background(selection)
    rows = [
        (
            s.signal,
            s.variable,
            *(_percent(s.passing[name]) for name in selection.classes),
            _percent(s.removed),
        )
        for s in sorted(shown, key=lambda s: signals.index(s.signal))
    ]
    columns = ("signal", "selector", *(f"{name} passes" for name in selection.classes), "rate removed")
    yield from table(columns, rows)
    yield "The threshold is set on these events, where 99 % of the signal pass; the last column is for the mix of all samples."
    yield ""


def _limits(bundle: Bundle, selection: Selection) -> Iterator[str]:
    yield "## Limits of use"
    yield ""
    thin = [
        s
        for s in of_probabilities(selection)
        if sum(x.rows for x in selection.samples if x.name != s.signal)
        * max(e.value for name, e in s.passing.items() if name != s.signal)
        < FEW_BACKGROUND
    ]
    if thin:
        yield f"- Fewer than {FEW_BACKGROUND} background rows pass {', '.join(s.variable for s in thin)} at 99 % of its signal: that figure is not reliable."
    yield "- The figures are for simulated events (Pythia 8 at leading order, a parametric detector response with parametric b-tags and fakes), not for data of an experiment."
    yield "- All classes had equal weight in the training: the outputs are probabilities only for a mix of equal parts; set the threshold again on the mix of the application."
    yield "- Only events with a lepton accepted by the feature are scored; losses before that are not included."
    if bundle.manifest.nan == "propagate":
        yield "- An event with a NaN in its inputs scores NaN."
    yield ""


def _percent(estimate: Estimate) -> str:
    return f"({100 * estimate.value:.2f} ± {100 * estimate.error:.2f}) %"


def draw_selectors(selections: Sequence[Selection], folder: Path, name: str) -> Path:
    """Draw the ROC curve of every class against all others, for bundles evaluated on the same samples; return the PNG."""
    classes = selections[0].classes
    with style():
        figure, frames = new_figure(len(classes), size=(5.1 * len(classes), 5.6))
        for axes, signal in zip(frames, classes, strict=True):
            for index, selection in enumerate(selections):
                selector = next(s for s in of_probabilities(selection) if s.signal == signal)
                x, y = [p[1] for p in selector.curve], [p[0] for p in selector.curve]
                name_and_auc = f"{selection.bundle}  {selector.auc.value:.4f} ± {selector.auc.error:.4f}"
                axes.plot(x, y, label=name_and_auc, color=colour(index), linestyle=LINES[index % len(LINES)])
            axes.axvline(0.99, color=MUTED, linestyle=":", lw=1.2)
            axes.set_yscale("log")
            axes.set_ylim(1e-3, 1.0)
            axes.set_xlim(0.5, 1.0)
            axes.set_xlabel(f"efficiency for {signal}")
            axes.set_ylabel("efficiency for the others")
            axes.legend(loc="upper left", fontsize=9.5, title="area under the curve", title_fontsize=9.5)
            label(axes, "", f"simulation, {signal}")  # no room for more text above three frames
        save(figure, folder, name)
    return folder / f"{name}.png"
