"""The card of a student: decisions, correlation and AUC next to the parent's, and what both cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tamis.bundle import Parent
from tamis.compress.card import figure_line, losses, show_figure
from tamis.compress.distillation.search import StudentSize, Tried
from tamis.compress.quality import Figure

STUDENT_MEANINGS = {
    "flips": "decisions about the background that differ from the parent's",
    "correlation": "with what the student imitates, on the background",
    "auc": "area under the ROC curve against the background",
    "efficiency": "of the signal, at the parent's rate of background",
}
STUDENT_NAMES = {"dense": "dense", "conv": "convolutional", "particles": "particle"}
STUDENT_CARD = """# Model card: {name}

A {family} student that predicts {unit} of the bundle {parent} (version {version}) from the same inputs, made by `tamis compress`.
The parent's model.onnx had the SHA-256 `{sha}`.

{decisions}

## Compared with the parent

On {rows} rows that the student was not trained on; intervals at 95 %. {signals}

| quantity | parent | student | interval | |
|---|---|---|---|---|
{figures}

{losses}

## Cost of one event

| | parent | student | |
|---|---|---|---|
| operations | {parent_operations} | {operations} | {share} |
| multiplications | {parent_multiplications} | {multiplications} | |

## Sizes that were tried

| size | operations | epochs | validation loss |
|---|---|---|---|
{tried}

## Options

{options}; the weights are those after epoch {epoch}.
"""


def student_card(
    name: str,
    parent: Parent,
    figures: Mapping[str, Figure],
    size: StudentSize,
    tried: Sequence[Tried],
    facts: Mapping[str, object],
    notes: Sequence[str],
) -> str:
    """Return the card as Markdown."""
    options, operations = facts["options"], facts["operations_of_parent"]
    assert isinstance(options, Mapping)  # noqa: S101 - as `run` made it
    weakest = show_figure("correlation(ranks)", figures["correlation(ranks)"])
    decisions = "Its thresholds accept the same fraction of held-out background as the parent's do."
    return STUDENT_CARD.format(
        name=name,
        family=STUDENT_NAMES[str(options["student"])],
        unit=facts["unit"],
        parent=parent.name,
        version=parent.version,
        sha=parent.model_sha256,
        decisions=" ".join([decisions, *(f"{note[0].upper()}{note[1:]}." for note in notes)]),
        rows=facts["test_rows"],
        signals="Signals were used for nothing else."
        if any(key.startswith("auc") for key in figures)
        else "",
        figures="\n".join(figure_line(key, figure, STUDENT_MEANINGS) for key, figure in figures.items()),
        losses=losses(figures, f"its ranks correlate with the target by {weakest}"),
        parent_operations=operations or "not counted",
        operations=size.operations,
        share=f"{100 * size.operations / operations:.2f} %" if isinstance(operations, int) else "",
        parent_multiplications=facts["multiplications_of_parent"] or "not counted",
        multiplications=size.multiplications,
        tried="\n".join(
            f"| {one.size.text} | {one.size.operations} | {one.epochs} | {one.loss:.4f} |" for one in tried
        ),
        options=", ".join(f"{key} {value}" for key, value in options.items() if value is not None),
        epoch=facts["epoch"],
    )
