"""`tamis train`: a reference model from event files to a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis.cli.output import json_option, print_json, say
from tamis.cli.reading import by_class, reading_options, tell_skipped

if TYPE_CHECKING:
    from tamis.bundle import Packed


@click.command(name="train", epilog="Example: tamis train conv-vae qcd.root -o conv-vae.tamis")
@click.argument("model")
@click.argument("files", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME=FILE",
    help="Events of a class, for a classifier instead of FILES; may be repeated, several files of a class too.",
)
@click.option(
    "--signal", multiple=True, help="Signal events of a tagger, FILES being its background; may be repeated."
)
@click.option(
    "--latent", type=click.Choice(["6", "8", "12"]), default="8", show_default=True, help="Size of z."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="At most so many epochs.")
@click.option("--batch", type=click.IntRange(1), help="Jets, frames or events per step.")
@click.option(
    "--jets",
    type=click.IntRange(20),
    help="Train on at most so many jets, frames of each kind, events of each class, or rows of arrays.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; default: torch's own choice.")
@click.option(
    "--resume", is_flag=True, help="Go on from the last finished epoch of a killed run, to the same result."
)
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    help="Folder of the training of the network that an eight-bit one takes over.",
)
@reading_options
@json_option
def command(
    model: str,
    files: tuple[str, ...],
    output: Path,
    classes: tuple[str, ...],
    signal: tuple[str, ...],
    latent: str,
    seed: int,
    epochs: int | None,
    batch: int | None,
    jets: int | None,
    device: str,
    threads: int | None,
    resume: bool,
    start: Path | None,
    tree: str | None,
    skip_bad_files: bool,
    as_json: bool,
) -> None:
    """Train MODEL on FILES: conv-vae, graph-vae on leading jets; the taggers egamma, quark-gluon, top, tau, top-resnet on
    background FILES and --signal, top-resnet-int8 and top-resnet-int8-tuned also --from a training of top-resnet; topology-gru, -lstm, -hlf, -both on --class files; facile, em-trk-michel,
    deepcalo on arrays of a simulated sample. resnet50, without files, is of true size and untrained, to measure speed with.

    Checkpoints and metrics.json are kept in OUTPUT.training.
    """
    from tamis.zoo import UNTRAINED

    shared: dict[str, Any] = {
        "seed": seed,
        "epochs": epochs,
        "batch": batch,
        "device": device,
        "threads": threads,
        "resume": resume,
        "start": start,
        "tree": tree,
        "skip_bad_files": skip_bad_files,
        "after_epoch": _tell,
    }
    if model in UNTRAINED:
        _untrained(model, output, seed, given=bool(files or classes or signal), as_json=as_json)
        return
    packed = _train(model, files, classes, signal, output, latent=int(latent), most=jets, shared=shared)
    bundle, told = packed.bundle, packed.bundle.manifest.training
    if as_json:
        print_json({"bundle": str(bundle.path), "notes": list(packed.notes), "training": told})
    else:
        click.echo(f"{bundle.path}: {_size(told)}, best epoch {told['best_epoch']}, ended {told['ended']}")
    skipped = told.get("skipped_files", [])
    tell_skipped(skipped if isinstance(skipped, list) else [], bundle.path)


def _train(
    model: str,
    files: Sequence[str],
    classes: Sequence[str],
    signal: Sequence[str],
    output: Path,
    *,
    latent: int,
    most: int | None,
    shared: Mapping[str, Any],
) -> Packed:
    """Train on files by class, or on files."""
    from tamis.zoo import TOPOLOGIES, train, train_classifier

    if classes and files:
        raise click.UsageError("FILES and --class exclude each other: a classifier takes its files by class")
    if classes and signal:
        raise click.UsageError(
            "--signal and --class exclude each other: a tagger takes --class signal=FILE as well"
        )
    if classes or (model in TOPOLOGIES and not files):
        return train_classifier(model, by_class(classes), output, most_rows=most, **shared)
    if not files:
        raise click.UsageError("Missing argument 'FILES...'.")
    return train(model, files, output, signal=signal, latent=latent, most_jets=most, **shared)


def _untrained(model: str, output: Path, seed: int, *, given: bool, as_json: bool) -> None:
    """Make a network with random weights."""
    from tamis.zoo import pack_untrained

    if given:
        raise click.UsageError(f"{model} is not trained, its weights are random: leave the files away")
    packed = pack_untrained(model, output, seed=seed)
    if as_json:
        told = packed.bundle.manifest.training
        print_json({"bundle": str(packed.bundle.path), "notes": list(packed.notes), "training": told})
    else:
        click.echo(f"{packed.bundle.path}: untrained, for measurements of speed only")


def _tell(row: dict[str, float]) -> None:
    details = ""
    if "validation_accuracy" in row:
        details = f" (accuracy {row['validation_accuracy']:.4f})"
    elif "validation_kl" in row:
        details = f" (reconstruction {row['validation_reconstruction']:.4f}, KL {row['validation_kl']:.3f})"
    say(
        f"epoch {row['epoch']:.0f}: training loss {row['train_loss']:.4f}, validation {row['validation_loss']:.4f}{details}, "
        f"learning rate {row['learning_rate']:.1e}"
    )


def _size(told: Mapping[str, object]) -> str:
    """Return what a model was trained on."""
    rows = told.get("training_rows")
    if isinstance(rows, dict):
        return f"{', '.join(f'{count} {name}' for name, count in rows.items())} {told['rows']}"
    if rows is not None:
        return f"{rows} {told['rows']}"
    return f"{told['training_jets']} jets"
