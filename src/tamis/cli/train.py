"""`tamis train`: train a reference network on files, and pack it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from tamis.cli.by_word import ByWord
from tamis.cli.output import json_option, print_json, say
from tamis.cli.reading import by_class, reading_options, tell_skipped

if TYPE_CHECKING:
    from tamis.zoo.training.train_and_pack import Files


class _Models(ByWord):
    modules: ClassVar = {
        **{f"lar-{name}": f"train_monitor:{name}" for name in ("template", "mahalanobis", "ewma", "pca")},
        "lar-lstm": "train_sequence:lstm",
        "lar-xlstm": "train_sequence:xlstm",
        "lar-student": "train_student",
    }


@click.command(name="train", cls=_Models, epilog="Example: tamis train conv-vae qcd.root -o conv-vae.tamis")
@click.argument("model")
@click.argument("files", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME=FILE",
    help="Events of one class of a classifier, instead of FILES; repeat for further classes and files.",
)
@click.option(
    "--signal", multiple=True, help="Signal events of a tagger, whose background is FILES; may be repeated."
)
@click.option(
    "--latent",
    type=click.Choice(["6", "8", "12"]),
    default="8",
    show_default=True,
    help="Size of the latent space of conv-vae and graph-vae.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random numbers.")
@click.option("--epochs", type=click.IntRange(1), help="Maximum number of epochs.")
@click.option("--batch", type=click.IntRange(1), help="Rows per step.")
@click.option(
    "--jets",
    "most_rows",
    type=click.IntRange(20),
    help="Maximum number of training rows: jets, frames or events of each class, or rows of arrays.",
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train."
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; default: torch decides.")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue a killed run after its last finished epoch; the result is the same as without the interruption.",
)
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    help="Folder of the training whose weights an 8-bit network starts from.",
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
    most_rows: int | None,
    device: str,
    threads: int | None,
    resume: bool,
    start: Path | None,
    tree: str | None,
    aliases: tuple[str, ...],
    skip_bad_files: bool,
    as_json: bool,
) -> None:
    """Train MODEL on FILES and write a bundle.

    Anomaly detectors learn from background FILES: conv-vae, graph-vae, l1-anomaly, l1-calo-anomaly. Taggers need --signal as well: egamma, quark-gluon,
    top, tau, top-resnet, and with --from a training of top-resnet, top-resnet-int8 and top-resnet-int8-tuned. Topology
    classifiers take --class for qcd, w and ttbar: topology-gru, topology-lstm, topology-hlf, topology-both. facile,
    em-trk-michel, deepcalo and jet-tagger learn from arrays of a simulated sample, given as files or as their folder. resnet50
    takes no files: it has random weights, for measurements of speed.

    Checkpoints and metrics.json are written to OUTPUT.training.

    Models that watch the data quality of a stream have options of their own, such as `tamis train lar-template --help`: lar-template,
    lar-mahalanobis, lar-ewma, lar-pca, lar-lstm, lar-xlstm, lar-student.
    """
    from tamis.events import parse_aliases
    from tamis.zoo import TrainingOptions, train

    options = TrainingOptions(
        seed=seed,
        epochs=epochs,
        batch=batch,
        latent=int(latent),
        most_rows=most_rows,
        device=device,
        threads=threads,
        resume=resume,
        start=start,
        tree=tree,
        aliases=parse_aliases(aliases),
        skip_bad_files=skip_bad_files,
    )
    packed = train(model, _files(files, classes, signal), output, options, after_epoch=_print_epoch)
    bundle, training = packed.bundle, packed.bundle.manifest.training
    if as_json:
        print_json({"bundle": str(bundle.path), "notes": list(packed.notes), "training": training})
    elif training.get("trained") is False:
        click.echo(f"{bundle.path}: untrained, for measurements of speed only")
    else:
        rows = training.get("training_rows")
        if isinstance(rows, dict):
            rows = ", ".join(f"{count} {name}" for name, count in rows.items())
        size = f"{training['training_jets']} jets" if rows is None else f"{rows} {training['rows']}"
        end = f"best epoch {training['best_epoch']}, ended {training['ended']}"
        click.echo(f"{bundle.path}: {size}, {end}")
    skipped = training.get("skipped_files", [])
    tell_skipped(skipped if isinstance(skipped, list) else [], bundle.path)


def _files(files: tuple[str, ...], classes: tuple[str, ...], signal: tuple[str, ...]) -> Files:
    """Return the files by class, or a list of files for networks without classes."""
    if classes and files:
        raise click.UsageError("FILES and --class exclude each other: a classifier takes its files by class")
    if classes and signal:
        raise click.UsageError(
            "--signal and --class exclude each other: a tagger takes --class signal=FILE as well"
        )
    if classes:
        return by_class(classes)
    return {"background": files, "signal": signal} if signal else files


def _print_epoch(row: dict[str, float]) -> None:
    details = ""
    if "validation_accuracy" in row:
        details = f" (accuracy {row['validation_accuracy']:.4f})"
    elif "validation_kl" in row:
        details = f" (reconstruction {row['validation_reconstruction']:.4f}, KL {row['validation_kl']:.3f})"
    say(
        f"epoch {row['epoch']:.0f}: training loss {row['train_loss']:.4f}, validation {row['validation_loss']:.4f}{details}, "
        f"learning rate {row['learning_rate']:.1e}"
    )
