"""`tamis load`: measure a server under realistic traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tamis._base import UsageError
from tamis.cli.output import json_option, print_json, print_table, tls_options, wide_option

SWINGS_MOST = 0.1  # relative; above, a load is reported as not settled
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
    help="server: open loop, random arrivals at --rate; single-stream: one request after another; closed: --streams clients, each sends its next request after the response; multi-stream: --streams requests at once; offline: --streams requests in flight, for throughput.",
)
@click.option("--rate", help="Requests per second of the scenario server; several rates separated by commas.")
@click.option(
    "--streams",
    default="1",
    show_default=True,
    help="Requests at a time; several values separated by commas.",
)
@click.option(
    "--think",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="For the scenario closed: mean seconds that a client works on its own before its next request.",
)
@click.option("--rows", type=click.IntRange(1), default=1, show_default=True, help="Events in a request.")
@click.option(
    "--shape", "shapes", multiple=True, help="Shape of an input with free dimensions: NAME:1,100,3."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Duration of each load.",
)
@click.option(
    "--warm-up",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds at the start that are not counted.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001),
    default=10.0,
    show_default=True,
    help="Timeout of a request in seconds.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Connections to use in turn.",
)
@click.option(
    "--local", help="Send requests through shared memory, one at a time: the socket of `serve --local`."
)
@click.option(
    "--token",
    envvar="TAMIS_TOKEN",
    help="Bearer token, if the server requires one; safer in TAMIS_TOKEN, which other users cannot read.",
)
@tls_options
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of arrivals and inputs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the record.")
@wide_option
@json_option
def command(server: str, model: str, as_json: bool, output: Path | None, **options: Any) -> None:
    """Send requests for MODEL to SERVER (grpc://HOST:PORT, grpcs:// for TLS); show latency, throughput, and where the time goes.

    Several models, separated by commas, are called in turn; rates and streams are of all models together.
    Latency counts from the time at which a request was due, so that a stalled server cannot hide it.
    """
    from tamis._base import progress
    from tamis.measure.traffic import study_together, write_traffic
    from tamis.records import Scenario, Traffic

    scenario = Scenario(options["scenario"])
    if scenario is Scenario.SERVER and not options["rate"]:
        raise UsageError("the scenario server needs --rate, in requests per second")
    if options["think"] and scenario is not Scenario.CLOSED:
        raise UsageError(f"--think applies to --scenario closed only, not to {scenario.value}")
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
            _print(record, options["wide"])


def _targets(server: str, models: list[str], options: dict[str, Any]) -> list[Any]:
    from tamis.measure.traffic import LoadTarget
    from tamis.serve.client import CallError
    from tamis.serve.tls import Credentials

    sizes, targets = _sizes(options["shapes"]), []
    for model in models:
        try:
            target = LoadTarget(
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
        targets.append(target)
    return targets


def _numbers(text: str, what: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{what} is {text!r}; it takes numbers separated by commas") from None
    if any(not 0 < number < float("inf") for number in numbers):
        raise UsageError(f"{what} is {text!r}; the numbers must be above 0")
    return numbers


def _sizes(shapes: tuple[str, ...]) -> dict[str, list[int]]:
    found = {}
    for shape in shapes:
        name, _, sizes = shape.rpartition(":")
        if not name or not all(part.isdigit() for part in sizes.split(",")):
            raise UsageError(f"--shape is {shape!r}; it takes NAME:1,100,3")
        found[name] = [int(part) for part in sizes.split(",")]
    return found


def _print(record: Any, wide: bool) -> None:
    click.echo(
        f"{record.model} ({record.platform or 'unknown platform'}) on {record.server} {record.server_version}"
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
                    for value in ((server.queue_us, server.compute_us) if server else (0, 0))
                ),
                f"{point.transport_us:.0f}" if point.transport_us is not None else "-",
                str(point.failed),
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
        extra=("p90", "p99.9", "max", "queue", "compute", "transport"),
        wide=wide,
    )
    for point in record.points:
        if point.swings > SWINGS_MOST:
            thirds = ", ".join(f"{rate:.0f}" for rate in point.thirds_per_s)
            click.echo(
                f"not settled: {thirds} requests/s in the thirds of the time, variation up to {point.swings:.0%}; "
                "run longer (--seconds), or on a quieter machine",
                err=True,
            )
    for point in record.points:
        for error, count in list(point.errors.items())[:3]:
            click.echo(f"{count} times: {error}", err=True)
