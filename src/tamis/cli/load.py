"""`tamis load`: requests to a server, as they come in real life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tamis._base import UsageError
from tamis.cli.output import json_option, print_json, print_table, tls_options

SWINGS_MOST = 0.1
SCENARIOS = ("server", "single-stream", "multi-stream", "offline", "closed")


@click.command(
    name="load",
    epilog="Example: tamis load grpc://127.0.0.1:8001 conv-vae --scenario server --rate 200,500,1000 --seconds 10 -o records/",
)
@click.argument("server")
@click.argument("model")
@click.option(
    "--scenario",
    type=click.Choice(SCENARIOS),
    default="server",
    show_default=True,
    help="server: open loop, random arrivals at --rate; single-stream, closed: the next one when one is answered; multi-stream: --streams at once; offline: as many as are taken.",
)
@click.option("--rate", help="Requests per second of the scenario server; several with commas.")
@click.option("--streams", default="1", show_default=True, help="Requests at a time; several with commas.")
@click.option(
    "--think",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Of the scenario closed: seconds on average that a client works on its own before it asks again.",
)
@click.option("--rows", type=click.IntRange(1), default=1, show_default=True, help="Events in a request.")
@click.option("--shape", "shapes", multiple=True, help="Of an input with free dimensions: NAME:1,100,3.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Of each load."
)
@click.option(
    "--warm-up",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds that are not counted.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001),
    default=10.0,
    show_default=True,
    help="Seconds that a request may take.",
)
@click.option("--connections", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--local", help="Ask through shared memory: the socket of `serve --local`; one request at a time."
)
@click.option(
    "--token",
    envvar="TAMIS_TOKEN",
    help="Bearer token, where the server wants one; better in TAMIS_TOKEN, which other users cannot read.",
)
@tls_options
@click.option("--seed", type=int, default=1, show_default=True, help="Of arrivals and inputs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the record.")
@json_option
def command(server: str, model: str, as_json: bool, output: Path | None, **options: Any) -> None:
    """Send requests for MODEL to SERVER (grpc://HOST:PORT, grpcs:// for TLS), and tell latency, throughput, and where the time went.

    Several models with commas between them are asked in turn: rates and streams are of all together.
    Latency counts from the time at which a request was due, so that a server that stalls cannot hide it.
    """
    from tamis._base import progress
    from tamis.measure.traffic import Scenario, Traffic, study_together, write_traffic

    scenario = Scenario(options["scenario"])
    if scenario is Scenario.SERVER and not options["rate"]:
        raise UsageError("the scenario server needs --rate, in requests per second")
    if options["think"] and scenario is not Scenario.CLOSED:
        raise UsageError(f"--think goes with the scenario closed; this is {scenario.value}")
    numbers = (
        _numbers(options["rate"], "--rate")
        if scenario is Scenario.SERVER
        else _numbers(options["streams"], "--streams")
    )
    loads = [
        Traffic(
            scenario=scenario,
            rate_hz=number if scenario is Scenario.SERVER else None,
            streams=1 if scenario is Scenario.SERVER else int(number),
            think_s=options["think"],
            seconds=options["seconds"],
            warm_up_s=options["warm_up"],
            timeout_s=options["timeout"],
            seed=options["seed"],
        )
        for number in numbers
    ]
    targets = _targets(server, model.split(","), options)
    with progress("loading", len(loads), "loads") as advance:
        records = study_together(targets, loads, lambda _: advance(1), connections=options["connections"])
    for target in targets:
        target.close()
    if output is not None:
        for record in records:
            write_traffic(record, output)
    if as_json:
        print_json(records[0] if len(records) == 1 else records)
    else:
        for record in records:
            _print(record)


def _targets(server: str, models: list[str], options: dict[str, Any]) -> list[Any]:
    from tamis.measure.traffic import Target
    from tamis.serve.client import CallError
    from tamis.serve.wire.tls import Credentials

    sizes, found = _sizes(options["shapes"]), []
    for model in models:
        try:
            target = Target(
                server,
                model,
                rows=options["rows"],
                sizes=sizes,
                seed=options["seed"],
                credentials=Credentials(
                    options["token"], options["ca"], options["certificate"], options["key"]
                ),
                local=options["local"],
            )
        except (CallError, OSError) as error:
            raise UsageError(f"{server} does not answer for {model}: {error}") from error
        found.append(target)
    return found


def _numbers(text: str, what: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{what} is {text!r}; it takes numbers, with commas between them") from None
    if any(not 0 < number < float("inf") for number in found):
        raise UsageError(f"{what} is {text!r}; its numbers have to be above 0")
    return found


def _sizes(shapes: tuple[str, ...]) -> dict[str, list[int]]:
    found = {}
    for shape in shapes:
        name, _, sizes = shape.rpartition(":")
        if not name or not all(part.isdigit() for part in sizes.split(",")):
            raise UsageError(f"--shape is {shape!r}; it takes NAME:1,100,3")
        found[name] = [int(part) for part in sizes.split(",")]
    return found


def _print(record: Any) -> None:
    click.echo(
        f"{record.model} ({record.platform or 'no platform told'}) on {record.server} {record.server_version}"
    )
    rows = []
    for point in record.points:
        load = (
            f"{point.traffic.rate_hz:g}/s" if point.traffic.rate_hz else f"{point.traffic.streams} at a time"
        )
        server = point.server
        rows.append(
            (
                load,
                f"{point.requests_per_s:.0f}",
                f"{point.requests_per_s * point.rows:.0f}",
                *(
                    f"{value:.0f}"
                    for value in (point.p50_us, point.p90_us, point.p99_us, point.p999_us, point.most_us)
                ),
                *(
                    f"{value:.0f}" if server else "-"
                    for value in (
                        (server.queue_us, server.input_us + server.infer_us + server.output_us)
                        if server
                        else (0, 0)
                    )
                ),
                f"{point.transport_us:.0f}" if point.transport_us is not None else "-",
                str(sum(point.errors.values()) + point.unanswered),
            )
        )
    print_table(
        f"{record.points[0].traffic.scenario.value}: latency in us",
        (
            "load",
            "requests/s",
            "events/s",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "queue",
            "compute",
            "transport",
            "failed",
        ),
        rows,
    )
    for point in record.points:
        if point.swings > SWINGS_MOST:
            thirds = ", ".join(f"{one:.0f}" for one in point.thirds_per_s)
            click.echo(
                f"not settled: {thirds} requests/s in the thirds of the time, medians apart by up to {point.swings:.0%}; "
                "let it run longer (--seconds), or on a quieter machine",
                err=True,
            )
    for point in record.points:
        for told, count in list(point.errors.items())[:3]:
            click.echo(f"{count} times: {told}", err=True)
