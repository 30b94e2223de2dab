"""`tamis inspect`: show the contents of a bundle, a model or a file."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from tamis._base import BundleError, UsageError, human_bytes
from tamis.cli.output import json_option, print_json, print_table
from tamis.cli.reading import alias_option, tree_option


@click.command(name="inspect", epilog="Example: tamis inspect conv-vae --json")
@click.argument("what")
@tree_option
@alias_option
@click.option(
    "--emit",
    "step",
    type=click.Choice(["graph", "ir", "c"]),
    help="Print an intermediate result of the native compiler for a bundle: its graph, its statements, or its C code.",
)
@click.option(
    "--columns", metavar="GLOB", help="The columns of a file with such a name, one per line: 'Jet_*'."
)
@json_option
def command(
    what: str,
    tree: str | None,
    aliases: tuple[str, ...],
    step: str | None,
    columns: str | None,
    as_json: bool,
) -> None:
    """Show the contents of WHAT: a bundle, a model, or a ROOT, Parquet, HDF5 or NumPy file."""
    from tamis.bundle import Bundle

    path = Path(what)
    if not path.is_file() and "://" not in what:
        try:
            bundle = Bundle.open(what)
        except BundleError as error:
            if path.is_dir():
                raise
            raise BundleError(f"{what} is neither a file nor a bundle: {error}") from error
        if step is None:
            _bundle(bundle, as_json)
        else:
            _emit(bundle, step)
    elif step is not None:
        raise UsageError(f"--emit needs a bundle, and {what} is a file: pack a model with `tamis pack`")
    elif path.suffix in (
        ".onnx",
        ".keras",
        ".pt",
        ".ts",
        ".json",
        ".ubj",
        ".txt",
        ".pkl",
        ".pickle",
        ".joblib",
    ):
        _model(path, as_json)
    else:
        _file(what, tree, aliases, columns, as_json)


def _file(what: str, tree: str | None, aliases: Sequence[str], columns: str | None, as_json: bool) -> None:
    from tamis.cli.inspect_events import print_columns, print_file
    from tamis.events import inspect_file, parse_aliases
    from tamis.trigger import features_on, models_on

    summary = inspect_file(what, tree=tree, aliases=parse_aliases(aliases))
    known = {column.name for column in summary.columns} | set(
        summary.profile.aliases if summary.profile else ()
    )
    fits = models_on(known) if summary.tree is not None else []
    features = features_on(known) if summary.tree is not None else []
    if as_json:
        models = {fit.model: list(fit.missing) for fit in fits}
        print_json({**summary.model_dump(mode="json"), "features": features, "models": models})
    elif columns is not None:
        print_columns(summary, columns)
    else:
        print_file(summary, features, fits)


def _emit(bundle: Any, step: str) -> None:
    from tamis.native import compile_model, example_event, listing, may_hold
    from tamis.native.targets import host_target

    compiled = compile_model(bundle.model, example_event(bundle), host_target(), hold=may_hold(bundle))
    steps = {
        "graph": lambda: f"{compiled.graph}\n",
        "ir": lambda: listing(compiled.narrow),
        "c": lambda: compiled.module.code,
    }
    click.echo(steps[step](), nl=False)


def _bundle(bundle: Any, as_json: bool) -> None:
    manifest = bundle.manifest
    parameters = bundle.parameters
    if as_json:
        data = manifest.model_dump(mode="json")
        signature = data.pop("signature")
        data |= {"path": str(bundle.path), **signature, "parameters": parameters}
        data["checksums"] = {name: entry["sha256"] for name, entry in data["files"].items()}
        print_json(data)
        return
    click.echo(f"{manifest.name} (version {manifest.version}) in {bundle.path}")
    if manifest.description:
        click.echo(manifest.description)
    if manifest.parent is not None:
        parent = manifest.parent
        click.echo(
            f"compressed from {parent.name} (version {parent.version}), model.onnx {parent.model_sha256[:12]}"
        )
    specs = [("input", s) for s in manifest.signature.inputs] + [
        ("output", s) for s in manifest.signature.outputs
    ]
    rows = [
        (
            s.name,
            kind,
            s.dtype,
            ", ".join(map(str, s.shape)),
            s.units or "-",
            "score" if s.name == manifest.score else "",
        )
        for kind, s in specs
    ]
    print_table("inputs and outputs", ("name", "", "type", "shape", "units", ""), rows)
    if manifest.working_points:
        points = [
            (
                p.name,
                f"{p.threshold:.6g}",
                "-" if p.background_efficiency is None else f"{p.background_efficiency:.4g}",
                p.background,
            )
            for p in manifest.working_points
        ]
        print_table("working points", ("name", "threshold", "background efficiency", "measured on"), points)
    print_table("parameters, counted from the weights", ("part", "numbers"), parameters.items())
    print_table(
        "files",
        ("name", "size", "SHA-256"),
        [(n, human_bytes(e.bytes), e.sha256) for n, e in manifest.files.items()],
    )


def _model(path: Path, as_json: bool) -> None:
    from tamis.bundle.importers import import_model, plain_outputs
    from tamis.bundle.model import count_parameters, read_signature

    model, _ = plain_outputs(import_model(path).model)
    signature = read_signature(model, str(path))
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if as_json:
        print_json(
            {
                "path": str(path),
                **signature.model_dump(mode="json"),
                "operators": counts,
                "opset": opset,
                "parameters": count_parameters(model),
            }
        )
        return
    specs = [("input", s) for s in signature.inputs] + [("output", s) for s in signature.outputs]
    rows = [(s.name, kind, s.dtype, ", ".join(map(str, s.shape))) for kind, s in specs]
    print_table(
        f"{path} (opset {', '.join(f'{k} {v}' for k, v in opset.items())})",
        ("name", "", "type", "shape"),
        rows,
    )
    print_table("operators", ("operator", "nodes"), sorted(counts.items(), key=itemgetter(1), reverse=True))
    click.echo("pack it into a bundle with `tamis pack`")
