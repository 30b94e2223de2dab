"""`tamis rates`: the rates of a menu, and thresholds for target rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tamis._base import MissingExtraError, quantity, write_text
from tamis.cli.output import json_option, print_json, print_table, say
from tamis.cli.reading import alias_option


@click.command(
    name="rates",
    epilog="Example: tamis rates menu.yaml samples.yaml --input-rate 100kHz --target anomaly=1Hz -o rates/",
)
@click.argument("menu", type=click.Path(path_type=Path))
@click.argument("samples", type=click.Path(path_type=Path))
@click.option(
    "--input-rate",
    required=True,
    help="Rate of the events that the background samples represent, such as 100kHz.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="PATH=RATE: find the threshold at which a path has a rate; may be repeated.",
)
@click.option(
    "--turn-on",
    "turn_ons",
    multiple=True,
    help="PATH=EXPRESSION: efficiency of a path as a function of a quantity; may be repeated.",
)
@click.option(
    "--before",
    type=click.Path(path_type=Path),
    help="Another menu: tune the paths of MENU to their rates in it, and show the events gained and lost.",
)
@click.option(
    "--then",
    "later",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A menu that decides about the events that MENU accepts, such as an HLT after Level-1; may be repeated.",
)
@click.option("--tree", help="Name of the tree, if the menu does not set it.")
@alias_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for record and figures."
)
@json_option
def command(menu: Path, samples: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Measure the rates and overlaps of the paths of MENU on SAMPLES with cross-sections, and tune thresholds."""
    from tamis.events import parse_aliases
    from tamis.measure import compare_models, load_samples, rate_hz, study_chain, write_tuned
    from tamis.report import write_report
    from tamis.trigger import load_menu

    aliases = parse_aliases(options["aliases"])
    source, sample_list = load_menu(menu).with_aliases(aliases), load_samples(samples)
    input_hz = rate_hz(options["input_rate"])
    chain = [source, *(load_menu(later).with_aliases(aliases) for later in options["later"])]
    record, *later_records = study_chain(
        chain,
        sample_list,
        input_hz=input_hz,
        targets=options["targets"],
        turn_ons=options["turn_ons"],
        tree=options["tree"],
    )
    if options["before"]:
        before = load_menu(options["before"]).with_aliases(aliases)
        changed = compare_models(before, source, sample_list, input_hz=input_hz, tree=options["tree"])
        record = record.model_copy(update={"before": before.menu.menu, "changed": tuple(changed)})
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "rates.json", record.model_dump_json(indent=1) + "\n")
    written = write_tuned(source, record, output) if record.tuned else []
    files = [output / "rates.json"]
    for number, (later, found) in enumerate(zip(chain[1:], later_records, strict=True), 2):
        files.append(output / f"rates-{number}.json")
        write_text(files[-1], found.model_dump_json(indent=1) + "\n")
        written += write_tuned(later, found, output / f"menu-{number}") if found.tuned else []
    try:
        write_report(files, output)
    except MissingExtraError as error:
        say(f"no figures were drawn: {error}")
    if as_json:
        print_json([record, *later_records] if later_records else record)
        return
    for one in (record, *later_records):
        _print(one)
    for path in written:
        click.echo(f"written: {path}")
    click.echo(f"all in {output}")


def _print(record: Any) -> None:
    names = list(record.samples)
    print_table(
        f"{record.menu}: rates at an input of {quantity(record.input_hz, 'Hz')} (limits at 95 % confidence)",
        ("path", "prescale", "rate", "alone", "events", *(f"% of {name}" for name in names)),
        [
            (
                p.path, p.prescale, p.rate.text, p.unique.text, p.rate.events,
                *(f"{100 * p.efficiency[name]:.3g}" for name in names),
            )
            for p in record.paths
        ],
    )  # fmt: skip
    print_table(
        "together",
        ("", "rate"),
        [
            ("all paths", record.total.text),
            *((f"stream {n}", r.text) for n, r in record.streams.items()),
            ("debug", record.debug.text),
        ],
    )
    paths = [p.path for p in record.paths]
    print_table(
        "shared rate (correlation)",
        ("", *paths),
        [
            (
                path,
                *(
                    f"{quantity(hz, 'Hz')} ({'-' if c != c else f'{c:.2f}'})"
                    for hz, c in zip(record.overlap_hz[i], record.correlation[i], strict=True)
                ),
            )
            for i, path in enumerate(paths)
        ],
    )
    _print_tuned(record)
    if record.levels:
        print_table(
            "what each level leaves",
            ("after", "rate", "samples that none passes add at most", *(f"% of {name}" for name in names)),
            [
                (
                    level.name,
                    level.rate.text,
                    quantity(level.rate.unseen_hz, "Hz", digits=2) if level.rate.unseen_hz else "-",
                    *(f"{100 * level.efficiency[name]:.3g}" for name in names),
                )
                for level in record.levels
            ],
        )


def _print_tuned(record: Any) -> None:
    if record.tuned:
        print_table(
            "tuned thresholds",
            ("path", "target", "threshold", "95 % interval", "rate"),
            [
                (
                    t.path,
                    quantity(t.target_hz, "Hz"),
                    f"{t.threshold:.6g}",
                    f"{t.low:.6g} to {t.high:.6g}",
                    t.rate.text,
                )
                for t in record.tuned
            ],
        )
    if record.changed:
        print_table(
            "the changed menu at the rates of the menu before",
            ("path", "threshold before", "now", "rate", "gained", "lost"),
            [
                (
                    e.path,
                    f"{e.threshold_before:.6g}",
                    f"{e.threshold:.6g}",
                    quantity(e.rate_hz, "Hz"),
                    quantity(e.gained_hz, "Hz"),
                    quantity(e.lost_hz, "Hz"),
                )
                for e in record.changed
            ],
        )
