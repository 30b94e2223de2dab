"""`tamis evaluate --class`: what a classifier tells apart, and what it takes off a rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import UsageError, write_text
from tamis.cli.output import print_json, print_table
from tamis.cli.reading import by_class, tell_skipped

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.measure import ClassSample
    from tamis.records import Selection


def evaluate_class_files(
    bundle: Bundle,
    given: Sequence[str],
    output: Path,
    options: dict[str, Any],
    *,
    into_bundle: bool,
    as_json: bool,
) -> None:
    """Measure, write record, card and ROC curves, and tell the figures."""
    from tamis.bundle import add_texts
    from tamis.measure import evaluate_classes
    from tamis.report import draw_selectors, write_class_card

    found = evaluate_classes(bundle, class_samples(given), **options)
    record, card = found.model_dump_json(indent=1) + "\n", write_class_card(bundle, found)
    write_text(output / f"selection-{bundle.name}.json", record)
    write_text(output / f"CARD-{bundle.name}.md", card)
    draw_selectors([found], output, f"selectors-{bundle.name}")
    if into_bundle:
        add_texts(bundle, {"CARD.md": card, "selection.json": found.model_dump_json() + "\n"})
    if as_json:
        print_json(found)
    else:
        _print(found, output)
    tell_skipped([entry for facts in found.samples for entry in facts.skipped], output)


def class_samples(given: Sequence[str]) -> list[ClassSample]:
    """Return the samples out of NAME=FILE or NAME=FILE@RATE, each file one of its own."""
    from tamis.measure import ClassSample

    return [
        ClassSample(name, (file,), rate)
        for name, files in by_class(given).items()
        for file, rate in map(_rate, files)
    ]


def _rate(entry: str) -> tuple[str, float]:
    file, sign, rate = entry.rpartition("@")
    if not sign or "/" in rate:  # a path or URL with an @ in it
        return entry, 1.0
    try:
        return file, float(rate)
    except ValueError as error:
        raise UsageError(f"the rate of {file} is {rate!r}; give a number, NAME=FILE@RATE") from error


def _print(found: Selection, output: Path) -> None:
    rows = [
        (
            s.variable,
            s.signal,
            f"{s.auc.value:.4f} ± {s.auc.error:.4f}",
            *(f"{100 * s.passing[name].value:.2f} %" for name in found.classes),
            f"{100 * s.removed.value:.2f} ± {100 * s.removed.error:.2f} %",
        )
        for s in found.selectors
    ]
    columns = (
        "selector",
        "signal",
        "AUC",
        *(f"{name} passes" for name in found.classes),
        "rate that goes away",
    )
    print_table(f"{found.bundle}, at 99 % of the signal", columns, rows)
    click.echo(f"{output}/CARD-{found.bundle}.md")
