"""Cards of trees: decisions, AUC and accuracy next to the parent's, and what the trees consist of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tamis.bundle import Parent
from tamis.compress.card import MEANINGS, figure_line, losses
from tamis.compress.quality import Figure

TREE_CARD = """# Model card: {name}

{parent}, replaced by boosted decision trees by `tamis compress --student trees`. Its model.onnx had the SHA-256 `{sha}`.

Inputs become integers of {input_bits} bits, each the multiple of a power of two; all comparisons and sums after that are exact, and so are they in hardware.

## Compared with the parent

On {rows} rows that were used neither in training nor for the choice of the model; intervals at 95 %.

| quantity | parent | this model | interval | |
|---|---|---|---|---|
{figures}

{losses}

## Trees

{trees} trees with {levels} questions along every path, the same one for all nodes of a level; {questions} different questions about {inputs} inputs. Leaves are
multiples of {step:g} with {leaf_bits} bits for each class but the first. `tamis firmware` counts the LUTs.

## Options

{options}.
"""


FOREST_CARD = """# Model card: {name}

{parent}, whose trees became trees of integers by `tamis compress`. Its model.onnx had the SHA-256 `{sha}`.

Inputs become integers of {input_bits} bits, each the multiple of a power of two; all comparisons and sums after that are exact, and so are they in hardware.

## Compared with the parent

On {rows} rows; intervals at 95 %.

| quantity | parent | this model | interval | |
|---|---|---|---|---|
{figures}

{losses}

## Trees

{trees} trees with {leaves} leaves; {questions} different questions about {inputs} inputs. Values of {exact_inputs} of these inputs are on their grid already, so that
the answers are the parent's; others are rounded to the nearest step. Leaves are multiples of {step:g} with {leaf_bits} bits. `tamis firmware` counts the LUTs.

## Options

{options}.
"""


def forest_card(name: str, parent: Parent, figures: Mapping[str, Figure], facts: Mapping[str, Any]) -> str:
    """Return the card of somebody's trees as trees of integers, as Markdown."""
    return _filled(FOREST_CARD, name, parent, figures, facts)


def tree_card(name: str, parent: Parent, figures: Mapping[str, Figure], facts: Mapping[str, Any]) -> str:
    """Return the card of a student of trees as Markdown."""
    return _filled(TREE_CARD, name, parent, figures, facts)


def _filled(
    card: str, name: str, parent: Parent, figures: Mapping[str, Figure], facts: Mapping[str, Any]
) -> str:
    """Return a card with its facts and options in their places."""
    options = facts["options"]
    own = {
        "name": name,
        "parent": f"The bundle {parent.name} (version {parent.version})",
        "sha": parent.model_sha256,
        "rows": facts["test_rows"],
        "figures": "\n".join(figure_line(key, figure, MEANINGS) for key, figure in figures.items()),
        "losses": losses(figures),
        "options": ", ".join(
            f"{key} {value}" for key, value in options.items() if value not in (None, False)
        ),
    }
    return card.format(**{**facts, **options, **own})
