"""`tamis pack`: a model becomes a bundle."""

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
    help="Sample inputs (.npz, .npy); drawn from the shapes if absent.",
)
@click.option(
    "--score",
    help="The output that decisions are made on, or one column of it: probabilities:2 adds that column as an output.",
)
@click.option("--dims", default="", help="Sizes of free dimensions, as in N=1,n=50.")
@click.option("--name", help="Name of the bundle; default: the output's.")
@click.option(
    "--feature",
    "features",
    multiple=True,
    help="INPUT=FEATURE: how an input is made from events, such as jets=leading_jets, particles=particle_list or a feature of a "
    "package of your own; may be repeated.",
)
@click.option("--description", default="")
@click.option(
    "--rewrites/--no-rewrites",
    default=True,
    show_default=True,
    help="Apply the graph rewrites that are proven on this model.",
)
@click.option(
    "--engine",
    default="onnxruntime",
    show_default=True,
    help="The engine that has to reproduce the golden outputs before anything is written.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the samples that are drawn."
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
    """Pack MODEL (ONNX, TorchScript or Keras 3) with golden outputs made in float64."""
    from tamis.bundle import Bundle, pack, parse_dims
    from tamis.engines import find_engine, saturation
    from tamis.engines import open as open_session

    find_engine(engine).prepare()

    def check(bundle: Bundle) -> None:
        try:
            open_session(bundle, engine).close()
        except VerificationError as error:
            told = str(error).split("; it is not opened")[0]
            advice = saturation(bundle, find_engine(engine)) or (
                "the model may need more than float32 gives or real inputs (--inputs), a rewrite may "
                "not suit it (--no-rewrites), or another engine may do (--engine reference packs it in any case)"
            )
            raise VerificationError(f"{told}; nothing was packed: {advice}") from error

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
