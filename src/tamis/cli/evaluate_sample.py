"""`tamis evaluate --sample`: the energy resolution or class separation of a model of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import write_text
from tamis.cli.output import print_json, print_table

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.records import ArrayEvaluation


def evaluate_sample(
    bundle: Bundle,
    files: Sequence[str],
    output: Path,
    *,
    engine: str,
    seed: int,
    into_bundle: bool,
    as_json: bool,
) -> None:
    """Evaluate, write record, card and picture, and print the figures."""
    from tamis.bundle import add_texts
    from tamis.measure import evaluate_arrays
    from tamis.report import draw_arrays, write_array_card

    evaluation = evaluate_arrays(bundle, files, engine=engine, seed=seed)
    record, card = evaluation.model_dump_json(indent=1) + "\n", write_array_card(bundle, evaluation)
    write_text(output / f"arrays-{bundle.name}.json", record)
    write_text(output / f"CARD-{bundle.name}.md", card)
    draw_arrays(evaluation, output, bundle.name)
    if into_bundle:
        add_texts(bundle, {"CARD.md": card, "evaluation.json": record})
    if as_json:
        print_json(evaluation)
    else:
        _print(evaluation)
        click.echo(f"{output}/CARD-{bundle.name}.md")


def _print(evaluation: ArrayEvaluation) -> None:
    from tamis.report.content import plus_minus

    rows: list[tuple[str, ...]]
    columns: tuple[str, ...]
    if evaluation.energies:
        rows = [
            (f"{one.low:.3g} to {one.high:.3g}", f.method, *map(plus_minus, (f.response, f.spread, f.within)))
            for one in evaluation.energies
            for f in one.figures
        ]
        columns = ("true energy, GeV", "measured by", "response", "spread", "68 % within")
    else:
        rows = [
            (c.name, c.baseline, *map(plus_minus, (c.auc, c.baseline_auc, c.efficiency, c.purity)))
            for c in evaluation.classes
        ]
        columns = ("class", "best single variable", "AUC", "AUC of that", "efficiency", "purity")
    print_table(f"{evaluation.bundle} on {evaluation.rows} {evaluation.what}", columns, rows)
