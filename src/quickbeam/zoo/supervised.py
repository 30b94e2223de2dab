"""Supervised training: cross entropy over any number of classes, early stopping, resumable to the same result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quickbeam._base import DataError, progress, write_text
from quickbeam.zoo import checkpoint
from quickbeam.zoo.classifiers import Classifier
from quickbeam.zoo.labelled import Labelled, LabelledSplit
from quickbeam.zoo.training import METRICS, Trained, find_device

VALIDATION_BATCH = 1024
GRADIENT_MAX = 10.0
ENOUGH = 1.0 - 1e-4  # a loss that falls by less has not fallen


class SupervisedTraining:
    """One training run in a folder; killed at any moment, it goes on from the last finished epoch."""

    def __init__(
        self, classifier: Classifier, data: LabelledSplit, folder: Path, *, seed: int, device: str = "cpu"
    ) -> None:
        """Build the model and its optimiser from the seed alone."""
        self.classifier, self.fit, self.data, self.folder, self.seed = (
            classifier,
            classifier.fit,
            data,
            folder,
            seed,
        )
        self.device = find_device(device)
        torch.manual_seed(seed)
        count = np.bincount(data.train.label, minlength=len(classifier.classes))
        self.model = classifier.build(data.train.inputs, len(classifier.classes)).to(self.device)
        # Every class counts the same, however many rows it has.
        self.weight = torch.from_numpy(count.sum() / (len(count) * count)).float().to(self.device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=self.fit.learning_rate)
        self.state = checkpoint.Progress(learning_rate=self.fit.learning_rate)
        self.best = self._weights()
        self.setup: dict[str, Any] = {
            "model": classifier.name,
            "classes": list(classifier.classes),
            "seed": seed,
            "rows": len(data.train),
            "data": _digest(data.train),
            **{key: value for key, value in asdict(self.fit).items() if key != "epochs"},
        }

    def resume(self) -> int:
        """Restore the last checkpoint, if there is one; return the epochs that are done."""
        found = checkpoint.load_matching(self.folder, self.setup)
        if found is not None:
            tensors, self.state = found
            self.best = checkpoint.unpack_state(tensors, self.model, self.optimiser)
        return self.state.epoch

    def run(self, after_epoch: Callable[[dict[str, float]], None] | None = None) -> Trained:
        """Train until the validation loss has stopped falling."""
        steps = -(-len(self.data.train) // self.fit.batch)
        left = (self.fit.epochs - self.state.epoch) * steps
        with progress(f"training {self.classifier.name}", left, "batches") as advance:
            while self.state.epoch < self.fit.epochs and not self._finished():
                row = self._epoch(advance)
                self._keep(row)
                if after_epoch is not None:
                    after_epoch(row)
        self.model.load_state_dict(self.best)
        return Trained(self.model.cpu().eval(), self.state.history, self.state.best_epoch, self._finished())

    def _finished(self) -> bool:
        return self.state.epoch - self.state.best_epoch >= self.fit.patience_stop

    def _epoch(self, advance: Callable[[int], None]) -> dict[str, float]:
        """Train for one epoch; all its random numbers follow from the seed and the epoch."""
        epoch = self.state.epoch + 1
        for group in self.optimiser.param_groups:
            group["lr"] = self.state.learning_rate
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.data.train))
        torch.manual_seed(
            self.seed * 1_000_003 + epoch
        )  # what a model draws while it trains, such as dropout
        self.model.train()
        total, weights = 0.0, 0.0
        for start in range(0, len(order), self.fit.batch):
            logits, label = self._read(self.data.train.take(order[start : start + self.fit.batch]))
            loss = nn.functional.cross_entropy(logits, label, self.weight)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call] # torch annotates it not
            nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_MAX)
            self.optimiser.step()
            weight = float(self.weight[label].sum())
            total, weights = total + float(loss.detach()) * weight, weights + weight
            advance(1)
        validation_loss, accuracy = self._validate()
        return {
            "epoch": float(epoch),
            "learning_rate": self.state.learning_rate,
            "train_loss": total / weights,
            "validation_loss": validation_loss,
            "validation_accuracy": accuracy,
        }

    def _read(self, rows: Labelled) -> tuple[Tensor, Tensor]:
        inputs = [torch.from_numpy(rows.inputs[name]).to(self.device) for name in self.classifier.features]
        return self.model(*inputs), torch.from_numpy(rows.label).to(self.device)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Return the loss and the fraction that is told right, every class counting the same."""
        self.model.eval()
        sums = np.zeros(3)
        for start in range(0, len(self.data.validation), VALIDATION_BATCH):
            rows = np.arange(start, min(start + VALIDATION_BATCH, len(self.data.validation)))
            logits, label = self._read(self.data.validation.take(rows))
            weight = self.weight[label]
            loss = nn.functional.cross_entropy(logits, label, self.weight, reduction="sum")
            right = (weight * (logits.argmax(1) == label)).sum()
            sums += [float(loss), float(right), float(weight.sum())]
        return float(sums[0] / sums[2]), float(sums[1] / sums[2])

    def _keep(self, row: dict[str, float]) -> None:
        """Note an epoch: the best weights, the learning rate to come, the checkpoint, the metrics."""
        state = self.state
        state.epoch = int(row["epoch"])
        state.history.append(row)
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            raise DataError(
                f"the loss of {self.classifier.name} is not finite in epoch {state.epoch}; the checkpoint of the epoch before "
                "stands: look for extreme values in the training rows"
            )
        if row["validation_loss"] < state.best_loss * ENOUGH:
            state.best_loss, state.best_epoch = row["validation_loss"], state.epoch
            self.best = self._weights()
        elif (state.epoch - state.best_epoch) % self.fit.patience_decay == 0:
            state.learning_rate *= self.fit.decay
        tensors = checkpoint.pack_state(self.model, self.best, self.optimiser)
        checkpoint.save(self.folder, tensors, state, self.setup)
        write_text(self.folder / METRICS, json.dumps(state.history, indent=1) + "\n")

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}


def _digest(rows: Labelled) -> str:
    found = hashlib.sha256(rows.label.tobytes())
    for name in sorted(rows.inputs):
        found.update(rows.inputs[name].tobytes())
    return found.hexdigest()
