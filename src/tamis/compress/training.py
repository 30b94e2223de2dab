"""The training of a cheaper model: pruning while weights are floats, then quantisation, each epoch judged against the parent."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tamis._base import atomic_path, write_text
from tamis.bundle import Manifest
from tamis.compress.data import CompressionRows
from tamis.compress.export import layer_costs
from tamis.compress.network import CompressedNetwork
from tamis.compress.prune import prune_network
from tamis.compress.quality import Figure, Outputs, measure_quality
from tamis.compress.target import QualityTarget
from tamis.zoo.networks.description import Recipe
from tamis.zoo.training import checkpoint
from tamis.zoo.training.loop import METRICS, Losses, TrainingLoop

PRUNING_FRACTION = 0.4  # of the epochs, before quantisation begins
L1_WEIGHT = 1e-5  # of the sum of all magnitudes, while weights are removed
LABEL_WEIGHT = (
    0.5  # of the labels in the loss, where there are any and the target is not about the parent's decisions
)
LEARNING_RATE_END = 0.02  # of the first one, at the end of the cosine
CONSTANT_FRACTION = 0.5  # of the quantised epochs, before the cosine begins
WIDTH_REACH = 24.0  # bits that a trained width can fall by in the whole training
COST_WEIGHT_START = 1e-2  # of the EBOPs relative to those at the beginning
COST_WEIGHT_MAX = 3.0
COST_WEIGHT_UP, COST_WEIGHT_DOWN = 1.5, 0.6  # after an epoch that meets the target, or misses it
LEAST_KEPT = 0.05  # of the weights, at the last station of a front whose cost is MACs
FURTHER_PRUNING = 0.1  # of the weights that are left, per epoch that meets the target, if the cost is MACs
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Schedule:
    """What happens in which epoch."""

    epochs: int
    prune: float = 0.0
    structured: bool = False
    cost: str | None = None
    beta: float | None = None  # weight of the cost; None: as large as the target allows
    stations: int = (
        0  # of a front: weights of the cost from small to large, each held while the learning rate falls once
    )

    @property
    def pruning_epochs(self) -> int:
        """The epochs in which weights are removed, before quantisation begins."""
        return (
            min(self.epochs - 1, max(1, round(PRUNING_FRACTION * self.epochs)))
            if self.prune and self.epochs > 1
            else 0
        )

    def station(self, epoch: int) -> tuple[int, float]:
        """Return at which station of the front an epoch is, and the phase of the learning rate's fall there, from 0 to 1."""
        length = (self.epochs - self.pruning_epochs) / self.stations
        station = math.floor((epoch - 1 - self.pruning_epochs) / length)
        first = self.pruning_epochs + 1 + math.ceil(station * length)
        last = self.pruning_epochs + math.ceil((station + 1) * length)
        return station, (epoch - first) / max(1, last - first)

    def rise(self, station: int) -> float:
        """Return how far the cost's weight has risen at a station, from 0 to 1."""
        return station / max(1, self.stations - 1)

    def pruned(self, epoch: int) -> float:
        """Return the fraction that is removed from the epoch on; as in arXiv:1710.01878 most of it early."""
        whole = self.pruning_epochs
        return self.prune if epoch >= whole else self.prune * (1.0 - (1.0 - epoch / whole) ** 3)


@dataclass(frozen=True)
class Candidate:
    """The network after one epoch: its cost and its quality on the validation rows."""

    epoch: int
    cost: float
    loss: float
    figures: Mapping[str, Figure]
    met: bool  # whether the figures meet the target


class CompressionTraining(TrainingLoop):
    """Imitates the parent's outputs, and with labels the truth as well."""

    def __init__(
        self,
        manifest: Manifest,
        network: CompressedNetwork,
        rows: tuple[CompressionRows, CompressionRows],
        parent: tuple[Outputs, Outputs],
        folder: Path,
        *,
        schedule: Schedule,
        target: QualityTarget,
        recipe: Recipe,
        seed: int,
    ) -> None:
        """Take a network that begins with the parent's weights, and the parent's outputs on training and validation rows."""
        self.manifest, self.network, self.schedule, self.target = manifest, network, schedule, target
        self.recipe = recipe
        self.parts, self.parent = rows, parent
        self.candidates: list[Candidate] = []
        digest = hashlib.sha256()
        for name in sorted(rows[0].inputs):
            digest.update(rows[0].inputs[name].tobytes())
        super().__init__(
            manifest.name,
            network,
            folder,
            rows=(len(rows[0]), len(rows[1])),
            seed=seed,
            device="cpu",
            setup={
                "data": digest.hexdigest(),
                "parent": manifest.files["model.onnx"].sha256,
                "target": str(target),
                **{f"widths.{key}": value for key, value in asdict(network.widths).items()},
                **asdict(schedule),
            },
        )
        self.first_ebops: float | None = None
        steps = -(-len(rows[0]) // recipe.batch) * (schedule.epochs - schedule.pruning_epochs)
        network.set_width_step(WIDTH_REACH / (recipe.learning_rate * steps))
        names = [spec.name for spec in manifest.signature.outputs]
        self._spread = {name: float(np.std(parent[0][name].astype(np.float64))) or 1.0 for name in names}

    def resume(self) -> int:
        """Restore the last checkpoint and the candidates before it."""
        epoch = super().resume()
        self.candidates = [_candidate(row) for row in self.state.history if "cost" in row]
        first = next((row["first_ebops"] for row in self.state.history if "first_ebops" in row), None)
        self.first_ebops = first
        return epoch

    def state_of(self, candidate: Candidate) -> dict[str, Tensor]:
        """Return the weights after an epoch."""
        return load_file(self._file(candidate.epoch))

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.safetensors"

    def _finished(self) -> bool:
        return False  # the schedule says when

    def _epoch(self, advance: Callable[[int], None]) -> dict[str, float]:
        """Prune or begin to quantise, train for an epoch, and judge the result."""
        epoch = self.state.epoch + 1
        if self.schedule.prune and epoch <= max(1, self.schedule.pruning_epochs):
            prune_network(self.network, self.schedule.pruned(epoch), structured=self.schedule.structured)
        if epoch == self.schedule.pruning_epochs + 1:
            start_quantising(self.network, self.parts[0])
            with torch.no_grad():
                self.first_ebops = float(self.network.ebops())
        elif self._quantises(epoch):
            if self.schedule.cost == "macs":
                self._prune_further()
            elif self.schedule.cost:
                self.network.adapt(list(self.parts[0].inputs.values()))
        self.state.learning_rate = self._learning_rate(epoch)
        row = super()._epoch(advance)
        if not self._quantises(epoch):
            return row
        row |= {"first_ebops": self.first_ebops or 0.0, "beta": self._beta(), **self._judge(epoch)}
        self.candidates.append(_candidate(row))
        return row

    def _prune_further(self) -> None:
        """Remove more weights after an epoch that met the target, or at the next station of a front."""
        if self.schedule.stations:
            station, phase = self.schedule.station(self.state.epoch + 1)
            if station and not phase:
                kept = (1.0 - self.schedule.prune) * LEAST_KEPT ** self.schedule.rise(station)
                prune_network(self.network, 1.0 - kept)
        elif self.target.conditions and self.candidates and self.candidates[-1].met:
            masks = [self.network.mask(index) for index in range(len(self.network.weights))]
            removed = 1.0 - float(sum(mask.sum() for mask in masks)) / sum(mask.numel() for mask in masks)
            prune_network(self.network, removed + FURTHER_PRUNING * (1.0 - removed))

    def _quantises(self, epoch: int) -> bool:
        return epoch > self.schedule.pruning_epochs

    def _learning_rate(self, epoch: int) -> float:
        """Return a constant rate, and at the end a cosine."""
        if self.schedule.stations and self._quantises(epoch):
            return self._cosine(self.schedule.station(epoch)[1])
        quantised = self.schedule.epochs - self.schedule.pruning_epochs
        first = self.schedule.pruning_epochs + math.ceil(CONSTANT_FRACTION * quantised)
        phase = max(0, epoch - 1 - first) / max(1, self.schedule.epochs - first)
        return self._cosine(phase)

    def _cosine(self, phase: float) -> float:
        fraction = (1 + math.cos(math.pi * phase)) / 2
        return self.recipe.learning_rate * (LEARNING_RATE_END + (1 - LEARNING_RATE_END) * fraction)

    def _beta(self) -> float:
        """Return the weight of the cost: larger as long as the target is met."""
        if not self.network.widths.trained:
            return 0.0
        if self.schedule.beta is not None:
            return self.schedule.beta
        if self.schedule.stations:
            station, _ = self.schedule.station(self.state.epoch + 1)
            return float(
                COST_WEIGHT_START * (COST_WEIGHT_MAX / COST_WEIGHT_START) ** self.schedule.rise(station)
            )
        last = next((row for row in reversed(self.state.history) if "beta" in row), None)
        if last is None:
            return COST_WEIGHT_START
        factor = COST_WEIGHT_UP if last["met"] else COST_WEIGHT_DOWN
        return float(np.clip(last["beta"] * factor, COST_WEIGHT_START / 100, COST_WEIGHT_MAX))

    def _judge(self, epoch: int) -> dict[str, float]:
        outputs = run_network(self.network, self.parts[1].inputs)
        figures = measure_quality(self.manifest, outputs, self.parent[1], self.parts[1].labels)
        measure = self.schedule.cost or "ebops"
        costs = layer_costs(self.network)
        row = {"cost": sum(cost.of(measure) for cost in costs), "met": float(self.target.met(figures))}
        for name, figure in figures.items():
            row |= {
                f"{name}.{key}": float(value) for key, value in asdict(figure).items() if value is not None
            }
        with atomic_path(self._file(epoch)) as part:
            save_file(
                {name: value.detach().contiguous() for name, value in self.network.state_dict().items()}, part
            )
        return row

    def _record(self, row: dict[str, float]) -> None:
        """Write checkpoint and metrics; the choice among the epochs is made at the end."""
        self.state.epoch = int(row["epoch"])
        self.state.history.append(row)
        self.best = self._weights()
        tensors = checkpoint.pack_state(self.model, self.best, self.optimiser)
        checkpoint.save(self.folder, tensors, self.state, self.setup)
        write_text(self.folder / METRICS, json.dumps(self.state.history, indent=1) + "\n")

    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        part, parent = self.parts[0 if training else 1], self.parent[0 if training else 1]
        results = self.network(*(torch.from_numpy(values[rows]) for values in part.inputs.values()))
        loss = self._imitation(results, parent, rows)
        heads = self.network.heads
        if (
            part.labels is not None
            and heads
            and heads[0][1] == "Softmax"
            and not self.target.compares_decisions
        ):
            logits = results[len(self.network.output_names)]
            if logits.shape[1] == len(part.labels.classes):
                truth = nn.functional.cross_entropy(logits, torch.from_numpy(part.labels.label[rows]))
                loss = (1 - LABEL_WEIGHT) * loss + LABEL_WEIGHT * truth
        found = {"loss": loss}
        epoch = self.state.epoch + 1
        if training and not self._quantises(epoch):
            magnitudes = [
                self.network.masked(index).abs().sum() for index in range(len(self.network.weights))
            ]
            found["loss"] = loss + L1_WEIGHT * torch.stack(magnitudes).sum()
        elif training and self.network.widths.trained and self.first_ebops:
            ebops = self.network.ebops() / self.first_ebops
            found = {"loss": loss + self._beta() * ebops, "ebops": ebops}
        return found, float(len(rows))

    def _imitation(self, results: tuple[Tensor, ...], parent: Outputs, rows: np.ndarray) -> Tensor:
        """Return the cross entropy with the parent's probabilities, or without any the squared error in units of the spread."""
        names = self.network.output_names
        losses: list[Tensor] = []
        for number, (output, operator, _) in enumerate(self.network.heads):
            logits, expected = results[len(names) + number], torch.from_numpy(parent[output][rows]).float()
            if operator == "Softmax":
                losses.append(nn.functional.cross_entropy(logits, expected))
            else:
                losses.append(
                    nn.functional.binary_cross_entropy_with_logits(logits.reshape(expected.shape), expected)
                )
        if losses:
            return torch.stack(losses).mean()
        for name, result in zip(names, results, strict=False):
            if result.is_floating_point():
                expected = torch.from_numpy(parent[name][rows]).float()
                losses.append(((result - expected) / self._spread[name]).square().mean())
        return torch.stack(losses).mean()


def start_quantising(network: CompressedNetwork, rows: CompressionRows) -> None:
    """Fix the ranges of all quantisers on training rows, and begin to quantise."""
    network.eval()
    network.enable(list(rows.inputs.values()))


@torch.no_grad()
def run_network(network: CompressedNetwork, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs of the graph on all rows."""
    network.eval()
    count = len(next(iter(inputs.values())))
    pieces = [
        network(*(torch.from_numpy(values[i : i + ROWS_AT_ONCE]) for values in inputs.values()))
        for i in range(0, count, ROWS_AT_ONCE)
    ]
    return {
        name: np.concatenate([piece[number].numpy() for piece in pieces])
        for number, name in enumerate(network.output_names)
    }


def _candidate(row: Mapping[str, Any]) -> Candidate:
    names = dict.fromkeys(key.rpartition(".")[0] for key in row if key.endswith((".value", ".low", ".high")))
    figures = {
        name: Figure(row[f"{name}.value"], row[f"{name}.low"], row[f"{name}.high"], row.get(f"{name}.parent"))
        for name in names
    }
    return Candidate(
        int(row["epoch"]), float(row["cost"]), float(row["validation_loss"]), figures, bool(row["met"])
    )
