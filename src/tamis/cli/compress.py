"""`tamis compress`: prune, quantise and retrain a bundle, or distil a small student from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tamis.cli.compress_formats import format_options
from tamis.cli.compress_front import front_options, make_front
from tamis.cli.compress_student import (
    distil_student,
    is_distillation,
    print_epoch,
    print_figures,
    student_options,
    student_options_of,
    tell_skipped_files,
)
from tamis.cli.compress_trees import holds_only_trees, is_forest, make_integers, plant_trees
from tamis.cli.output import json_option, print_json
from tamis.cli.reading import by_class, reading_options

EXAMPLE = (
    "Example: tamis compress tagger.tamis --data jets.h5 --weights 6 --activations 8 --prune 0.7 "
    "--target 'flips(background-0.01) < 1%' -o small.tamis; "
    "or tamis compress conv-vae --data qcd.root --distil log-score --student conv -o student.tamis"
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
@format_options
@front_options
@student_options
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
    formats: dict[str, Any],
    points: int | None,
    lesson: dict[str, Any],
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

    With --pareto, OUTPUT is a folder of several models, from dear to cheap, with a page; --cost is ebops unless it is given.

    With --student trees, boosted trees of small integers replace PARENT, for hardware of few LUTs. If PARENT consists of decision trees (XGBoost,
    LightGBM, scikit-learn), its inputs, thresholds and leaves are rounded to --inputs and --weights bits, without training.

    Checkpoints and metrics.json are written to OUTPUT.training.
    """
    from tamis.compress import CompressOptions, compress
    from tamis.events import parse_aliases

    common = {
        "target": target,
        "seed": seed,
        "epochs": epochs,
        "batch": batch,
        "most_rows": most_rows,
        "threads": threads,
        "resume": resume,
        "label": label,
        "tree": tree,
        "aliases": parse_aliases(aliases),
        "skip_bad_files": skip_bad_files,
    }
    if is_forest(lesson):
        bits = {name: formats[name] for name in ("weights", "inputs")}
        plant_trees(parent, output, data, lesson, common | bits, by_class(classes), as_json=as_json)
        return
    if is_distillation(lesson):
        of_student = student_options_of(lesson, common)
        if points is not None:
            make_front(parent, output, data, of_student, by_class(classes), points, as_json=as_json)
        else:
            distil_student(parent, output, data, of_student, by_class(classes), as_json=as_json)
        return
    if holds_only_trees(parent):
        make_integers(parent, output, data, formats, common, by_class(classes), as_json=as_json)
        return
    if points is not None and formats["cost"] is None:
        formats["cost"] = "ebops"
    options = CompressOptions(**formats, **common)  # type: ignore[arg-type] # their types are those of the options
    if points is not None:
        make_front(parent, output, data, options, by_class(classes), points, as_json=as_json)
        return
    made = compress(parent, output, data, options, classes=by_class(classes), after_epoch=print_epoch)
    facts = made.bundle.manifest.training["compression"]
    if as_json:
        print_json({"bundle": str(made.bundle.path), "notes": list(made.packed.notes), "compression": facts})
    else:
        _print(made)
    tell_skipped_files(facts, made.bundle.path)


def _print(made: object) -> None:
    from tamis.compress.card import summary
    from tamis.compress.run import Compressed

    assert isinstance(made, Compressed)  # noqa: S101 - the type is only known where torch is installed
    print_figures(made.figures)
    kept, macs = sum(cost.macs for cost in made.costs), made.macs_of_parent
    click.echo(
        f"{made.bundle.path}: {summary(made.costs)}; {kept} of {macs} multiplications, "
        f"{made.cost.ebops} EBOPs, about {made.cost.lut or 0:.0f} LUTs"
    )
