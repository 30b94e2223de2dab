"""`tamis serve`: models behind the KServe v2 / Triton protocol."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import ModelError, TamisError, UsageError
from tamis.cli.output import json_option, print_json, print_table, say, sizes_by_dimension

if TYPE_CHECKING:
    from tamis.serve.models.model import OpeningSettings

NO_MODEL = "the folders hold neither bundles (NAME.tamis) nor Triton models (NAME/1/model.onnx)"
PORT = click.IntRange(0, 65535)
FILE = click.Path(path_type=Path, dir_okay=False)
SEQUENCE_IDLE_MOST_S = 1e9  # 30 years: in microseconds it fits into a model's configuration


@click.command(
    name="serve",
    epilog="Example: tamis serve models/ --grpc 8001 --http 8000 --metrics 8002. "
    "The server is ready when every model is loaded, verified and warm. SIGTERM lets it finish the requests in flight.",
)
@click.argument("models", nargs=-1, required=True)
@click.option("--grpc", type=PORT, default=8001, show_default=True, help="gRPC port; 0 for any free port.")
@click.option("--http", type=PORT, default=8000, show_default=True, help="HTTP port; 0 for any free port.")
@click.option(
    "--metrics", type=PORT, default=8002, show_default=True, help="Port of the metrics, for Prometheus."
)
@click.option(
    "--local",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also listen at a socket in the file system: clients of the same user on this machine use it, and shared memory, with the address local:PATH.",
)
@click.option("--no-http", is_flag=True, help="Serve only gRPC and metrics.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; use TLS and tokens for any address but loopback.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="Engine that runs the models: auto takes the one in a bundle's plan for this host, and ONNX Runtime or torch for other models; null computes nothing, to measure the cost of the protocol.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 256),
    help="Instances of each model, which run at the same time; default: as its config.pbtxt says, or 1.",
)
@click.option(
    "--dims",
    multiple=True,
    help="Sizes of a free dimension that the engine native compiles ahead, such as particles=16,32. Repeat it for others; events of other sizes run on ONNX Runtime.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Server processes on the same ports, each with its own instances; each connection is assigned to one of them. With several, clients cannot load or unload models.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="Threads per instance; default: as the model's config.pbtxt says, or 1.",
)
@click.option(
    "--max-sequences",
    type=click.IntRange(0, (1 << 31) - 1),
    help="Sequences of each model with states that are kept at a time; default: as its config.pbtxt says, or 1024. 0: states are inputs and outputs of requests only.",
)
@click.option(
    "--sequence-idle",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds without a request after which a sequence is dropped; default: as the model's config.pbtxt says, or 3600.",
)
@click.option("--certificate", type=FILE, help="TLS: certificate of the server (PEM).")
@click.option("--key", type=FILE, help="TLS: key of the certificate (PEM).")
@click.option(
    "--client-ca", type=FILE, help="Mutual TLS: require client certificates signed by this authority (PEM)."
)
@click.option(
    "--tokens", type=FILE, help="File of accepted bearer tokens, one per line, readable only by its owner."
)
@click.option(
    "--max-request",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Largest size of a request, in MiB.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Largest size of all requests in the server, in MiB.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Connections of gRPC and HTTP at a time; more are closed at once.",
)
@click.option(
    "--log",
    type=FILE,
    help="Log file with a line of JSON per request (id, model, times, or why it was rejected) and per model that was loaded or failed to load.",
)
@click.option(
    "--monitor",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that grows by a row per second while the server runs, for `tamis monitor FOLDER --follow`: requests, failures, rows and times of each model.",
)
@click.option(
    "--strict-readiness/--no-strict-readiness",
    default=True,
    show_default=True,
    help="Whether the server is ready only while all its models are, except those that were unloaded.",
)
@click.option(
    "--torch-library",
    "torch_libraries",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Shared library of operators that TorchScript models need, such as torch_scatter's; it is code that the server runs. May be repeated.",
)
@click.option(
    "--server-name",
    default="tamis",
    show_default=True,
    help="Name in the server's metadata; some clients insist on triton.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Open all models, print how each would be served, and end; fails if one cannot be.",
)
@json_option
@click.option("--no-model-control", is_flag=True, help="Clients cannot load or unload models.")
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to finish the requests in flight at shutdown.",
)
def command(models: tuple[str, ...], **options: Any) -> None:
    """Serve MODELS: bundles, directories of bundles, Triton model repositories, or names of shipped bundles."""
    from tamis.serve.models.model import OpeningSettings
    from tamis.serve.monitored import StreamSettings
    from tamis.serve.server import AccessSettings, Endpoints, ServerSettings, run_server
    from tamis.serve.workers import run_workers, server_report

    _check_engine(options["engine"])
    opening = OpeningSettings(
        options["engine"],
        options["instances"],
        options["threads"],
        sizes_by_dimension(options["dims"]),
        options["torch_libraries"],
        options["max_sequences"],
        _idle_us(options["sequence_idle"]),
    )
    if options["check"]:
        _check(models, opening, options["as_json"])
        return
    if options["as_json"]:
        raise UsageError("--json prints the outcome of --check: pass both")
    settings = ServerSettings(
        models,
        Endpoints(
            options["host"],
            options["grpc"],
            None if options["no_http"] else options["http"],
            options["metrics"],
            options["local"],
        ),
        AccessSettings(
            options["certificate"],
            options["key"],
            options["client_ca"],
            options["tokens"],
            options["max_request"] << 20,
            options["max_bytes"] << 20,
            not options["no_model_control"],
            options["max_connections"],
        ),
        opening,
        options["drain"],
        options["log"],
        None if options["monitor"] is None else StreamSettings(options["monitor"]),
        name=options["server_name"],
        strict_readiness=options["strict_readiness"],
    )
    print_report = partial(_print_report, secure=options["certificate"] is not None)
    if options["workers"] > 1:
        cut_off = run_workers(settings, options["workers"], print_report)
    else:
        cut_off = run_server(settings, lambda started: print_report(server_report(started)))
    if cut_off:
        raise TamisError(
            f"{cut_off} requests were cut off: they did not finish within --drain {options['drain']:g} s"
        )


def _check_engine(name: str) -> None:
    """Raise UsageError for an engine that no model can run on here, rather than let every model fail."""
    from tamis.engines import find_engine

    if not find_engine(name).local:
        raise UsageError(
            f"--engine {name} runs models on other servers; serve with an engine that runs in this one"
        )


def _idle_us(seconds: float | None) -> int | None:
    """Return a time in microseconds, at least one; raise UsageError for infinity and NaN."""
    if seconds is None:
        return None
    if not seconds <= SEQUENCE_IDLE_MOST_S:
        raise UsageError(f"--sequence-idle is {seconds}; pass at most {SEQUENCE_IDLE_MOST_S:.0f} seconds")
    return math.ceil(1e6 * seconds)


def _check(models: tuple[str, ...], opening: OpeningSettings, as_json: bool) -> None:
    """Open all models, print how each would be served, and raise ModelError if one cannot be."""
    from tamis.serve.models.report import check_models

    reports = check_models(models, opening)
    failed = [report for report in reports if report.state != "READY"]
    if as_json:
        print_json({"ready": bool(reports) and not failed, "models": [asdict(report) for report in reports]})
    elif reports:
        rows = [
            (report.name, report.version, report.state, report.facts.get("engine", ""), report.verified)
            for report in reports
        ]
        print_table("models", ("model", "version", "state", "engine", "verified"), rows, keys=2)
        for report in reports:
            for line in filter(None, (report.reason, report.facts.get("why", ""), *report.remarks())):
                click.echo(f"{report.name} {report.version}".rstrip() + f": {' '.join(line.split())}")
    if not reports:
        raise UsageError(NO_MODEL)
    if failed:
        names = ", ".join(report.name for report in failed)
        raise ModelError(f"{len(failed)} of {len(reports)} models cannot be served: {names}")


def _print_report(report: Any, *, secure: bool) -> None:
    s = "s" if secure else ""
    schemes = {"grpc": f"grpc{s}://", "http": f"http{s}://", "metrics": "http://", "local": "local:"}
    for name, address in report.addresses.items():
        say(f"{name}: {schemes[name]}{address}{'/metrics' if name == 'metrics' else ''}")
    for model in report.models:
        text = model.reason or model.engine
        say(f"{model.state}: {model.name} {model.version}".rstrip() + (f": {text}" if text else ""))
        for remark in model.remarks():
            say(f"  {remark}")
    if not report.models:
        say(f"no model is served: {NO_MODEL}")
    say("ready" if report.ready else "not ready: see above")
