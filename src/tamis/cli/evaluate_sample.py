"""`tamis evaluate --sample`: what a model of arrays measures or tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import write_text
from tamis.cli.output import print_json, print_table

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.records import ArrayEvaluation, Estimate


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
    """Measure, write record, card and picture, and tell the figures."""
    from tamis.bundle import add_texts
    from tamis.measure import evaluate_arrays
    from tamis.report import draw_arrays, write_array_card

    found = evaluate_arrays(bundle, files, engine=engine, seed=seed)
    record, card = found.model_dump_json(indent=1) + "\n", write_array_card(bundle, found)
    write_text(output / f"arrays-{bundle.name}.json", record)
    write_text(output / f"CARD-{bundle.name}.md", card)
    draw_arrays(found, output, bundle.name)
    if into_bundle:
        add_texts(bundle, {"CARD.md": card, "evaluation.json": record})
    if as_json:
        print_json(found)
    else:
        _print(found)
        click.echo(f"{output}/CARD-{bundle.name}.md")


def _print(found: ArrayEvaluation) -> None:
    rows: list[tuple[str, ...]]
    columns: tuple[str, ...]
    if found.energies:
        rows = [
            (f"{one.low:.3g} to {one.high:.3g}", f.method, *map(_pm, (f.response, f.spread, f.within)))
            for one in found.energies
            for f in one.figures
        ]
        columns = ("true energy, GeV", "measured by", "response", "spread", "68 % are within")
    else:
        rows = [
            (c.name, c.baseline, *map(_pm, (c.auc, c.baseline_auc, c.efficiency, c.purity)))
            for c in found.classes
        ]
        columns = ("class", "best single variable", "AUC", "AUC of that", "efficiency", "purity")
    print_table(f"{found.bundle} on {found.rows} {found.what}", columns, rows)


def _pm(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ± {estimate.error:.4f}"
