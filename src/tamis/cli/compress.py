"""`tamis compress`: prune, quantise and retrain a bundle, or distil a small student from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError
from tamis.cli.output import json_option, print_json, print_table, say
from tamis.cli.reading import by_class, reading_options, tell_skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tamis.compress import DistilOptions
    from tamis.compress.quality import Figure

EXAMPLE = (
    "Example: tamis compress tagger.tamis --data jets.h5 --weights 6 --activations 8 --prune 0.7 "
    "--target 'flips(background-0.01) < 1%' -o small.tamis; "
    "or tamis compress conv-vae --data qcd.root --distil log-score --student conv -o student.tamis"
)
OF_QUANTISATION = ("weights", "activations", "inputs", "per", "prune", "structured", "cost", "beta")
OF_DISTILLATION = ("student", "size", "loss", "tail", "outliers")


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
    "--distil",
    metavar="METRIC",
    help="Train a small student on this instead: the parent's score, log-score (its quantised logarithm), or FILE.py:FUNCTION.",
)
@click.option(
    "--student",
    type=click.Choice(["dense", "conv", "particles"]),
    default="dense",
    show_default=True,
    help="Family of the student.",
)
@click.option(
    "--size",
    metavar="N,N",
    help="Neurons of the student's hidden layers (conv: channels, last neurons; particles: particles, channels, last neurons); default: searched, up to 1 % of the operations.",
)
@click.option(
    "--loss",
    type=click.Choice(["mae", "mse"]),
    default="mae",
    show_default=True,
    help="Loss of the student: mean absolute or squared error.",
)
@click.option(
    "--tail",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Further rows of each of the student's epochs, as a fraction of all, mostly with high scores.",
)
@click.option(
    "--outliers",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Rows made from the data to train the student on, as a fraction of all: scaled, mixed and shifted ones.",
)
@click.option(
    "--target",
    metavar="CONDITIONS",
    help="What the model has to fulfil, such as 'flips(background-0.01) < 1% and auc > parent - 0.002'; also accuracy, agreement, error; of a student: correlation, auc(NAME).",
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
    distil: str | None,
    student: str,
    size: str | None,
    loss: str,
    tail: float,
    outliers: float,
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

    With --distil, a small student network learns to predict PARENT's score from the same inputs. With --class, the first class is the
    background, which it is trained on; the other classes are judged only. Quantise it in a second call.

    Checkpoints and metrics.json are written to OUTPUT.training.
    """
    from tamis.compress import CompressOptions, compress
    from tamis.events import parse_aliases

    _check_kind(
        "--distil trains a float model: quantise it in a second call", OF_QUANTISATION, distil is not None
    )
    _check_kind("give --distil as well", OF_DISTILLATION, distil is None)
    if distil is not None:
        from tamis.compress import DistilOptions
        from tamis.compress.distillation.options import parse_size

        lessons = DistilOptions(
            metric=distil,
            student=student,
            size=parse_size(size),
            loss=loss,
            tail=tail,
            outliers=outliers,
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
        _distil(parent, output, data, lessons, by_class(classes), as_json=as_json)
        return

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
    _tell_skipped(facts, made.bundle.path)


def _check_kind(advice: str, names: Sequence[str], wrong: bool) -> None:
    """Check that options which mean nothing here were not given."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in names if source(name) == click.core.ParameterSource.COMMANDLINE]
    if wrong and given:
        raise UsageError(f"--{given[0]} has no meaning here: {advice}")


def _distil(
    parent: str,
    output: Path,
    data: Sequence[str],
    options: DistilOptions,
    classes: Mapping[str, Sequence[str]],
    *,
    as_json: bool,
) -> None:
    """Train a student, and print how it compares."""
    from tamis.compress import distil
    from tamis.compress.distillation.card import show_student_figure

    made = distil(parent, output, data, options, classes=classes, after_epoch=_print_epoch)
    facts = made.bundle.manifest.training["distillation"]
    if as_json:
        print_json({"bundle": str(made.bundle.path), "notes": list(made.packed.notes), "distillation": facts})
    else:
        _print_figures(made.figures, show_student_figure)
        for note in made.packed.notes:
            say(note)
        size, whole = made.found.size, made.operations_of_parent
        share = f" of {whole}, {100 * size.operations / whole:.2f} %" if whole else ""
        click.echo(
            f"{made.bundle.path}: {options.student} student of size {size.text}; {size.operations} operations{share}"
        )
    _tell_skipped(facts, made.bundle.path)


def _tell_skipped(facts: object, path: Path) -> None:
    skipped = facts.get("skipped_files", []) if isinstance(facts, dict) else []
    tell_skipped(skipped if isinstance(skipped, list) else [], path)


def _print_figures(figures: Mapping[str, Figure], show: Callable[[str, Figure], str]) -> None:
    rows = []
    for name, figure in figures.items():
        value, _, interval = show(name, figure).partition(" (")
        parent = "" if figure.parent is None else f"{figure.parent:.4f}"
        rows.append((name, parent, value, interval.rstrip(")")))
    print_table(
        "compared with the parent, on rows that were not trained on",
        ("quantity", "parent", "this model", "95 %"),
        rows,
    )


def _print(made: object) -> None:
    from tamis.compress.card import show_figure, summary
    from tamis.compress.run import Compressed

    assert isinstance(made, Compressed)  # noqa: S101 - the type is only known where torch is installed
    _print_figures(made.figures, show_figure)
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
