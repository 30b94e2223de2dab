"""`tamis annotate`: what a person says of a luminosity block."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import UsageError, utc_timestamp
from tamis.cli.output import json_option, print_json, print_text


@click.command(
    name="annotate",
    epilog='Example: tamis annotate monitored 480001:318 --as good --by "A. Shifter" --because "the threshold was tested"',
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("block")
@click.option("--as", "state", type=click.Choice(["good", "bad"]), help="Override the verdict.")
@click.option("--acknowledge", is_flag=True, help="Say that somebody has seen it.")
@click.option("--by", "person", help="Name of the person; needed to override, to acknowledge and to comment.")
@click.option("--because", "text", default="", help="A comment, or the reason; needed to override.")
@json_option
def command(
    folder: Path,
    block: str,
    state: str | None,
    acknowledge: bool,
    person: str | None,
    text: str,
    as_json: bool,
) -> None:
    """Write a note on BLOCK (RUN:BLOCK) into the journal of FOLDER, or show its notes.

    Notes are never changed or removed; the last override counts for `tamis certify`, and notes survive a replay.
    """
    from tamis.cli.monitor import block_key
    from tamis.monitor.journal import Journal, JournalNote

    key = block_key(block)
    wants = state or acknowledge or text
    if state and acknowledge:
        raise UsageError("--as overrides and --acknowledge does not: give one of them")
    if wants and not (person or "").strip():
        raise UsageError("--by is missing: a note has the name of a person")
    if state and not text.strip():
        raise UsageError("--because is missing: an override has a reason")
    journal = Journal(folder)
    try:
        if wants:
            action = state or ("acknowledge" if acknowledge else "comment")
            journal.annotate(JournalNote(utc_timestamp(), *key, str(person).strip(), action, text.strip()))
        notes = journal.notes(key)
    finally:
        journal.close()
    if as_json:
        print_json({"block": block, "notes": [vars(one) for one in notes]})
        return
    for one in notes:
        print_text(f"{one.time}  {one.person}: {one.action}{f', {one.text}' if one.text else ''}")
    if not notes:
        print_text(f"nobody has said anything of {block}")
