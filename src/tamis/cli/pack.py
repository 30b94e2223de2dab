"""`tamis pack`: pack a model into a bundle."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, VerificationError, did_you_mean
from tamis.cli.bundle_summary import WIDTH, summary_lines
from tamis.cli.output import json_option, print_json
from tamis.cli.reading import alias_option, tree_option

if TYPE_CHECKING:
    from tamis.bundle import Bundle, WorkingPoint
    from tamis.engines import Session


@click.command(
    name="pack", epilog="Example: tamis pack mine.onnx --inputs sample.npz --score score -o mine.tamis"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write.")
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="Sample inputs (.npz, .npy); default: drawn at random from the shapes.",
)
@click.option(
    "--score",
    help="The output used for decisions, or one column of it: probabilities:2 adds that column as an output.",
)
@click.option("--dims", default="", help="Sizes of free dimensions, as in N=1,n=50.")
@click.option("--name", help="Name of the bundle; default: from the output path.")
@click.option(
    "--feature",
    "features",
    multiple=True,
    help="INPUT=FEATURE: the feature that computes an input from events, such as jets=leading_jets, particles=particle_list "
    "or a feature of your own package; may be repeated.",
)
@click.option(
    "--columns",
    multiple=True,
    metavar="INPUT=COLUMN,COLUMN",
    help="Columns of the events that make up a row of an input (rows, columns), in order, as in x=MET_pt,nJet; one row per "
    "event, or per object if all are lists. Inputs of one number are found by their name. May be repeated.",
)
@click.option(
    "--working-point",
    "points",
    multiple=True,
    metavar="NAME=RATE",
    help="Set a threshold on the score that a fraction of the --background passes, as in tight=0.001 or loose=1%; may be "
    "repeated.",
)
@click.option(
    "--background",
    multiple=True,
    metavar="FILE",
    help="Background for --working-point: events, or arrays or columns named like the inputs; may be repeated.",
)
@tree_option
@alias_option
@click.option("--description", default="", help="A description, stored in the manifest.")
@click.option(
    "--rewrites/--no-rewrites",
    default=True,
    show_default=True,
    help="Apply graph rewrites, each verified on this model.",
)
@click.option(
    "--engine",
    default="onnxruntime",
    show_default=True,
    help="The engine that must reproduce the golden outputs before the bundle is written.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random samples."
)
@json_option
def command(
    model: Path,
    output: Path,
    inputs: Path | None,
    score: str | None,
    dims: str,
    name: str | None,
    features: tuple[str, ...],
    columns: tuple[str, ...],
    points: tuple[str, ...],
    background: tuple[str, ...],
    tree: str | None,
    aliases: tuple[str, ...],
    description: str,
    rewrites: bool,
    engine: str,
    seed: int,
    as_json: bool,
) -> None:
    """Pack MODEL (ONNX, TorchScript, Keras 3, XGBoost or LightGBM) with golden outputs computed in float64."""
    from tamis.bundle import pack, parse_dims, parse_working_points, with_working_points
    from tamis.engines import find_engine, saturation
    from tamis.engines import open as open_session
    from tamis.events import parse_aliases

    find_engine(engine).prepare()
    fractions = parse_working_points(points)
    if bool(fractions) != bool(background):
        raise UsageError("--working-point NAME=RATE and --background FILE need each other: give both")
    found: list[WorkingPoint] = []

    def check(bundle: Bundle) -> None:
        """Open the bundle before it gets its name, and set its working points."""
        try:
            with open_session(bundle, engine) as session:
                found.extend(_working_points(session, fractions, background, tree, parse_aliases(aliases)))
        except VerificationError as error:
            problem = str(error).split("; it is not opened")[0]
            advice = saturation(bundle, find_engine(engine)) or (
                "try real inputs (--inputs), --no-rewrites or another engine; a model that needs more than float32 "
                "can be packed with --engine reference"
            )
            raise VerificationError(f"{problem}; nothing was packed: {advice}") from error

    packed = pack(
        model,
        output,
        name=name,
        inputs=inputs,
        dims=parse_dims(dims),
        score=score,
        rewrites=rewrites,
        seed=seed,
        description=description,
        features=_features(features),
        columns=_columns(columns),
        check=check,
    )
    bundle = with_working_points(packed.bundle, found, output) if found else packed.bundle
    _print(bundle, packed.notes, engine, as_json=as_json)


def _print(bundle: Bundle, notes: Sequence[str], engine: str, *, as_json: bool) -> None:
    """Print what was packed, and the command to type next."""
    following = f"tamis verify {shlex.quote(str(bundle.path))} --engine all"
    golden = bundle.golden_events
    if as_json:
        print_json(
            {
                "bundle": str(bundle.path),
                "notes": list(notes),
                "golden_events": golden,
                "engine": engine,
                "next": following,
                "manifest": bundle.manifest.model_dump(mode="json"),
            }
        )
        return
    for line in summary_lines(bundle):
        click.echo(line)
    if bundle.manifest.score is None:
        click.echo("  it decides nothing without one: name an output with --score")
    elif not bundle.manifest.working_points:
        click.echo("  set one with --working-point NAME=RATE --background FILE")
    click.echo(f"golden events: {golden}, which {engine} reproduces")
    for note in notes:
        click.echo(textwrap.fill(f"- {note}", WIDTH, subsequent_indent="  "))
    click.echo(f"written: {bundle.path}")
    click.echo(f"next: {following}")


def _features(pairs: tuple[str, ...]) -> dict[str, str]:
    from tamis.features import feature_names

    table = {}
    for pair in pairs:
        name, sign, feature = pair.partition("=")
        if not sign or not name or not feature:
            raise UsageError(f"--feature {pair!r} is not of the form INPUT=FEATURE, as in jets=leading_jets")
        if feature not in feature_names():
            hint = did_you_mean(feature, feature_names())
            raise UsageError(f"no feature is called {feature!r}; {hint}".rstrip("; "))
        table[name] = feature
    return table


def _columns(pairs: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    table = {}
    for pair in pairs:
        name, sign, listed = pair.partition("=")
        names = tuple(column.strip() for column in listed.split(","))
        if not sign or not name or not all(names):
            raise UsageError(
                f"--columns {pair!r} is not of the form INPUT=COLUMN,COLUMN, as in x=MET_pt,nJet"
            )
        table[name] = names
    return table


def _working_points(
    session: Session,
    fractions: dict[str, float],
    background: tuple[str, ...],
    tree: str | None,
    aliases: dict[str, str],
) -> list[WorkingPoint]:
    from tamis.bundle import background_point
    from tamis.trigger import background_scores

    if not fractions:
        return []
    scores = background_scores(session, background, tree=tree, aliases=aliases)
    files = ", ".join(Path(file).name for file in background)
    return [
        background_point(name, fraction, scores, f"rows of {files}") for name, fraction in fractions.items()
    ]
