"""From a bundle and rows of data to a cheaper bundle: what `tamis compress` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tamis._base import TargetNotMetError
from tamis.bundle import Bundle, Packed, check_target
from tamis.compress.card import reached
from tamis.compress.costs import with_costs
from tamis.compress.export import LayerCost, export_network, layer_costs
from tamis.compress.options import CompressOptions
from tamis.compress.packing import pack_compressed
from tamis.compress.prune import prune_network
from tamis.compress.quality import Figure
from tamis.compress.target import QualityTarget
from tamis.compress.task import CompressionTask
from tamis.compress.training import Candidate, start_quantising
from tamis.records import ModelCost
from tamis.zoo.training.loop import AfterEpoch


@dataclass(frozen=True)
class Compressed:
    """A compressed bundle, how it compares with its parent on rows that were used for nothing else, and what it costs."""

    packed: Packed
    figures: Mapping[str, Figure]
    costs: tuple[LayerCost, ...]
    cost: ModelCost
    macs_of_parent: int
    epoch: int

    @property
    def bundle(self) -> Bundle:
        """Return the bundle."""
        return self.packed.bundle


def run_compression(
    parent: str | Path | Bundle,
    target: Path,
    data: Sequence[str],
    options: CompressOptions,
    classes: Mapping[str, Sequence[str]],
    after_epoch: AfterEpoch | None,
) -> Compressed:
    """Train, choose, prove and pack; see `tamis.compress.compress`."""
    check_target(target)
    task = CompressionTask.prepare(parent, data, options, classes)
    tried: list[tuple[Candidate, Mapping[str, Figure]]] = []
    for candidate, state in _train(task, target, after_epoch):
        task.network.load_state_dict(state)
        figures = task.judge()
        tried.append((candidate, figures))
        if candidate.met and task.conditions.met(figures):
            break
    else:
        raise _not_met(task.conditions, tried, options)
    costs = tuple(layer_costs(task.network))
    packed = pack_compressed(task, export_network(task.network), target, figures, costs, candidate.epoch)
    packed, cost = with_costs(task.parent, packed)
    return Compressed(packed, figures, costs, cost, task.dense_macs, candidate.epoch)


def _train(
    task: CompressionTask, target: Path, after_epoch: AfterEpoch | None
) -> Iterator[tuple[Candidate, dict[str, Tensor]]]:
    """Train, and yield the networks to judge in the order in which they are to be taken; after those that miss the target comes the nearest."""
    options, conditions = task.options, task.conditions
    if not options.epochs:
        prune_network(task.network, options.prune, structured=options.structured)
        start_quantising(task.network, task.parts[0])
        yield Candidate(0, 0.0, 0.0, {}, met=True), task.network.state_dict()
        return
    training = task.training(target.with_name(target.name + ".training"))
    training.run(after_epoch)
    if options.cost and not options.target:  # the pressure grows to the end
        ordered = training.candidates[-1:]
    else:
        met = [candidate for candidate in training.candidates if candidate.met]
        ordered = sorted(met, key=lambda one: _rank(one, conditions, options))
        if not ordered:
            ordered = [min(training.candidates, key=lambda one: conditions.distance(one.figures))]
    for candidate in ordered:
        yield candidate, training.state_of(candidate)


def _rank(candidate: Candidate, conditions: QualityTarget, options: CompressOptions) -> float:
    """Return what is to be small: the cost that is reduced, the distance from the target, or without one the loss."""
    if options.cost:
        return candidate.cost
    return conditions.distance(candidate.figures) if conditions.conditions else candidate.loss


def _not_met(
    conditions: QualityTarget,
    tried: Sequence[tuple[Candidate, Mapping[str, Figure]]],
    options: CompressOptions,
) -> TargetNotMetError:
    """Return an error that names the nearest point that was reached."""
    candidate, figures = min(tried, key=lambda one: conditions.distance(one[1]))
    after = (
        f"after epoch {candidate.epoch} of {options.epochs}"
        if options.epochs
        else "without training (--epochs 0)"
    )
    return TargetNotMetError(
        f"no model meets the target {conditions}, so no bundle was written; the nearest has {reached(conditions, figures)} {after}: allow more bits, "
        "prune less, or train longer"
    )
