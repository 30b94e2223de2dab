"""`tamis doctor`: what this host has, and what each missing thing would bring."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

import click

import tamis
from tamis._base import TamisError
from tamis.cli.doctor_checks import Diagnosis, Finding, diagnose
from tamis.cli.output import json_option, print_json, screen_width

COLOURS = {"ok": "green", "missing": "yellow", "broken": "red", "set": "cyan"}
STATE_WIDTH, NAME_WIDTH = 9, 13


@click.command(name="doctor", epilog="Example: tamis doctor --json > host.json")
@json_option
def command(as_json: bool) -> None:
    """Show what this host has: libraries, extras, C compiler, processor, cores, memory, folders; and what each missing thing would bring.

    Every library is imported and a few lines of C are compiled, so this takes some seconds. The exit code is 0 unless something
    is missing that tamis cannot do without.
    """
    diagnosis = diagnose(tamis.__version__)
    if as_json:
        print_json(asdict(diagnosis))
    else:
        _print(diagnosis)
    if not diagnosis.usable:
        broken = [one.name for one in diagnosis.findings if one.area == "base" and one.state != "ok"]
        raise TamisError(f"this installation cannot be used: {', '.join(broken)}; see the remedies above")


def _print(diagnosis: Diagnosis) -> None:
    width = screen_width()
    click.secho(f"tamis {diagnosis.tamis} on this host", bold=True)
    area = ""
    for finding in diagnosis.findings:
        if finding.area != area:
            area = finding.area
            click.secho(f"\n{area}", bold=True)
        _print_finding(finding, width)
    missing = [one.name for one in diagnosis.findings if one.area == "extras" and one.state != "ok"]
    without = f"; extras that are missing: {', '.join(missing)}" if missing else ""
    click.echo()
    if diagnosis.usable:
        click.echo(f"tamis is ready to use{without}.")


def _print_finding(finding: Finding, width: int) -> None:
    margin = " " * (2 + STATE_WIDTH + NAME_WIDTH)
    head = f"{finding.name:<{NAME_WIDTH - 1}} "
    text = textwrap.fill(
        head + finding.found,
        width,
        initial_indent=" " * (2 + STATE_WIDTH),
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo(
        f"  {click.style(f'{finding.state:<{STATE_WIDTH}}', fg=COLOURS[finding.state])}{text.lstrip()}"
    )
    if finding.brings:
        click.echo(
            textwrap.indent(textwrap.fill(f"would bring: {finding.brings}", width - len(margin)), margin)
        )
    if finding.remedy:
        click.echo(f"{margin}{finding.remedy}")  # never wrapped: it is copied
