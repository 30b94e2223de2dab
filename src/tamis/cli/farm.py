"""`tamis farm`: how many servers a trigger takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from tamis._base import MissingExtraError, UsageError, progress, write_text
from tamis.cli.output import json_option, print_json, print_table, say

PLACE = click.Path(path_type=Path)
POSITIVE = click.FloatRange(min=0, min_open=True)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)")
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@click.command(
    name="farm",
    epilog="Example: tamis load grpc://127.0.0.1:8001 conv-vae --scenario closed --streams 1,4 --rows 16 -o records/, "
    "then tamis farm --measured records/ --rate 100kHz --p99 100ms -o farm/. "
    "FarmCosts, powers, the client's own time and the network are assumptions: replace the defaults by what you know.",
)
@click.option(
    "--measured", "places", multiple=True, type=PLACE,
    help="Records of `tamis load` on one server: closed loads by one stream and by several; may be repeated.",
)  # fmt: skip
@click.option("--published", is_flag=True, help="Redo the published ProtoDUNE knee; takes no record.")
@click.option("--rate", help="Requests that all clients send: 100kHz.")
@click.option("--p99", help="What 99 % of the requests have to keep: 100ms.")
@click.option("--model", help="Where the records are of several models.")
@click.option("--server-cost", type=float, default=100.0, show_default=True, help="Assumed: of one server as it was measured, in any currency.")  # fmt: skip
@click.option("--server-power-w", type=float, default=5.0, show_default=True, help="Assumed: of one server.")
@click.option("--client-cost", type=float, default=100.0, show_default=True, help="Assumed: of one core of a client.")  # fmt: skip
@click.option("--client-power-w", type=float, default=5.0, show_default=True, help="Assumed: of such a core.")
@click.option("--client-ms", type=click.FloatRange(min=0), default=100.0, show_default=True, help="Assumed: what a client computes for an event by itself.")  # fmt: skip
@click.option("--years", type=POSITIVE, default=4.0, show_default=True, help="Assumed: how long it runs.")
@click.option("--travel-ms", type=click.FloatRange(min=0), default=0.2, show_default=True, help="Assumed: one way between client and server.")  # fmt: skip
@click.option("--gbit-per-s", type=POSITIVE, default=10.0, show_default=True, help="Assumed: of the line to each server.")  # fmt: skip
@click.option("--requests", type=click.IntRange(100), default=6000, show_default=True, help="Simulated at each point: more take longer, and leave less to chance.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("-o", "--output", type=PLACE, help="Folder for the record, the figures and the table in markdown.")  # fmt: skip
@json_option
def command(
    places: tuple[Path, ...], published: bool, output: Path | None, as_json: bool, **options: Any
) -> None:
    """Size a farm of inference servers: how many, which batching delay, which p99, cost and power, what if one dies.

    A simulation by discrete events, calibrated by the loads that were measured on one server.
    """
    from tamis.farm import markdown, published_table, table

    if published == bool(places):
        raise UsageError("farm takes either --measured RECORDS, with --rate and --p99, or --published")
    record = _published(options["seed"]) if published else _sized(places, options)
    lines = published_table(record) if published else table(record)
    if output is not None:
        _write(record, markdown(lines, _title(record)), output)
    if as_json:
        print_json(record)
    else:
        print_table(_title(record), ("", "", "from"), lines)
        if output is not None:
            click.echo(f"all in {output}")


def _title(record: Any) -> str:
    if record.kind == "farm":
        return f"a farm for {record.model}: {record.rate_hz:g} requests/s, p99 within {record.p99_ms:g} ms"
    return "the published ProtoDUNE chain"


def _published(seed: int) -> Any:
    from tamis.farm import published_steps, study_published

    with progress("simulating", published_steps(), "points") as advance:
        return study_published(seed, advance)


def _sized(places: tuple[Path, ...], options: dict[str, Any]) -> Any:
    from tamis.farm import FarmRequirements, size_farm, steps_of
    from tamis.measure import rate_hz, read_traffic
    from tamis.records import Assumptions

    for name in ("rate", "p99"):
        if not options[name]:
            raise UsageError(
                f"farm --measured needs --{name}, such as {'100kHz' if name == 'rate' else '100ms'}"
            )
    given = {name: options[name] for name in Assumptions.model_fields}
    question = FarmRequirements(
        rate_hz(options["rate"]),
        _seconds(options["p99"]),
        Assumptions(**given),
        options["seed"],
        options["requests"],
    )
    records = read_traffic(places, options["model"])
    with progress("simulating", steps_of(question), "points") as advance:
        return size_farm(records, question, advance)


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is no time: write a number and us, ms or s, such as 100ms")
    return float(found[1]) * _UNITS_S[found[2]]


def _write(record: Any, text: str, output: Path) -> None:
    from tamis.report.farm import draw_farm  # not with the others: it needs what the extra serve installs

    output.mkdir(parents=True, exist_ok=True)
    write_text(output / f"{record.kind}.json", record.model_dump_json(indent=1) + "\n")
    write_text(output / f"{record.kind}.md", text)
    try:
        draw_farm(record, output)
    except MissingExtraError as error:
        say(f"no figures were drawn: {error}")
