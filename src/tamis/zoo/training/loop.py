"""The training loop: epochs of Adam with early stopping and a decaying learning rate, resumable to the same result."""

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
from tamis.zoo.networks.description import Recipe
from tamis.zoo.training import checkpoint

METRICS = "metrics.json"
VALIDATION_BATCH = 256
GRADIENT_NORM_MAX = 10.0
IMPROVEMENT = 1.0 - 1e-4  # the loss counts as lower if it is below the best one times this

Losses = tuple[dict[str, Tensor], float]
AfterEpoch = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """The result of a training: the best weights and the history."""

    model: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool  # False: the epochs ran out while the loss may still have been falling


class TrainingLoop(ABC):
    """One training in a folder; a killed one resumes from the last finished epoch."""

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
        """Take a new model and the numbers of training and validation rows; a checkpoint must agree with `setup`."""
        self.name, self.folder, self.rows, self.seed = name, folder, rows, seed
        self.device = find_device(device)
        self.model = model.to(self.device)
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        self.state = checkpoint.TrainingState(learning_rate=self.recipe.learning_rate)
        self.best = self._weights()
        numbers = {key: value for key, value in asdict(self.recipe).items() if key != "epochs"}
        self.setup: dict[str, Any] = {"model": name, "seed": seed, "rows": rows[0], **setup, **numbers}

    @abstractmethod
    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        """Return the quantities of a batch, of which `loss` is minimised, and the batch's weight in their mean.

        `rows` are indices of training rows, or else of validation rows. Random numbers come from torch's generator, which
        the loop sets the seed again in every epoch.
        """

    def _epoch_facts(self) -> dict[str, float]:
        """Return additional entries for an epoch's row of the history."""
        return {}

    def resume(self) -> int:
        """Restore the last checkpoint, if there is one; return the number of finished epochs."""
        loaded = checkpoint.load_matching(self.folder, self.setup)
        if loaded is not None:
            tensors, self.state = loaded
            self.best = checkpoint.unpack_state(tensors, self.model, self.optimiser)
        return self.state.epoch

    def run(self, after_epoch: AfterEpoch | None = None) -> Trained:
        """Train until the validation loss no longer falls or the epochs run out."""
        steps = -(-self.rows[0] // self.recipe.batch)
        remaining = self.recipe.epochs - self.state.epoch
        with progress(f"training {self.name}", remaining * steps, "batches") as advance:
            while self.state.epoch < self.recipe.epochs and not self._finished():
                row = self._epoch(advance)
                self._record(row)
                if after_epoch is not None:
                    after_epoch(row)
        self.model.load_state_dict(self.best)
        return Trained(self.model.cpu().eval(), self.state.history, self.state.best_epoch, self._finished())

    def _finished(self) -> bool:
        since = self.state.epoch - max(self.state.best_epoch, self.recipe.warmup_epochs)
        return since >= self.recipe.patience_stop

    def _epoch(self, advance: Callable[[int], None]) -> dict[str, float]:
        """Train for one epoch; its random numbers follow from the seed and the epoch's number."""
        epoch = self.state.epoch + 1
        for group in self.optimiser.param_groups:
            group["lr"] = self.state.learning_rate
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows[0])
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        self.model.train()
        batches = []
        for start in range(0, len(order), self.recipe.batch):
            losses, weight = self._losses(order[start : start + self.recipe.batch], training=True)
            self.optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()  # type: ignore[no-untyped-call] # missing in torch's stubs
            nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM_MAX)
            self.optimiser.step()
            batches.append(({name: float(loss.detach()) for name, loss in losses.items()}, weight))
            advance(1)
        means = {"train": _means(batches), "validation": _means(self._validate())}
        named = {f"{part}_{name}": value for part, values in means.items() for name, value in values.items()}
        return {
            "epoch": float(epoch),
            **self._epoch_facts(),
            "learning_rate": self.state.learning_rate,
            **named,
        }

    @torch.no_grad()
    def _validate(self) -> list[tuple[dict[str, float], float]]:
        self.model.eval()
        rows = np.arange(self.rows[1])
        batches = []
        for start in range(0, len(rows), VALIDATION_BATCH):
            losses, weight = self._losses(rows[start : start + VALIDATION_BATCH], training=False)
            batches.append(({name: float(loss) for name, loss in losses.items()}, weight))
        return batches

    def _record(self, row: dict[str, float]) -> None:
        """Update the best weights and the learning rate, and write checkpoint and metrics."""
        state, recipe = self.state, self.recipe
        state.epoch = int(row["epoch"])
        state.history.append(row)
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            raise DataError(
                f"the loss of {self.name} is not finite in epoch {state.epoch}: look for extreme values in the training data; "
                "the checkpoint of the previous epoch is kept"
            )
        warm = state.epoch >= recipe.warmup_epochs
        if warm and row["validation_loss"] < state.best_loss * IMPROVEMENT:
            state.best_loss, state.best_epoch = row["validation_loss"], state.epoch
            self.best = self._weights()
        elif not warm:  # losses are not comparable yet; a run that ends here keeps its last weights
            state.best_epoch = state.epoch
            self.best = self._weights()
        elif (state.epoch - state.best_epoch) % recipe.patience_decay == 0:
            state.learning_rate *= recipe.decay
        tensors = checkpoint.pack_state(self.model, self.best, self.optimiser)
        checkpoint.save(self.folder, tensors, state, self.setup)
        write_text(self.folder / METRICS, json.dumps(state.history, indent=1) + "\n")

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}


def _means(batches: Sequence[tuple[dict[str, float], float]]) -> dict[str, float]:
    """Return the weighted means of all quantities over the batches."""
    weights = [weight for _, weight in batches]
    return {
        name: float(np.average([values[name] for values, _ in batches], weights=weights))
        for name in batches[0][0]
    }


def find_device(name: str) -> torch.device:
    """Return a torch device by name, or raise an error that says why it is unavailable."""
    if name not in ("cpu", "cuda"):
        raise UsageError(f"the device is {name!r}; it must be cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch finds no CUDA device; use --device cpu")
    return torch.device(name)


def describe_end(trained: Trained, patience: int) -> str:
    """Return a phrase for the manifest that says why the training ended."""
    if not trained.history:
        return "before it began: nothing was trained further"
    if trained.stopped_early:
        return f"by early stopping after epoch {len(trained.history)}: {patience} epochs without a lower validation loss"
    return (
        f"with its last epoch, {len(trained.history)}, not by early stopping: a longer training may do better"
    )
