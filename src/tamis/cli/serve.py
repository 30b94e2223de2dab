"""`tamis serve`: models behind the KServe v2 / Triton protocol."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from tamis._base import TamisError
from tamis.cli.output import say

PORT = click.IntRange(0, 65535)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    name="serve",
    epilog="Example: tamis serve models/ --grpc 8001 --http 8000 --metrics 8002. "
    "Ready when every model is loaded, verified and warm; SIGTERM finishes what is under way.",
)
@click.argument("models", nargs=-1, required=True)
@click.option(
    "--grpc", type=PORT, default=8001, show_default=True, help="Port of gRPC; 0 for any that is free."
)
@click.option("--http", type=PORT, default=8000, show_default=True, help="Port of HTTP.")
@click.option(
    "--metrics", type=PORT, default=8002, show_default=True, help="Port of the metrics, for Prometheus."
)
@click.option(
    "--local",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A socket in the file system too: processes of this machine and user ask through shared memory (local:PATH).",
)
@click.option("--no-http", is_flag=True, help="No HTTP, only gRPC and metrics.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; anything else than loopback wants TLS and tokens.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="What runs bundles: auto goes by a bundle's plan for this host; null computes nothing, and shows what the protocol costs.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Of each bundle, that run at a time.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Server processes at the same ports, each with its own instances; each connection goes to one of them. Models cannot be changed while several run.",
)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Per instance.")
@click.option("--certificate", type=FILE, help="TLS: certificate of the server (PEM).")
@click.option("--key", type=FILE, help="TLS: its key.")
@click.option("--client-ca", type=FILE, help="mTLS: clients show a certificate that this one signed.")
@click.option(
    "--tokens", type=FILE, help="A file of bearer tokens, one per line, readable by its owner alone."
)
@click.option(
    "--max-request", type=click.IntRange(1), default=64, show_default=True, help="MB of one request."
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="MB of all requests in the server.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="At a time, of gRPC and HTTP together; one more is cut.",
)
@click.option("--log", type=FILE, help="A line of JSON per request: id, model, times, or why it was refused.")
@click.option("--no-model-control", is_flag=True, help="Clients may not load and unload models.")
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to finish what is under way at the end.",
)
def command(models: tuple[str, ...], **options: Any) -> None:
    """Serve MODELS: bundles, directories of bundles, Triton model repositories as they are, names of shipped bundles."""
    from tamis.serve.models.opening import BundleSettings
    from tamis.serve.server import AccessSettings, Endpoints, ServerSettings, run_server
    from tamis.serve.workers import run_workers, server_report

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
        BundleSettings(options["engine"], options["instances"], options["threads"]),
        options["drain"],
        options["log"],
    )
    tell = partial(_tell, secure=options["certificate"] is not None)
    if options["workers"] > 1:
        left = run_workers(settings, options["workers"], tell)
    else:
        left = run_server(settings, lambda listening: tell(server_report(listening)))
    if left:
        raise TamisError(
            f"{left} requests were cut off: they were not done within --drain {options['drain']:g} s"
        )


def _tell(told: Any, *, secure: bool) -> None:
    s = "s" if secure else ""
    schemes = {"grpc": f"grpc{s}://", "http": f"http{s}://", "metrics": "http://", "local": "local:"}
    for name, address in told.addresses.items():
        say(f"{name}: {schemes[name]}{address}{'/metrics' if name == 'metrics' else ''}")
    for name, version, state, reason in told.models:
        say(f"{state}: {name} {version}{f': {reason}' if reason else ''}".rstrip())
    say("ready" if told.ready else "not ready: see above")
