"""`tamis evaluate --class`: how well a classifier separates its classes, and how much rate it removes."""

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
    entries: Sequence[str],
    output: Path,
    options: dict[str, Any],
    *,
    into_bundle: bool,
    as_json: bool,
) -> None:
    """Evaluate, write record, card and ROC curves, and print the figures."""
    from tamis.bundle import add_texts
    from tamis.measure import evaluate_classes
    from tamis.report import draw_selectors, write_class_card

    selection = evaluate_classes(bundle, class_samples(entries), **options)
    record, card = selection.model_dump_json(indent=1) + "\n", write_class_card(bundle, selection)
    write_text(output / f"selection-{bundle.name}.json", record)
    write_text(output / f"CARD-{bundle.name}.md", card)
    draw_selectors([selection], output, f"selectors-{bundle.name}")
    if into_bundle:
        add_texts(bundle, {"CARD.md": card, "selection.json": selection.model_dump_json() + "\n"})
    if as_json:
        print_json(selection)
    else:
        _print(selection, output)
    tell_skipped([entry for facts in selection.samples for entry in facts.skipped], output)


def class_samples(entries: Sequence[str]) -> list[ClassSample]:
    """Parse NAME=FILE or NAME=FILE@RATE; each file is a sample by itself."""
    from tamis.measure import ClassSample

    return [
        ClassSample(name, (file,), rate)
        for name, files in by_class(entries).items()
        for file, rate in map(_rate, files)
    ]


def _rate(entry: str) -> tuple[str, float]:
    file, sign, rate = entry.rpartition("@")
    if not sign or "/" in rate:  # a path or URL with an @ in it
        return entry, 1.0
    try:
        return file, float(rate)
    except ValueError as error:
        raise UsageError(f"the rate of {file} is {rate!r}; write a number, as in NAME=FILE@RATE") from error


def _print(selection: Selection, output: Path) -> None:
    rows = [
        (
            s.variable,
            s.signal,
            f"{s.auc.value:.4f} ± {s.auc.error:.4f}",
            *(f"{100 * s.passing[name].value:.2f} %" for name in selection.classes),
            f"{100 * s.removed.value:.2f} ± {100 * s.removed.error:.2f} %",
        )
        for s in selection.selectors
    ]
    columns = (
        "selector",
        "signal",
        "AUC",
        *(f"{name} passes" for name in selection.classes),
        "rate removed",
    )
    print_table(f"{selection.bundle}, at 99 % of the signal", columns, rows)
    click.echo(f"{output}/CARD-{selection.bundle}.md")
