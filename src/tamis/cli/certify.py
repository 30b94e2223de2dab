"""`tamis certify`: the certified blocks of a monitored stream."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import UsageError, write_text
from tamis.cli.output import json_option, print_json, print_text


@click.command(name="certify", epilog="Example: tamis certify monitored -o golden.json --format cms")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["cms", "grl", "dials"]),
    default="cms",
    show_default=True,
    help="Golden JSON of CMS, good-run list of ATLAS (XML), or the scores of all blocks as DIALS of CMS has them.",
)
@click.option("--name", default="tamis", show_default=True, help="Of the list, or of what was monitored.")
@json_option
def command(folder: Path, output: Path, kind: str, name: str, as_json: bool) -> None:
    """Write which blocks in the journal of FOLDER are good, and what luminosity is lost by which defect.

    A block that was not scored is never certified. Overrides of `tamis annotate` count.
    """
    from tamis.monitor.certify import dials, golden_json, good_run_list, lost_luminosity
    from tamis.monitor.journal import Journal

    if output.exists():
        raise UsageError(f"{output} exists: choose another name")
    journal = Journal(folder)
    blocks = list(journal.decided())
    journal.close()
    if kind == "cms":
        text = golden_json(blocks)
    elif kind == "grl":
        text = good_run_list(blocks, name)
    else:
        text = dials(blocks, name, name)
    write_text(output, text)
    lost = lost_luminosity(blocks)
    good = sum(one.state == "good" for one in blocks)
    if as_json:
        print_json({"file": str(output), "blocks": len(blocks), "certified": good, "luminosity": lost})
        return
    print_text(f"{output}: {good} of {len(blocks)} blocks certified")
    for what, share in lost.items():
        print_text(f"  {what}: {100 * share:.2f} % of the luminosity")
