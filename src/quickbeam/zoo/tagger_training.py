"""Training of a tagger: epochs of Adam on signal and background, with early stopping, resumable to the same result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from quickbeam._base import DataError, UsageError, progress, write_text
from quickbeam.zoo import checkpoint
from quickbeam.zoo.simple_net import SimpleNet
from quickbeam.zoo.tagger_data import Labelled, SparseFrames, same_spectrum
from quickbeam.zoo.taggers import Tagger

METRICS = "metrics.json"
VALIDATION_FRACTION, CALIBRATION_FRACTION = 0.1, 0.15
FEWEST = 20  # frames of either kind


@dataclass(frozen=True)
class TaggedSet:
    """Frames of both kinds with equal spectra, split by event: to train on, to stop by, to set thresholds on."""

    frames: SparseFrames
    label: np.ndarray  # 1 is signal
    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray


def split_labelled(signal: Labelled, background: Labelled, seed: int) -> TaggedSet:
    """Give both kinds one spectrum, and split them by event and seed."""
    rows_s, rows_b = same_spectrum(signal.pt, background.pt, seed)
    if min(len(rows_s), len(rows_b)) < FEWEST:
        raise UsageError(
            f"{len(signal)} signal and {len(background)} background frames have {len(rows_s)} of each kind at the same "
            f"transverse momentum; give files with at least {FEWEST}"
        )
    parts = [(signal, rows_s), (background, rows_b)]
    place = np.concatenate([_places(kind.event[rows], seed, n) for n, (kind, rows) in enumerate(parts)])
    rest = VALIDATION_FRACTION + CALIBRATION_FRACTION
    return TaggedSet(
        SparseFrames.joined([_taken(kind.frames, rows) for kind, rows in parts]),
        np.concatenate([np.ones(len(rows_s), np.float32), np.zeros(len(rows_b), np.float32)]),
        np.flatnonzero(place >= rest),
        np.flatnonzero(place < VALIDATION_FRACTION),
        np.flatnonzero((place >= VALIDATION_FRACTION) & (place < rest)),
    )


def _places(event: np.ndarray, seed: int, kind: int) -> np.ndarray:
    """Return a number between 0 and 1 for each row, the same for all rows of one event, evenly spread."""
    events, owner = np.unique(event, return_inverse=True)
    order = np.random.default_rng((seed, 2, kind)).permutation(len(events))
    return (order[owner] + 0.5) / len(events)


def _taken(frames: SparseFrames, rows: np.ndarray) -> SparseFrames:
    begin, counts = frames.offsets[rows], np.diff(frames.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    source = np.arange(int(offsets[-1])) + np.repeat(begin - offsets[:-1], counts)
    return SparseFrames(frames.shape, offsets, frames.place[source], frames.value[source])


class Supervised:
    """One training run in a folder; killed at any moment, it goes on from the last finished epoch."""

    def __init__(self, tagger: Tagger, data: TaggedSet, folder: Path, *, seed: int) -> None:
        """Build the network and its optimiser from the seed alone."""
        self.tagger, self.recipe, self.data, self.folder, self.seed = (
            tagger,
            tagger.recipe,
            data,
            folder,
            seed,
        )
        torch.manual_seed(seed)
        self.net = SimpleNet(tagger.channels, tagger.size)
        self.optimiser = torch.optim.Adam(
            self.net.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        self.state = checkpoint.Progress(learning_rate=self.recipe.learning_rate)
        self.best = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.setup: dict[str, Any] = {
            "model": tagger.name,
            "seed": seed,
            "frames": len(data.train),
            "data": hashlib.sha256(data.frames.value.tobytes() + data.train.tobytes()).hexdigest(),
            **{key: value for key, value in asdict(self.recipe).items() if key != "epochs"},
        }

    def resume(self) -> int:
        """Restore the last checkpoint, if there is one; return the epochs that are done."""
        found = checkpoint.load(self.folder)
        if found is None:
            return 0
        tensors, state, setup = found
        changed = sorted(key for key in self.setup if setup.get(key) != self.setup[key])
        if changed:
            key = changed[0]
            raise UsageError(
                f"the checkpoint in {self.folder} was made with {key} = {setup.get(key)}, this run has {self.setup[key]}: "
                "give the same options, or leave --resume away to start anew"
            )
        self.best = checkpoint.unpack_state(tensors, self.net, self.optimiser)
        self.state = state
        return state.epoch

    def run(self, after_epoch: Callable[[dict[str, float]], None] | None = None) -> bool:
        """Train until the validation loss has stopped falling; tell whether it has, or the epochs were used up."""
        steps = -(-len(self.data.train) // self.recipe.batch)
        left = (self.recipe.epochs - self.state.epoch) * steps
        with progress(f"training {self.tagger.name}", left, "batches") as advance:
            while self.state.epoch < self.recipe.epochs and not self._finished():
                row = self._epoch(advance)
                self._keep(row)
                if after_epoch is not None:
                    after_epoch(row)
        self.net.load_state_dict(self.best)
        self.net.eval()
        return self._finished()

    def _finished(self) -> bool:
        return self.state.epoch - self.state.best_epoch >= self.recipe.patience_stop

    def _epoch(self, advance: Callable[[int], None]) -> dict[str, float]:
        """Train for one epoch; all its random numbers follow from the seed and the epoch."""
        epoch, data = self.state.epoch + 1, self.data
        for group in self.optimiser.param_groups:
            group["lr"] = self.state.learning_rate
        rng = np.random.default_rng((self.seed, 3, epoch))
        order = rng.permutation(data.train)
        self.net.train()
        total = 0.0
        for start in range(0, len(order), self.recipe.batch):
            rows = order[start : start + self.recipe.batch]
            frames = mirrored(data.frames.dense(rows), self.tagger.channels, rng)
            loss = F.binary_cross_entropy_with_logits(
                self.net(torch.from_numpy(frames)), torch.from_numpy(data.label[rows])
            )
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call] # torch annotates it not
            nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
            self.optimiser.step()
            total += float(loss.detach()) * len(rows)
            advance(1)
        return {
            "epoch": float(epoch),
            "learning_rate": self.state.learning_rate,
            "train_loss": total / len(order),
            "validation_loss": self._validate(),
        }

    def _validate(self) -> float:
        logit, label = self.logits(self.data.validation), self.data.label[self.data.validation]
        return float(np.mean(np.logaddexp(0.0, logit) - label * logit))

    @torch.no_grad()
    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Return what the network says of some frames."""
        self.net.eval()
        pieces = [
            self.net(torch.from_numpy(self.data.frames.dense(rows[i : i + 256]))).numpy()
            for i in range(0, len(rows), 256)
        ]
        return np.concatenate(pieces).astype(np.float64)

    def _keep(self, row: dict[str, float]) -> None:
        """Note an epoch: the best weights, the learning rate to come, the checkpoint, the metrics."""
        state = self.state
        state.epoch = int(row["epoch"])
        state.history.append(row)
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            raise DataError(
                f"the loss of {self.tagger.name} is not finite in epoch {state.epoch}; the checkpoint of the epoch before "
                "stands: look for extreme values in the training frames"
            )
        if row["validation_loss"] < state.best_loss * (1.0 - 1e-4):
            state.best_loss, state.best_epoch = row["validation_loss"], state.epoch
            self.best = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
        elif (state.epoch - state.best_epoch) % self.recipe.patience_decay == 0:
            state.learning_rate *= self.recipe.decay
        tensors = checkpoint.pack_state(self.net, self.best, self.optimiser)
        checkpoint.save(self.folder, tensors, state, self.setup)
        write_text(self.folder / METRICS, json.dumps(state.history, indent=1) + "\n")


def mirrored(frames: np.ndarray, channels: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """Return the frames of a batch turned over in eta, in phi, or not: nature does not mind, dz and d0 change their signs."""
    for axis, name in ((2, "dz"), (3, "d0")):
        if rng.random() < 0.5:
            frames = np.flip(frames, axis)
            if name in channels:
                frames = frames.copy()
                frames[:, channels.index(name)] *= -1.0
    return np.ascontiguousarray(frames)
