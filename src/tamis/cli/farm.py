"""`tamis farm`: how many inference servers a trigger needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from tamis._base import MissingExtraError, UsageError, progress, write_text
from tamis.cli.output import json_option, print_json, print_table, say

PLACE = click.Path(path_type=Path)
POSITIVE = click.FloatRange(min=0, min_open=True)
_P99_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)")
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@click.command(
    name="farm",
    epilog="Example: tamis load grpc://127.0.0.1:8001 conv-vae --scenario closed --streams 1,4 --rows 16 -o records/, "
    "then tamis farm --measured records/ --rate 100kHz --p99 100ms -o farm/. "
    "Costs, powers, the client's own time and the network are assumptions: replace the defaults with your own values.",
)
@click.option(
    "--measured", "places", multiple=True, type=PLACE,
    help="Records of `tamis load` on one server: closed loads by one stream and by several; may be repeated.",
)  # fmt: skip
@click.option("--published", is_flag=True, help="Reproduce the published ProtoDUNE knee; needs no record.")
@click.option("--rate", help="Request rate of all clients together, such as 100kHz.")
@click.option("--p99", help="Latency target for 99 % of the requests, such as 100ms.")
@click.option("--model", help="Model to size for, if the records are of several.")
@click.option("--server-cost", type=float, default=100.0, show_default=True, help="Assumption: cost of one server as measured, in any currency.")  # fmt: skip
@click.option(
    "--server-power-w", type=float, default=5.0, show_default=True, help="Assumption: power of one server."
)
@click.option("--client-cost", type=float, default=100.0, show_default=True, help="Assumption: cost of one client core.")  # fmt: skip
@click.option(
    "--client-power-w",
    type=float,
    default=5.0,
    show_default=True,
    help="Assumption: power of one client core.",
)
@click.option("--client-ms", type=click.FloatRange(min=0), default=100.0, show_default=True, help="Assumption: time per event that a client computes by itself.")  # fmt: skip
@click.option(
    "--years", type=POSITIVE, default=4.0, show_default=True, help="Assumption: years of operation."
)
@click.option("--travel-ms", type=click.FloatRange(min=0), default=0.2, show_default=True, help="Assumption: one-way network delay.")  # fmt: skip
@click.option("--gbit-per-s", type=POSITIVE, default=10.0, show_default=True, help="Assumption: bandwidth of the link to each server.")  # fmt: skip
@click.option("--requests", type=click.IntRange(100), default=6000, show_default=True, help="Simulated requests per point; more reduce the statistical error.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
@click.option("-o", "--output", type=PLACE, help="Folder for the record, the figures and the table in Markdown.")  # fmt: skip
@json_option
def command(
    places: tuple[Path, ...], published: bool, output: Path | None, as_json: bool, **options: Any
) -> None:
    """Size a farm of inference servers: number, batching delay, p99, cost, power, and the effect of a server's death.

    Uses a discrete-event simulation that is calibrated with loads measured on one server.
    """
    from tamis.farm import markdown, published_steps, published_table, study_published, table

    if published == bool(places):
        raise UsageError("farm takes either --measured RECORDS, with --rate and --p99, or --published")
    if published:
        with progress("simulating", published_steps(), "points") as advance:
            record: Any = study_published(options["seed"], advance)
        lines = published_table(record)
    else:
        record = _sized(places, options)
        lines = table(record)
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


def _sized(places: tuple[Path, ...], options: dict[str, Any]) -> Any:
    from tamis.farm import FarmRequirements, size_farm, steps_of
    from tamis.measure import rate_hz, read_traffic
    from tamis.records import Assumptions

    for name in ("rate", "p99"):
        if not options[name]:
            raise UsageError(
                f"farm --measured needs --{name}, such as {'100kHz' if name == 'rate' else '100ms'}"
            )
    rate = rate_hz(options["rate"])
    p99 = _P99_DURATION.fullmatch(options["p99"].strip())
    if not p99 or not float(p99[1]):
        raise UsageError(
            f"{options['p99']!r} is not a duration: write a number and us, ms or s, such as 100ms"
        )
    assumptions = {name: options[name] for name in Assumptions.model_fields}
    requirements = FarmRequirements(
        rate,
        float(p99[1]) * _UNITS_S[p99[2]],
        Assumptions(**assumptions),
        options["seed"],
        options["requests"],
    )
    records = read_traffic(places, options["model"])
    with progress("simulating", steps_of(requirements), "points") as advance:
        return size_farm(records, requirements, advance)


def _write(record: Any, text: str, output: Path) -> None:
    from tamis.report.farm import draw_farm  # not in tamis.report: it needs the extra farm

    output.mkdir(parents=True, exist_ok=True)
    write_text(output / f"{record.kind}.json", record.model_dump_json(indent=1) + "\n")
    write_text(output / f"{record.kind}.md", text)
    try:
        draw_farm(record, output)
    except MissingExtraError as error:
        say(f"no figures were drawn: {error}")
