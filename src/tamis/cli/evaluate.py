"""`tamis evaluate`: how well a model separates signal from background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import write_text
from tamis.cli.evaluate_classes import evaluate_class_files
from tamis.cli.evaluate_monitor import evaluate_monitor
from tamis.cli.evaluate_sample import evaluate_sample
from tamis.cli.output import json_option, print_json, print_table
from tamis.cli.reading import reading_options, tell_skipped

if TYPE_CHECKING:
    from tamis.records import Evaluation


@click.command(
    name="evaluate",
    epilog="Example: tamis evaluate conv-vae --background test.root --signal signal.root -o report/",
)
@click.argument("bundle")
@click.option(
    "--background",
    multiple=True,
    help="Background events, independent of the training; may be repeated.",
)
@click.option("--signal", multiple=True, help="Signal events, FILE or NAME=FILE; may be repeated.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME=FILE[@RATE]",
    help="Events of a class of a classifier, and the rate that they represent; may be repeated.",
)
@click.option(
    "--sample",
    "samples",
    multiple=True,
    metavar="FILE",
    help="Simulated arrays, with another seed than the training, for a model of arrays; may be repeated.",
)
@click.option(
    "--stream",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Simulated stream whose faults are known, for a monitor.",
)
@click.option(
    "--against", multiple=True, metavar="BUNDLE", help="With --stream: another monitor to compare with; may be repeated."
)  # fmt: skip
@click.option(
    "--good",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --against: stream without faults that sets the limits of all of them; default: the good blocks of the stream.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the record and the report.",
)
@click.option("--engine", default="onnxruntime", show_default=True, help="Engine that computes the scores.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--into-bundle", is_flag=True, help="Also write the card and the evaluation into the bundle.")
@reading_options
@json_option
def command(
    bundle: str,
    background: tuple[str, ...],
    signal: tuple[str, ...],
    classes: tuple[str, ...],
    samples: tuple[str, ...],
    stream: Path | None,
    against: tuple[str, ...],
    good: Path | None,
    output: Path,
    engine: str,
    seed: int,
    into_bundle: bool,
    tree: str | None,
    aliases: tuple[str, ...],
    skip_bad_files: bool,
    as_json: bool,
) -> None:
    """Measure AUC and signal efficiencies with bootstrap errors, next to simple baselines; write record, card and report.

    With --class: AUC of every class, and the rate removed at 99 % signal efficiency. With --sample: the energy resolution or
    the class separation, next to the baseline estimators in the sample. With --stream: false alarms of a monitor, and the faults that
    it finds and explains.
    """
    from tamis.bundle import Bundle, add_texts
    from tamis.events import parse_aliases
    from tamis.measure import evaluate_bundle
    from tamis.report import write_card, write_report

    opened = Bundle.open(bundle)
    options: dict[str, Any] = {
        "engine": engine,
        "seed": seed,
        "tree": tree,
        "aliases": parse_aliases(aliases),
        "skip_bad_files": skip_bad_files,
    }
    if stream is not None:
        if background or signal or classes or samples:
            raise click.UsageError(
                "--stream cannot be combined with --background, --signal, --class or --sample"
            )
        others = [Bundle.open(one) for one in against]
        evaluate_monitor(opened, others, stream, output, good=good, engine=engine, seed=seed, as_json=as_json)
        return
    if against or good is not None:
        raise click.UsageError("--against and --good are for monitors: add --stream")
    if samples:
        if background or signal or classes:
            raise click.UsageError("--sample cannot be combined with --background, --signal or --class")
        evaluate_sample(
            opened, samples, output, engine=engine, seed=seed, into_bundle=into_bundle, as_json=as_json
        )
        return
    if classes:
        if background or signal:
            raise click.UsageError("--class cannot be combined with --background or --signal")
        evaluate_class_files(opened, classes, output, options, into_bundle=into_bundle, as_json=as_json)
        return
    if not (background and signal):
        raise click.UsageError(
            "a detector takes --background and --signal, a classifier --class, a model of arrays --sample, a monitor --stream"
        )
    evaluation = evaluate_bundle(opened, background, _signals(signal), **options)
    write_text(output / f"evaluation-{opened.name}.json", evaluation.model_dump_json(indent=1) + "\n")
    card = write_card(opened, evaluation)
    write_text(output / f"CARD-{opened.name}.md", card)
    if into_bundle:
        opened = add_texts(
            opened, {"CARD.md": card, "evaluation.json": evaluation.model_dump_json(indent=1) + "\n"}
        )
    write_report([output], output)
    if as_json:
        print_json(evaluation)
    else:
        _print(evaluation, output)
    tell_skipped(
        [entry for facts in (evaluation.background, *evaluation.signals) for entry in facts.skipped], output
    )


def _print(evaluation: Evaluation, output: Path) -> None:
    from tamis.report.content import plus_minus

    rows = [
        (f.signal, f.variable, plus_minus(f.auc), *(plus_minus(e) for e in f.signal_efficiency.values()))
        for f in evaluation.figures
    ]
    columns = ("signal", "variable", "AUC", "efficiency at background 1e-2", "at 1e-3")
    print_table(f"{evaluation.bundle} against {evaluation.background.jets} background jets", columns, rows)
    click.echo(f"{output}/index.html")


def _signals(entries: tuple[str, ...]) -> dict[str, list[str]]:
    signals: dict[str, list[str]] = {}
    for entry in entries:
        name, sign, file = entry.partition("=")
        if not sign or "/" in name:
            name, file = Path(entry).stem, entry
        signals.setdefault(name, []).append(file)
    return signals
