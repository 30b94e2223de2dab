"""The function behind `tamis compress`; importing it takes no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tamis._base import require
from tamis.compress.distillation.options import DistilOptions
from tamis.compress.options import FRONT_POINTS, CompressOptions
from tamis.compress.trees.options import ForestOptions, TreeOptions

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.compress.distillation.run import Distilled
    from tamis.compress.run import Compressed
    from tamis.compress.trees.run import TreeStudent
    from tamis.records import FrontRecord
    from tamis.zoo.training.loop import AfterEpoch


def compress(
    parent: str | Path | Bundle,
    target: str | Path,
    data: Sequence[str] = (),
    options: CompressOptions | None = None,
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Compressed:
    """Prune, quantise and retrain a bundle; write the cheapest result that meets the target, or raise an error with the nearest one.

    Rows come from files of events or arrays, or from files of each class. `after_epoch` gets each row of the history. Checkpoints and
    metrics are in `TARGET.training`.
    """
    require("torch", extra="torch", purpose="compression")
    from tamis.compress.run import run_compression

    return run_compression(
        parent, Path(target), data, options or CompressOptions(), classes or {}, after_epoch
    )


def distil(
    parent: str | Path | Bundle,
    target: str | Path,
    data: Sequence[str] = (),
    options: DistilOptions | None = None,
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Distilled:
    """Train a small student to predict a bundle's score, or a metric of it, and write it as a bundle with the same inputs.

    Rows come from files of events or arrays, or from files of each class, of which only the background is trained on.
    `after_epoch` gets each row of the history. Checkpoints and metrics are in `TARGET.training`, a folder for each size.
    """
    require("torch", extra="torch", purpose="distillation")
    from tamis.compress.distillation.run import run_distillation

    return run_distillation(
        parent, Path(target), data, options or DistilOptions(), classes or {}, after_epoch
    )


def compress_front(
    parent: str | Path | Bundle,
    folder: str | Path,
    data: Sequence[str] = (),
    options: CompressOptions | DistilOptions | None = None,
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    points: int = FRONT_POINTS,
    after_epoch: AfterEpoch | None = None,
) -> FrontRecord:
    """Write a folder of cheaper bundles, from dear to cheap, with a record of what each loses and what it costs.

    With `DistilOptions` they are students of several sizes. Otherwise one training walks along the front: the weight of the cost rises
    in as many steps as there are points. Checkpoints and metrics are in `FOLDER.training`.
    """
    require("torch", extra="torch", purpose="compression")
    if isinstance(options, DistilOptions):
        from tamis.compress.distillation.front import run_student_front

        return run_student_front(parent, Path(folder), data, options, classes or {}, points, after_epoch)
    from tamis.compress.front import run_front

    options = options or CompressOptions(cost="ebops")
    return run_front(parent, Path(folder), data, options, classes or {}, points, after_epoch)


def to_trees(
    parent: str | Path | Bundle,
    target: str | Path,
    data: Sequence[str] = (),
    options: TreeOptions | None = None,
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    after_epoch: AfterEpoch | None = None,
) -> TreeStudent:
    """Replace a bundle by boosted trees of small integers, which learn its probabilities, or its score, from the same inputs.

    Rows come from files of events or arrays, or from files of each class. `after_epoch` gets each row of the history.
    """
    require("torch", extra="torch", purpose="training the leaves of trees")
    from tamis.compress.trees.run import run_trees

    return run_trees(parent, Path(target), data, options or TreeOptions(), classes or {}, after_epoch)


def quantise_trees(
    parent: str | Path | Bundle,
    target: str | Path,
    data: Sequence[str] = (),
    options: ForestOptions | None = None,
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> TreeStudent:
    """Make a bundle's own trees, of XGBoost, LightGBM or scikit-learn, trees of integers, which are hardware as well.

    Rows of data choose the grids of the inputs, and say how many decisions change.
    """
    require("torch", extra="torch", purpose="compression")
    from tamis.compress.trees.run_forest import run_forest

    return run_forest(parent, Path(target), data, options or ForestOptions(), classes or {})
