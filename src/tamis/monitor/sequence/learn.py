"""Training of the recurrent autoencoder on the steps of good blocks, in the order of time; states are carried from one sequence to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tamis._base import DataError
from tamis.monitor.sequence.cells import State
from tamis.monitor.sequence.network import SequenceNetwork
from tamis.monitor.sequence.scales import StepTable
from tamis.zoo.training.checkpoint import TrainingState, load_matching, save

VALIDATED = 8  # every eighth row is not trained on
CLIPPED_GRADIENT = 1.0
Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class SequenceTraining:
    """How a recurrent monitor is trained."""

    seed: int = 1
    epochs: int = 12
    steps: int = 64  # of a sequence, through which gradients go back
    rows: int = 128  # sequences in a batch
    rate: float = 3e-3
    threads: int = 1


TRAININGS = {"lstm": SequenceTraining(), "xlstm": SequenceTraining(epochs=10, steps=512, rows=32)}


@dataclass(frozen=True)
class Term:
    """An addition to the loss that keeps weights near old ones (EWC): strength times the sum of importance times the squared change."""

    weights: Mapping[str, Tensor]
    importance: Mapping[str, Tensor]
    strength: float

    def of(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the addition."""
        parts = [
            (self.importance[name] * (value - self.weights[name]) ** 2).sum()
            for name, value in weights.items()
        ]
        return self.strength * torch.stack(parts).sum()


def rows_of_tables(tables: Sequence[StepTable], rows: int) -> StepTable:
    """Return the steps of some streams as rows of equal length, (rows, steps, ...); `begin` is relative to its row."""
    total = sum(len(one.x) for one in tables)
    length = total // rows
    parts, missing = [], rows
    for k, one in enumerate(tables):
        here = missing if k == len(tables) - 1 else round(rows * len(one.x) / total)
        here = min(here, len(one.x) // length, missing)
        missing -= here
        parts += [(one, row * length) for row in range(here)]
    if length < 1 or not parts:
        raise DataError(f"{total} steps of good blocks are too few for {rows} sequences at once")

    def cut(name: str) -> np.ndarray:
        return np.stack([getattr(one, name)[start : start + length] for one, start in parts])

    starts = np.array([start for _, start in parts])[:, None]
    return StepTable(
        cut("x"), cut("target"), cut("reference"), cut("after"), cut("conditions"), cut("begin") - starts, cut("counted")
    )  # fmt: skip


def running_mean_errors(table: StepTable) -> np.ndarray:
    """Return how far the means of blocks are from the running mean before them, (blocks, features)."""
    first = np.flatnonzero((np.arange(len(table.x)) == table.begin) & table.counted)
    errors: np.ndarray = (table.target[first] - table.after[first - 1]).astype(np.float64)
    return errors


def error_whitening(tables: Sequence[StepTable]) -> np.ndarray:
    """Return a matrix that takes errors of the running mean to numbers of unit variance."""
    errors = np.concatenate([running_mean_errors(one) for one in tables])
    values, vectors = np.linalg.eigh(errors.T @ errors / max(1, len(errors)) + 1e-6 * np.eye(errors.shape[1]))
    whitening: np.ndarray = vectors / np.sqrt(values)
    return whitening.astype(np.float32)


def passes(
    network: SequenceNetwork, weights: Mapping[str, Tensor], table: StepTable, steps: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield sequences in the order of time: the errors of what was expected of the mean of each step's block, (rows, steps, features), and which count.

    What is expected does not change within a block, so these errors have the gradients of those of the steps, without their noise.
    """
    count = len(table.x)
    state: State = tuple(torch.zeros(count, *shape) for shape in network.state_shapes().values())
    held = last = torch.zeros(count, network.width)
    held_reference = last_reference = torch.zeros(count, network.features)
    for start in range(first, table.x.shape[1], steps):
        part = slice(start, start + steps)
        x, target, before, after, conditions = (
            torch.from_numpy(one[:, part])
            for one in (table.x, table.target, table.reference, table.after, table.conditions)
        )
        output, state = network.sequence(weights, x - before, conditions, state)
        # The block of a step began here, with the first step of this sequence, or before it.
        place = torch.from_numpy(table.begin[:, part]) - 1 - start
        known = place >= (-1 if start > first else 0)
        place = torch.clamp(place + 2, min=0)
        outputs = _taken(torch.cat([held.unsqueeze(1), last.unsqueeze(1), output], 1), place)
        references = _taken(
            torch.cat([held_reference.unsqueeze(1), last_reference.unsqueeze(1), after], 1), place
        )
        expected = references + network.expected(weights, outputs, conditions)
        counted = torch.from_numpy(table.counted[:, part]) & (known | (start > first))
        state = tuple(one.detach() for one in state)
        held, last = outputs[:, -1].detach(), output[:, -1].detach()
        held_reference, last_reference = references[:, -1], after[:, -1]
        yield target - expected, counted


def _taken(values: Tensor, place: Tensor) -> Tensor:
    return torch.gather(values, 1, place.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def train_mode(
    network: SequenceNetwork,
    tables: Sequence[StepTable],
    options: SequenceTraining,
    folder: Path | None = None,
    *,
    start: Mapping[str, Tensor] | None = None,
    term: Term | None = None,
    resume: bool = False,
    report: Report = lambda _: None,
) -> dict[str, Tensor]:
    """Return the weights with the smallest error on rows that were not trained on; checkpoints go into a folder."""
    torch.set_num_threads(options.threads)
    whole, whiten = rows_of_tables(tables, options.rows), torch.from_numpy(error_whitening(tables))
    validated = np.zeros(len(whole.x), bool)
    validated[VALIDATED - 1 :: VALIDATED] = len(whole.x) >= VALIDATED
    table = _selected(whole, ~validated)
    judged = _selected(whole, validated if validated.any() else ~validated)
    weights = {
        name: value.detach().clone().requires_grad_()
        for name, value in (network.draw(options.seed) if start is None else start).items()
    }
    best = {name: value.detach().clone() for name, value in weights.items()}
    optimiser = torch.optim.Adam(weights.values(), options.rate)
    progress = TrainingState()
    setup = {**asdict(options), **asdict(network)} | {"data_rows": list(whole.x.shape)}
    if folder is not None and resume:
        found = load_matching(folder, setup)
        if found is not None:
            progress = found[1]
            _take_up(found[0], weights, best, optimiser)
    for epoch in range(progress.epoch, options.epochs):
        # From its full value to nothing, as half a cosine.
        share = 0.5 * (1 + np.cos(np.pi * epoch / options.epochs))
        optimiser.param_groups[0]["lr"] = float(options.rate * share)
        first = int(np.random.default_rng((options.seed, epoch)).integers(options.steps))
        losses = []
        for error, counted in passes(network, weights, table, options.steps, first):
            if not counted.any():
                continue
            loss = (error[counted] @ whiten).square().mean()
            optimiser.zero_grad()
            whole_loss = loss if term is None else loss + term.of(weights)
            whole_loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(weights.values(), CLIPPED_GRADIENT)
            optimiser.step()
            losses.append(float(loss.detach()))
        row = {
            "epoch": float(epoch + 1),
            "train_loss": float(np.mean(losses)),
            "validation_loss": validation_loss(network, weights, judged, options.steps, whiten),
            "learning_rate": float(options.rate * share),
        }
        progress.epoch = epoch + 1
        progress.history.append(row)
        if row["validation_loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch = row["validation_loss"], epoch + 1
            best = {name: value.detach().clone() for name, value in weights.items()}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            save(folder, _tensors(weights, best, optimiser), progress, setup)
        report(row)
    return best


def validation_loss(
    network: SequenceNetwork, weights: Mapping[str, Tensor], table: StepTable, steps: int, whiten: Tensor
) -> float:
    """Return the mean squared error of some rows; 1 is that of the running mean alone."""
    total, number = 0.0, 0
    with torch.no_grad():
        for error, counted in passes(network, weights, table, steps):
            total += float((error[counted] @ whiten).double().square().sum())
            number += int(counted.sum()) * network.features
    return total / max(1, number)


def importance_of(
    network: SequenceNetwork, weights: Mapping[str, Tensor], table: StepTable, steps: int, whiten: Tensor
) -> dict[str, Tensor]:
    """Return the diagonal of the Fisher information for EWC: mean squared gradients of the loss."""
    own = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    found = {name: torch.zeros_like(value) for name, value in own.items()}
    number = 0
    for error, counted in passes(network, own, table, steps):
        if counted.any():
            gradients = torch.autograd.grad((error[counted] @ whiten).square().mean(), list(own.values()))
            for name, gradient in zip(own, gradients, strict=True):
                found[name] += gradient.square()
            number += 1
    return {name: value / max(1, number) for name, value in found.items()}


def _selected(table: StepTable, rows: np.ndarray) -> StepTable:
    return replace(table, **{name: getattr(table, name)[rows] for name in vars(table)})


def _tensors(
    weights: Mapping[str, Tensor], best: Mapping[str, Tensor], optimiser: torch.optim.Adam
) -> dict[str, Tensor]:
    found = {f"weight.{name}": value for name, value in weights.items()}
    found |= {f"best.{name}": value for name, value in best.items()}
    for name, value in weights.items():
        for key, moment in optimiser.state[value].items():
            found[f"adam.{key}.{name}"] = moment
    return found


def _take_up(
    tensors: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    best: dict[str, Tensor],
    optimiser: torch.optim.Adam,
) -> None:
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(tensors[f"weight.{name}"])
            best[name] = tensors[f"best.{name}"]
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"adam.{key}.{name}" in tensors]
            optimiser.state[value] = {key: tensors[f"adam.{key}.{name}"] for key in keys}
