"""`tamis pack`: pack a model into a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import UsageError, VerificationError, did_you_mean
from tamis.cli.output import json_option, print_json


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
    description: str,
    rewrites: bool,
    engine: str,
    seed: int,
    as_json: bool,
) -> None:
    """Pack MODEL (ONNX, TorchScript or Keras 3) with golden outputs computed in float64."""
    from tamis.bundle import Bundle, pack, parse_dims
    from tamis.engines import find_engine, saturation
    from tamis.engines import open as open_session

    find_engine(engine).prepare()

    def check(bundle: Bundle) -> None:
        try:
            open_session(bundle, engine).close()
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
        check=check,
    )
    if as_json:
        print_json(
            {
                "bundle": str(packed.bundle.path),
                "notes": list(packed.notes),
                "manifest": packed.bundle.manifest.model_dump(mode="json"),
            }
        )
        return
    for note in packed.notes:
        click.echo(f"- {note}")
    click.echo(f"{packed.bundle.path}: packed; {engine} reproduces its golden outputs")


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
