"""The one training loop: epochs of Adam with early stopping and a decaying learning rate, resumable to the same result."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tamis._base import DataError, UsageError, progress, write_text
from tamis.zoo.networks.recipe import Recipe
from tamis.zoo.training import checkpoint

METRICS = "metrics.json"
VALIDATION_BATCH = 256
GRADIENT_MAX = 10.0
ENOUGH = 1.0 - 1e-4  # a loss that falls by less has not fallen

Losses = tuple[dict[str, Tensor], float]


@dataclass(frozen=True)
class Trained:
    """What a training ends with: the best weights and how it went."""

    model: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool  # False: the epochs were used up while the loss may still have fallen


class Loop(ABC):
    """One training run in a folder; killed at any moment, it goes on from the last finished epoch."""

    recipe: Recipe

    def __init__(
        self,
        name: str,
        model: nn.Module,
        folder: Path,
        *,
        rows: tuple[int, int],
        seed: int,
        device: str,
        setup: Mapping[str, Any],
    ) -> None:
        """Take a new model, the numbers of rows to train on and to validate with, and what a checkpoint has to agree with."""
        self.name, self.folder, self.rows, self.seed = name, folder, rows, seed
        self.device = find_device(device)
        self.model = model.to(self.device)
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        self.state = checkpoint.Progress(learning_rate=self.recipe.learning_rate)
        self.best = self._weights()
        numbers = {key: value for key, value in asdict(self.recipe).items() if key != "epochs"}
        self.setup: dict[str, Any] = {"model": name, "seed": seed, "rows": rows[0], **setup, **numbers}

    @abstractmethod
    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        """Return what is measured on some rows, of which `loss` is made small, and the weight that these rows have.

        The rows are those to train on, or else those to validate with. Random numbers are torch's own: the loop seeds
        them anew in every epoch.
        """

    def _facts(self) -> dict[str, float]:
        """Return what else an epoch's entry in the history tells."""
        return {}

    def resume(self) -> int:
        """Restore the last checkpoint, if there is one; return the epochs that are done."""
        found = checkpoint.load_matching(self.folder, self.setup)
        if found is not None:
            tensors, self.state = found
            self.best = checkpoint.unpack_state(tensors, self.model, self.optimiser)
        return self.state.epoch

    def run(self, after_epoch: Callable[[dict[str, float]], None] | None = None) -> Trained:
        """Train until the validation loss has stopped falling."""
        steps = -(-self.rows[0] // self.recipe.batch)
        with progress(
            f"training {self.name}", (self.recipe.epochs - self.state.epoch) * steps, "batches"
        ) as advance:
            while self.state.epoch < self.recipe.epochs and not self._finished():
                row = self._epoch(advance)
                self._keep(row)
                if after_epoch is not None:
                    after_epoch(row)
        self.model.load_state_dict(self.best)
        return Trained(self.model.cpu().eval(), self.state.history, self.state.best_epoch, self._finished())

    def _finished(self) -> bool:
        since = self.state.epoch - max(self.state.best_epoch, self.recipe.warmup_epochs)
        return since >= self.recipe.patience_stop

    def _epoch(self, advance: Callable[[int], None]) -> dict[str, float]:
        """Train for one epoch; all its random numbers follow from the seed and the epoch."""
        epoch = self.state.epoch + 1
        for group in self.optimiser.param_groups:
            group["lr"] = self.state.learning_rate
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows[0])
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        self.model.train()
        seen = []
        for start in range(0, len(order), self.recipe.batch):
            losses, weight = self._losses(order[start : start + self.recipe.batch], training=True)
            self.optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()  # type: ignore[no-untyped-call] # torch annotates it not
            nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_MAX)
            self.optimiser.step()
            seen.append(({name: float(loss.detach()) for name, loss in losses.items()}, weight))
            advance(1)
        means = {"train": _means(seen), "validation": _means(self._validate())}
        named = {f"{part}_{name}": value for part, found in means.items() for name, value in found.items()}
        return {"epoch": float(epoch), **self._facts(), "learning_rate": self.state.learning_rate, **named}

    @torch.no_grad()
    def _validate(self) -> list[tuple[dict[str, float], float]]:
        self.model.eval()
        rows = np.arange(self.rows[1])
        seen = []
        for start in range(0, len(rows), VALIDATION_BATCH):
            losses, weight = self._losses(rows[start : start + VALIDATION_BATCH], training=False)
            seen.append(({name: float(loss) for name, loss in losses.items()}, weight))
        return seen

    def _keep(self, row: dict[str, float]) -> None:
        """Note an epoch: the best weights, the learning rate to come, the checkpoint, the metrics."""
        state, recipe = self.state, self.recipe
        state.epoch = int(row["epoch"])
        state.history.append(row)
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            raise DataError(
                f"the loss of {self.name} is not finite in epoch {state.epoch}; the checkpoint of the epoch before stands: "
                "look for extreme values in what it is trained on"
            )
        warm = state.epoch >= recipe.warmup_epochs
        if warm and row["validation_loss"] < state.best_loss * ENOUGH:
            state.best_loss, state.best_epoch = row["validation_loss"], state.epoch
            self.best = self._weights()
        elif not warm:  # losses do not compare yet; a run that ends here ends with its last weights
            state.best_epoch = state.epoch
            self.best = self._weights()
        elif (state.epoch - state.best_epoch) % recipe.patience_decay == 0:
            state.learning_rate *= recipe.decay
        tensors = checkpoint.pack_state(self.model, self.best, self.optimiser)
        checkpoint.save(self.folder, tensors, state, self.setup)
        write_text(self.folder / METRICS, json.dumps(state.history, indent=1) + "\n")

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}


def _means(seen: Sequence[tuple[dict[str, float], float]]) -> dict[str, float]:
    """Return the mean of everything that was measured batch by batch."""
    weights = [weight for _, weight in seen]
    return {
        name: float(np.average([found[name] for found, _ in seen], weights=weights)) for name in seen[0][0]
    }


def find_device(name: str) -> torch.device:
    """Return the device of that name, or say why there is none."""
    if name not in ("cpu", "cuda"):
        raise UsageError(f"the device is {name!r}; it has to be cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch sees no CUDA device here; use --device cpu")
    return torch.device(name)


def ended(trained: Trained, patience: int) -> str:
    """Say how a training ended."""
    if not trained.history:
        return "before it began: nothing was trained further"
    if trained.stopped_early:
        return f"by early stopping after epoch {len(trained.history)}: {patience} epochs without a lower validation loss"
    return (
        f"with its last epoch, {len(trained.history)}, not by early stopping: a longer training may do better"
    )
