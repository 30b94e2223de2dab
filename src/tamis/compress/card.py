"""The card of a compressed bundle: decisions, AUC and accuracy next to the parent's, and the cost of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tamis._base import host_facts
from tamis.bundle import Bundle, Parent, add_texts
from tamis.bundle.store import CARD_FILE
from tamis.compress.export import LayerCost
from tamis.compress.quality import Figure
from tamis.compress.target import QualityTarget
from tamis.records import ModelCost

MEANINGS = {
    "flips": "decisions that differ from the parent's",
    "agreement": "rows with the same most probable class",
    "error": "root mean square change of the score, in units of its standard deviation",
    "auc": "area under the ROC curve",
    "efficiency": "signal accepted at the parent's rate of background",
    "background": "background accepted at the parent's efficiency",
    "accuracy": "rows whose most probable class is the true one",
}
CARD_TEXT = """# Model card: {name}

{parent}, pruned and quantised to fixed point by `tamis compress`. Its model.onnx had the SHA-256 `{sha}`.

Every layer computes with exact multiples of powers of two: the engines give the same bits, and so do integers in hardware.{host}

## Compared with the parent

On {rows} rows that were used neither in training nor for the choice of the model; intervals at 95 %.

| quantity | parent | this model | interval | |
|---|---|---|---|---|
{figures}

{losses}

## Cost of one event

| layer | weights kept | bits | input | multiplications | EBOPs |
|---|---|---|---|---|---|
{layers}
| all | {kept} of {weights} | | | {macs} of {dense} | {ebops} |

EBOPs are those of arXiv:2405.00645.

## Options

{options}
"""


COST_TEXT = """
## Next to the parent: operations, hardware, time

| | parent | this model | ratio |
|---|---|---|---|
{rows}

{notes}
"""


def compression_card(
    name: str,
    parent: Parent,
    figures: Mapping[str, Figure],
    costs: Sequence[LayerCost],
    dense_macs: int,
    facts: Mapping[str, Any],
) -> str:
    """Return the card as Markdown."""
    options = facts["options"]
    return CARD_TEXT.format(
        name=name,
        parent=f"The bundle {parent.name} (version {parent.version})",
        sha=parent.model_sha256,
        host=facts["host"],
        rows=facts["test_rows"],
        figures="\n".join(figure_line(key, figure, MEANINGS) for key, figure in figures.items()),
        losses=losses(figures),
        layers="\n".join(_layer_line(cost) for cost in costs),
        kept=sum(cost.weights_kept for cost in costs),
        weights=sum(cost.weights for cost in costs),
        macs=sum(cost.macs for cost in costs),
        dense=dense_macs,
        ebops=sum(cost.ebops for cost in costs),
        options=", ".join(f"{key} {value}" for key, value in options.items() if value not in (None, False))
        + f"; epoch {facts['epoch']}.",
    )


def add_costs(bundle: Bundle, of_parent: ModelCost, cost: ModelCost) -> Bundle:
    """Add what a model and its parent cost to the model's card."""
    lines: list[tuple[str, float | None, float | None, str]] = [
        ("operations", of_parent.operations, cost.operations, "d")
    ]
    lines += [("bytes of weights", of_parent.weight_bytes, cost.weight_bytes, "d")]
    lines += [
        ("LUT, estimate", of_parent.lut, cost.lut, ".0f"),
        ("cycles at 240 MHz, estimate", of_parent.cycles, cost.cycles, "d"),
    ]
    lines += [
        (f"`{engine}`, one event [us]", of_parent.event_ns.get(engine, 0.0) / 1e3, time / 1e3, ".3g")
        for engine, time in cost.event_ns.items()
    ]
    rows = [_cost_line(name, parent, own, form) for name, parent, own, form in lines if own is not None]
    host = host_facts()
    notes = [f"Times are medians of calls with bound arrays, in turn, on {host.cpu}."]
    if cost.lut_source is not None:
        notes.append(
            f"LUTs are an estimate from {cost.lut_source}; `tamis firmware --synthesis` counts them."
        )
    text = COST_TEXT.format(rows="\n".join(rows), notes=" ".join(notes))
    return add_texts(bundle, {CARD_FILE: bundle.card + text})


def _cost_line(name: str, parent: float | None, own: float, form: str) -> str:
    if not parent:
        return f"| {name} | – | {own:{form}} | |"
    return f"| {name} | {parent:{form}} | {own:{form}} | {own / parent:.3g} |"


def summary(costs: Sequence[LayerCost]) -> str:
    """Return one line: the weights that are kept and their bits."""
    kept, weights = sum(cost.weights_kept for cost in costs), sum(cost.weights for cost in costs)
    most = max(cost.weight_bits[1] for cost in costs)
    return f"{kept} of {weights} weights, of up to {most} bits"


def show_figure(name: str, figure: Figure) -> str:
    """Return a measured value with its interval: fractions in per cent, AUC and correlations as they are."""
    kind = name.partition("(")[0]
    if kind in ("auc", "correlation"):
        return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"
    if kind == "error":
        return f"{figure.value:.3g} ({figure.low:.3g} to {figure.high:.3g})"
    return f"{100 * figure.value:.2f} % ({100 * figure.low:.2f} to {100 * figure.high:.2f} %)"


def reached(conditions: QualityTarget, figures: Mapping[str, Figure]) -> str:
    """Return the values of the quantities that a target names."""
    names = dict.fromkeys(condition.quantity for condition in conditions.conditions)
    return ", ".join(f"{name} {show_figure(name, figures[name])}" for name in names)


def parent_value(name: str, parent: float) -> str:
    """Return the parent's value as `show_figure` does, without an interval."""
    return show_figure(name, Figure(parent, 0, 0)).partition(" (")[0]


def figure_line(name: str, figure: Figure, meanings: Mapping[str, str]) -> str:
    """Return a row of a card's table of figures."""
    value, _, interval = show_figure(name, figure).partition(" (")
    parent = "" if figure.parent is None else parent_value(name, figure.parent)
    return f"| {name} | {parent} | {value} | {interval.rstrip(')')} | {meanings[name.partition('(')[0]]} |"


def is_cost(name: str) -> bool:
    """Return whether a quantity is better the smaller it is."""
    return name.startswith(("background(", "flips", "error"))


def losses(figures: Mapping[str, Figure], *more: str) -> str:
    """Return a sentence that says where the model is worse than its parent."""
    worse = [
        f"{name} {'rises' if is_cost(name) else 'falls'} from {parent_value(name, figure.parent)} to {show_figure(name, figure)}"
        for name, figure in figures.items()
        if figure.parent is not None
        and (figure.value > figure.parent if is_cost(name) else figure.value < figure.parent)
    ]
    flips = {name: figure for name, figure in figures.items() if name.startswith("flips")}
    if flips:
        name = max(flips, key=lambda key: flips[key].value)
        point = name.removeprefix("flips(").rstrip(")")
        worse.append(f"most decisions change at {point}: {show_figure(name, flips[name])}")
    if not worse and not more:
        return "No quantity is worse than the parent's on these rows."
    return f"**Where it loses:** {'; '.join([*worse, *more])}."


def _layer_line(cost: LayerCost) -> str:
    low, high = cost.weight_bits
    bits = str(high) if low == high else f"{low} to {high}"
    return f"| {cost.layer} | {cost.weights_kept} of {cost.weights} | {bits} | `{cost.input_format}` | {cost.macs} | {cost.ebops} |"
