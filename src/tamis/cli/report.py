"""`tamis report`: draw records as an HTML page and figures."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json


@click.command(name="report", epilog="Example: tamis report records/ -o report/")
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the page and figures."
)
@click.option(
    "--bundle", "bundles", multiple=True, help="Also draw the loss curves of this bundle; may be repeated."
)
@json_option
def command(places: tuple[Path, ...], output: Path, bundles: tuple[str, ...], as_json: bool) -> None:
    """Draw all records in PLACES (files or folders) as one HTML page, and as figures in PNG and PDF."""
    from tamis.bundle import Bundle
    from tamis.report import write_report

    page = write_report(places, output, bundles=[Bundle.open(name) for name in bundles])
    figures = sorted(str(path) for path in (page.parent / "figures").glob("*.*"))
    if as_json:
        print_json({"page": str(page), "figures": figures})
    else:
        click.echo(f"{page}")
