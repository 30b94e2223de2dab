"""`tamis compare-tracks`: compare two files of tracks."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json, print_table, print_text


@click.command(
    name="compare-tracks", epilog="Example: tamis compare-tracks found-cpu.root found-gpu.root --json"
)
@click.argument("a", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--record",
    "record_path",
    type=click.Path(path_type=Path),
    help="Write the comparison as a JSON record.",
)
@json_option
def command(a: Path, b: Path, record_path: Path | None, as_json: bool) -> None:
    """Show which tracks are in both files A and B of `tamis track`, and what fraction of their numbers agrees within 0.01, 0.1, 1 and 5 %.

    Files that were written with --keep-stages are compared stage by stage: clusters, space points, seeds and parameters as well.
    """
    from tamis.records import write_record
    from tamis.tracking import compare_track_files

    comparison = compare_track_files(a, b)
    if record_path is not None:
        write_record(comparison, record_path)
    if as_json:
        print_json(comparison)
        return
    print_text(
        f"{comparison.events} events in both ({comparison.only_a} only in {a}, {comparison.only_b} only in {b})"
    )
    print_table(
        "objects",
        ("stage", "paired by", "in both", "only in A", "only in B"),
        [
            (
                one.stage,
                one.paired_by,
                one.both,
                _share(one.only_a, one.both),
                _share(one.only_b, one.both),
            )
            for one in comparison.stages
        ],
        keys=2,
    )
    percents = list(comparison.stages[0].quantities[0].matching)
    print_table(
        "% of the pairs that agree",
        ("stage", "quantity", *(f"within {percent} %" for percent in percents), "largest difference"),
        [
            (
                stage.stage,
                one.quantity,
                *(f"{100 * one.matching[percent]:.2f}" if one.compared else "-" for percent in percents),
                "-" if one.largest is None else f"{one.largest:.3g}",
            )
            for stage in comparison.stages
            for one in stage.quantities
        ],
        keys=2,
    )
    for reason in comparison.left_out:
        print_text(reason)


def _share(alone: int, both: int) -> str:
    return f"{alone} ({100 * alone / max(alone + both, 1):.2f} %)"
