"""`tamis compress`: prune, quantise and retrain a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from tamis.cli.output import json_option, print_json, print_table, say
from tamis.cli.reading import by_class, reading_options, tell_skipped

EXAMPLE = (
    "Example: tamis compress tagger.tamis --data jets.h5 --weights 6 --activations 8 --prune 0.7 "
    "--target 'flips(background-0.01) < 1%' -o small.tamis"
)


@click.command(name="compress", epilog=EXAMPLE)
@click.argument("parent")
@click.option(
    "--data",
    multiple=True,
    metavar="FILE",
    help="Events, or arrays named after the inputs; a file, a glob or a folder; may be repeated.",
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME=FILE",
    help="Events of one class, instead of --data, for AUC and accuracy; repeat for further classes and files.",
)
@click.option(
    "--label",
    metavar="ARRAY",
    help="Array of class numbers in --data; default: the target of the parent's training.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle to write.")
@click.option(
    "--weights",
    type=click.IntRange(2, 16),
    help="Bits of a weight, with its sign; default: 8, with --cost at most 9.",
)
@click.option(
    "--activations",
    type=click.IntRange(2, 16),
    help="Bits between layers; default: 8, with --cost at most 9.",
)
@click.option(
    "--inputs",
    type=click.IntRange(2, 16),
    help="Bits of an input, with its sign; default: 8, with --cost at most 12.",
)
@click.option(
    "--per",
    type=click.Choice(["tensor", "channel", "weight"]),
    help="Which weights share a width; default: those of a tensor, with --cost every weight has its own.",
)
@click.option(
    "--prune",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Fraction of the weights to remove.",
)
@click.option(
    "--structured", is_flag=True, help="Remove whole neurons and channels instead: --prune is their fraction."
)
@click.option(
    "--cost",
    type=click.Choice(["ebops", "lut", "macs"]),
    help="Reduce this cost as far as the target allows: train bit widths below those given (ebops, lut), or prune further (macs).",
)
@click.option(
    "--beta",
    type=click.FloatRange(min=0),
    help="Fixed weight of the cost in the loss; default: as the target allows.",
)
@click.option(
    "--target",
    metavar="CONDITIONS",
    help="What the model has to fulfil, such as 'flips(background-0.01) < 1% and auc > parent - 0.002'; also accuracy, agreement, error.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random numbers.")
@click.option(
    "--epochs",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Epochs of training; 0: quantise without training.",
)
@click.option("--batch", type=click.IntRange(1), default=512, show_default=True, help="Rows per step.")
@click.option("--rows", "most_rows", type=click.IntRange(100), help="Maximum number of rows (of each class).")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads; small networks are slower with several.",
)
@click.option(
    "--resume", is_flag=True, help="Continue a killed run after its last finished epoch, to the same result."
)
@reading_options
@json_option
def command(
    parent: str,
    data: tuple[str, ...],
    classes: tuple[str, ...],
    label: str | None,
    output: Path,
    weights: int | None,
    activations: int | None,
    inputs: int | None,
    per: str | None,
    prune: float,
    structured: bool,
    cost: str | None,
    beta: float | None,
    target: str | None,
    seed: int,
    epochs: int,
    batch: int,
    most_rows: int | None,
    threads: int,
    resume: bool,
    tree: str | None,
    aliases: tuple[str, ...],
    skip_bad_files: bool,
    as_json: bool,
) -> None:
    """Make a cheaper bundle from PARENT: prune it, quantise it to fixed point, retrain it, and verify it.

    The new model imitates PARENT's outputs on the rows of --data; labels are used where there are any. Rows that it was not trained on
    tell how many decisions differ at every working point. If no model meets --target, nothing is written, and the error gives the nearest.

    Checkpoints and metrics.json are written to OUTPUT.training.
    """
    from tamis.compress import CompressOptions, compress
    from tamis.events import parse_aliases

    options = CompressOptions(
        weights=weights,
        activations=activations,
        inputs=inputs,
        per=per,
        prune=prune,
        structured=structured,
        cost=cost,
        beta=beta,
        target=target,
        seed=seed,
        epochs=epochs,
        batch=batch,
        most_rows=most_rows,
        threads=threads,
        resume=resume,
        label=label,
        tree=tree,
        aliases=parse_aliases(aliases),
        skip_bad_files=skip_bad_files,
    )
    made = compress(parent, output, data, options, classes=by_class(classes), after_epoch=_print_epoch)
    facts = made.bundle.manifest.training["compression"]
    if as_json:
        print_json({"bundle": str(made.bundle.path), "notes": list(made.packed.notes), "compression": facts})
    else:
        _print(made)
    skipped = facts.get("skipped_files", []) if isinstance(facts, dict) else []
    tell_skipped(skipped if isinstance(skipped, list) else [], made.bundle.path)


def _print(made: object) -> None:
    from tamis.compress.card import show_figure, summary
    from tamis.compress.run import Compressed

    assert isinstance(made, Compressed)  # noqa: S101 - the type is only known where torch is installed
    rows = []
    for name, figure in made.figures.items():
        value, _, interval = show_figure(name, figure).partition(" (")
        parent = "" if figure.parent is None else f"{figure.parent:.4f}"
        rows.append((name, parent, value, interval.rstrip(")")))
    print_table(
        "compared with the parent, on rows that were not trained on",
        ("quantity", "parent", "this model", "95 %"),
        rows,
    )
    kept, macs = sum(cost.macs for cost in made.costs), made.macs_of_parent
    click.echo(
        f"{made.bundle.path}: {summary(made.costs)}; {kept} of {macs} multiplications, "
        f"{sum(cost.ebops for cost in made.costs)} EBOPs, about {sum(cost.lut for cost in made.costs)} LUTs"
    )


def _print_epoch(row: dict[str, float]) -> None:
    details = ""
    if "cost" in row:
        flips = ", ".join(
            f"{name.removesuffix('.value')} {100 * value:.2f} %"
            for name, value in row.items()
            if name.startswith("flips") and name.endswith(".value")
        )
        details = f", cost {row['cost']:.0f}{', ' + flips if flips else ''}"
    say(
        f"epoch {row['epoch']:.0f}: training loss {row['train_loss']:.4f}, validation {row['validation_loss']:.4f}{details}"
    )
