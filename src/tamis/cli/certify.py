"""`tamis certify`: the certified blocks of a monitored stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, atomic_path, write_text
from tamis.cli.output import json_option, print_json, print_text

if TYPE_CHECKING:
    from tamis.monitor.journal import Journal


@click.command(name="certify", epilog="Example: tamis certify monitored -o golden.json --format cms")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["cms", "grl", "dials", "defects", "parquet"]),
    default="cms",
    show_default=True,
    help="Golden JSON of CMS, good-run list of ATLAS (XML), the scores of all blocks as DIALS of CMS has them, the intervals of defects (JSON), or all blocks with their features (Parquet).",
)
@click.option(
    "--page", type=click.Path(file_okay=False, path_type=Path), help="Folder for a report of the fill as well: blocks, defects, luminosity."
)  # fmt: skip
@click.option("--name", default="tamis", show_default=True, help="Of the list, or of what was monitored.")
@json_option
def command(folder: Path, output: Path, kind: str, page: Path | None, name: str, as_json: bool) -> None:
    """Write which blocks in the journal of FOLDER are good, and what luminosity is lost by which defect.

    A block that was not scored is never certified. Overrides of `tamis annotate` count.
    """
    from tamis.monitor.certify import dials, golden_json, good_run_list, lost_luminosity
    from tamis.monitor.fill import defect_intervals, fill_record
    from tamis.monitor.journal import Journal

    if output.exists():
        raise UsageError(f"{output} exists: choose another name")
    journal = Journal(folder)
    blocks = list(journal.decided())
    if kind == "parquet":
        _write_archive(journal, output)
    elif kind == "defects":
        found = [one.model_dump() for one in defect_intervals(blocks)]
        write_text(output, json.dumps(found, indent=1) + "\n")
    elif kind == "dials":
        write_text(output, dials(blocks, name, name))
    else:
        write_text(output, golden_json(blocks) if kind == "cms" else good_run_list(blocks, name))
    if page is not None:
        from tamis.report import write_report

        write_text(page / "fill.json", fill_record(journal, name).model_dump_json(indent=1) + "\n")
        write_report([page], page)
    journal.close()
    lost = lost_luminosity(blocks)
    good = sum(one.state == "good" for one in blocks)
    if as_json:
        print_json({"file": str(output), "blocks": len(blocks), "certified": good, "luminosity": lost})
        return
    print_text(f"{output}: {good} of {len(blocks)} blocks certified")
    for what, share in lost.items():
        print_text(f"  {what}: {100 * share:.2f} % of the luminosity")
    if page is not None:
        print_text(f"{page}/index.html")


def _write_archive(journal: Journal, output: Path) -> None:
    import awkward as ak

    from tamis.monitor.fill import archive

    if output.suffix != ".parquet":
        raise UsageError(f"{output} does not end with .parquet: name the archive so, such as blocks.parquet")
    with atomic_path(output) as path:
        ak.to_parquet(archive(journal), path)
