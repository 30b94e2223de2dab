"""A front of cheaper models: one training that walks from dear to cheap, and the models on the way that no other one beats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tamis._base import UsageError, atomic_path, host_facts, utc_timestamp
from tamis.bundle import Bundle
from tamis.compress.card import add_costs, is_cost
from tamis.compress.costs import measure_costs
from tamis.compress.export import export_network, layer_costs
from tamis.compress.options import CompressOptions
from tamis.compress.packing import RECORDED_OPTIONS, pack_compressed
from tamis.compress.quality import Figure
from tamis.compress.target import QualityTarget
from tamis.compress.task import CompressionTask
from tamis.records import FrontPoint, FrontRecord, LostFigure, write_record
from tamis.zoo.training.loop import AfterEpoch

FRONT_FILE = "front.json"
SHOWN_QUANTITIES = (
    "accuracy",
    "auc",
    "agreement",
    "correlation",
    "flips",
    "error",
)  # the first that is measured is shown
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class FrontModel:
    """A bundle of the front, where it came from, and its figures."""

    bundle: Bundle
    source: str
    figures: Mapping[str, Figure]


def run_front(
    parent: str | Path | Bundle,
    folder: Path,
    data: Sequence[str],
    options: CompressOptions,
    classes: Mapping[str, Sequence[str]],
    points: int,
    after_epoch: AfterEpoch | None,
) -> FrontRecord:
    """Train, choose the models of the front, prove, pack and measure them; see `tamis.compress.compress_front`."""
    check_front(folder, points)
    if options.epochs < points:
        raise UsageError(
            f"a front of {points} models needs at least as many epochs of training, not {options.epochs}"
        )
    if options.cost is None:
        raise UsageError("a front needs the cost that it is drawn against: ebops, lut or macs")
    task = CompressionTask.prepare(parent, data, options, classes)
    training = task.training(folder.with_name(folder.name + ".training"), stations=points)
    training.run(after_epoch)
    quantity = shown_quantity(training.candidates[0].figures, task.conditions)
    scored = [(one, loss_of(quantity, one.figures[quantity]), one.cost) for one in training.candidates]
    with atomic_path(folder) as part:
        part.mkdir()
        models = []
        for candidate in choose_points(scored, points):
            task.network.load_state_dict(training.state_of(candidate))
            figures, costs = task.judge(), layer_costs(task.network)
            target = part / f"{task.parent.name}-epoch-{candidate.epoch:03d}.tamis"
            packed = pack_compressed(
                task, export_network(task.network), target, figures, costs, candidate.epoch
            )
            models.append(FrontModel(packed.bundle, f"epoch {candidate.epoch}", figures))
        recorded = {name: getattr(options, name) for name in RECORDED_OPTIONS} | {"points": points}
        return write_front(part, task.parent, models, quantity, task.conditions, len(task.parts[2]), recorded)


def check_front(folder: Path, points: int) -> None:
    """Check before long work that the folder can be written, and the number of points."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already: choose another folder for the front, or remove it")
    if points < 2:
        raise UsageError(f"a front of {points} models was asked for; expected at least 2")


def shown_quantity(figures: Mapping[str, Figure], conditions: QualityTarget) -> str:
    """Return what a front loses: the target's first quantity, or the most telling one that is measured."""
    if conditions.conditions:
        return conditions.conditions[0].quantity
    kinds = {name.partition("(")[0]: name for name in reversed(list(figures))}
    return next(kinds[kind] for kind in SHOWN_QUANTITIES if kind in kinds)


def loss_of(quantity: str, figure: Figure) -> float:
    """Return how much worse a model is than its parent; differences from the parent are losses themselves."""
    change = figure.value - (figure.parent or 0.0)
    return change if is_cost(quantity) else -change


def choose_points(scored: Iterable[tuple[Entry, float, float]], most: int) -> list[Entry]:
    """Return the entries (entry, loss, cost) that no cheaper one equals, from dear to cheap; at most as many as asked, spread over the logarithm of the cost."""
    best, kept = math.inf, []
    for entry, loss, cost in sorted(scored, key=lambda one: (one[2], one[1])):
        if loss < best:
            best = loss
            kept.append((entry, math.log(max(cost, 1.0))))
    kept.reverse()
    if len(kept) > most:
        first, last = kept[0][1], kept[-1][1]
        wanted = [first + (last - first) * number / (most - 1) for number in range(most)]
        nearest = {min(range(len(kept)), key=lambda i: abs(kept[i][1] - place)) for place in wanted}
        kept = [kept[i] for i in sorted(nearest)]
    return [entry for entry, _ in kept]


def write_front(
    folder: Path,
    parent: Bundle,
    models: Sequence[FrontModel],
    quantity: str,
    conditions: QualityTarget,
    rows: int,
    options: Mapping[str, Any],
) -> FrontRecord:
    """Measure what the parent and the models cost, add it to their cards, and write the record."""
    of_parent, *costs = measure_costs([parent, *(model.bundle for model in models)])
    points = []
    for model, cost in zip(models, costs, strict=True):
        bundle = add_costs(model.bundle, of_parent, cost)
        points.append(
            FrontPoint(
                bundle=bundle.path.name,
                checksum=bundle.manifest.files["model.onnx"].sha256,
                source=model.source,
                met=conditions.met(model.figures),
                figures={name: LostFigure(**asdict(figure)) for name, figure in model.figures.items()},
                cost=cost,
            )
        )
    record = FrontRecord(
        created=utc_timestamp(),
        host=host_facts(),
        parent=parent.name,
        parent_checksum=parent.manifest.files["model.onnx"].sha256,
        parent_cost=of_parent,
        quantity=quantity,
        target=str(conditions) or None,
        rows=rows,
        points=tuple(points),
        options=dict(options),
    )
    write_record(record, folder / FRONT_FILE)
    return record
