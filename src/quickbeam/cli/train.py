"""`quickbeam train`: a reference model from event files to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from quickbeam.cli.output import json_option, print_json, say
from quickbeam.cli.reading import reading_options, tell_skipped


@click.command(name="train", epilog="Example: quickbeam train conv-vae qcd.root -o conv-vae.qb")
@click.argument("model")
@click.argument("files", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write.")
@click.option(
    "--signal", multiple=True, help="Signal events of a tagger, FILES being its background; may be repeated."
)
@click.option(
    "--latent", type=click.Choice(["6", "8", "12"]), default="8", show_default=True, help="Size of z."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="At most so many epochs.")
@click.option("--batch", type=click.IntRange(1), help="Jets per step.")
@click.option(
    "--jets", type=click.IntRange(20), help="Train on at most so many jets, or frames of each kind."
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; default: torch's own choice.")
@click.option(
    "--resume", is_flag=True, help="Go on from the last finished epoch of a killed run, to the same result."
)
@reading_options
@json_option
def command(
    model: str,
    files: tuple[str, ...],
    output: Path,
    signal: tuple[str, ...],
    latent: str,
    seed: int,
    epochs: int | None,
    batch: int | None,
    jets: int | None,
    device: str,
    threads: int | None,
    resume: bool,
    tree: str | None,
    skip_bad_files: bool,
    as_json: bool,
) -> None:
    """Train MODEL (conv-vae, graph-vae) on the leading jets of FILES, or a tagger (egamma, quark-gluon, top, tau).

    Checkpoints and metrics.json are kept in OUTPUT.training.
    """
    from quickbeam.zoo import train

    packed = train(
        model,
        files,
        output,
        signal=signal,
        latent=int(latent),
        seed=seed,
        epochs=epochs,
        batch=batch,
        device=device,
        threads=threads,
        most_jets=jets,
        resume=resume,
        tree=tree,
        skip_bad_files=skip_bad_files,
        after_epoch=_say_epoch,
    )
    bundle, told = packed.bundle, packed.bundle.manifest.training
    if as_json:
        print_json({"bundle": str(bundle.path), "notes": list(packed.notes), "training": told})
    else:
        size = (
            f"{told['training_jets']} jets"
            if "training_jets" in told
            else f"{told['training_frames']} frames"
        )
        click.echo(f"{bundle.path}: {size}, best epoch {told['best_epoch']}, ended {told['ended']}")
    skipped = told.get("skipped_files", [])
    tell_skipped(skipped if isinstance(skipped, list) else [], bundle.path)


def _say_epoch(row: dict[str, float]) -> None:
    parts = ""
    if "validation_kl" in row:
        parts = f" (reconstruction {row['validation_reconstruction']:.4f}, KL {row['validation_kl']:.3f})"
    say(
        f"epoch {row['epoch']:.0f}: training loss {row['train_loss']:.4f}, validation {row['validation_loss']:.4f}{parts}, "
        f"learning rate {row['learning_rate']:.1e}"
    )
