"""Training: epochs of Adam with early stopping, learning-rate decay and KL warm-up, resumable to the same result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quickbeam._base import DataError, UsageError, progress, write_text
from quickbeam.zoo import checkpoint
from quickbeam.zoo.dataset import TrainingSet
from quickbeam.zoo.layers import Standardise, chamfer_for_training, constituent_mask, divergence
from quickbeam.zoo.models import LATENT_SIZES, Recipe, ZooModel

METRICS = "metrics.json"


@dataclass(frozen=True)
class Trained:
    """What a training ends with: the best weights and how it went."""

    model: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool  # False: the epochs were used up while the loss may still have fallen


class Training:
    """One training run in a folder; killed at any moment, it goes on from the last finished epoch."""

    def __init__(
        self, zoo: ZooModel, data: TrainingSet, folder: Path, *, latent: int, seed: int, device: str = "cpu"
    ) -> None:
        """Build the model and its optimiser from the seed alone."""
        if latent not in LATENT_SIZES:
            raise UsageError(
                f"the latent size is {latent}; the study used {', '.join(map(str, LATENT_SIZES))}"
            )
        self.zoo, self.recipe, self.data, self.folder, self.seed = zoo, zoo.recipe, data, folder, seed
        self.device = find_device(device)
        torch.manual_seed(seed)
        standardise = Standardise(torch.from_numpy(data.mean), torch.from_numpy(data.std))
        self.model = zoo.build(standardise, latent).to(self.device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=self.recipe.learning_rate)
        self.state = checkpoint.Progress(learning_rate=self.recipe.learning_rate)
        self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.setup: dict[str, Any] = {
            "model": zoo.name,
            "latent": latent,
            "seed": seed,
            "jets": len(data.train),
            "data": hashlib.sha256(data.train.tobytes()).hexdigest(),
            **{key: value for key, value in asdict(self.recipe).items() if key != "epochs"},
        }

    def resume(self) -> int:
        """Restore the last checkpoint, if there is one; return the epochs that are done."""
        found = checkpoint.load_matching(self.folder, self.setup)
        if found is None:
            return 0
        tensors, state = found
        self.best = checkpoint.unpack_state(tensors, self.model, self.optimiser)
        self.state = state
        return state.epoch

    def run(self, after_epoch: Callable[[dict[str, float]], None] | None = None) -> Trained:
        """Train until the validation loss has stopped falling."""
        steps = -(-len(self.data.train) // self.recipe.batch)
        with progress(
            f"training {self.zoo.name}", (self.recipe.epochs - self.state.epoch) * steps, "batches"
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
        epoch, recipe = self.state.epoch + 1, self.recipe
        beta = recipe.beta * min(1.0, epoch / recipe.warmup_epochs) if recipe.warmup_epochs else recipe.beta
        for group in self.optimiser.param_groups:
            group["lr"] = self.state.learning_rate
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.data.train))
        noise = torch.Generator(device=self.device).manual_seed(self.seed * 1_000_003 + epoch)
        self.model.train()
        sums = np.zeros(3)
        for start in range(0, len(order), recipe.batch):
            jets = torch.from_numpy(self.data.train[order[start : start + recipe.batch]]).to(self.device)
            losses = self._losses(jets, beta, noise)
            self.optimiser.zero_grad(set_to_none=True)
            losses[0].backward()  # type: ignore[no-untyped-call] # torch annotates it not
            nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
            self.optimiser.step()
            sums += np.array([float(loss.detach()) for loss in losses]) * len(jets)
            advance(1)
        names = ("loss", "reconstruction", "kl")
        row = {f"train_{name}": value for name, value in zip(names, sums / len(order), strict=True)}
        row |= {
            f"validation_{name}": value
            for name, value in zip(names, self._validate(recipe.beta), strict=True)
        }
        return {"epoch": float(epoch), "beta": beta, "learning_rate": self.state.learning_rate, **row}

    def _losses(
        self, jets: Tensor, beta: float, noise: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        model: Any = self.model
        mu, logvar = model.posterior(jets)
        logvar = logvar.clamp(-20.0, 20.0)
        z = mu
        if noise is not None:
            z = mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=noise, device=self.device)
        mask, std = constituent_mask(jets), model.standardise.std
        rebuilt = model.decode(z)
        reconstruction = chamfer_for_training(jets, rebuilt, mask, std).mean()
        kl = divergence(mu, logvar).mean()
        return self.recipe.weight * reconstruction + beta * kl, reconstruction, kl

    @torch.no_grad()
    def _validate(self, beta: float) -> np.ndarray:
        self.model.eval()
        sums = np.zeros(3)
        for start in range(0, len(self.data.validation), 1024):
            jets = torch.from_numpy(self.data.validation[start : start + 1024]).to(self.device)
            sums += np.array([float(loss) for loss in self._losses(jets, beta, None)]) * len(jets)
        return sums / len(self.data.validation)

    def _keep(self, row: dict[str, float]) -> None:
        """Note an epoch: the best weights, the learning rate to come, the checkpoint, the metrics."""
        state, recipe = self.state, self.recipe
        state.epoch = int(row["epoch"])
        state.history.append(row)
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            raise DataError(
                f"the loss of {self.zoo.name} is not finite in epoch {state.epoch}; the checkpoint of the epoch before stands: "
                "look for extreme values in the training jets"
            )
        warm = state.epoch >= recipe.warmup_epochs
        if warm and row["validation_loss"] < state.best_loss * (1.0 - 1e-4):
            state.best_loss, state.best_epoch = row["validation_loss"], state.epoch
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        elif (
            not warm
        ):  # losses under a rising beta do not compare; a run that ends here ends with its last weights
            state.best_epoch = state.epoch
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        elif (state.epoch - state.best_epoch) % recipe.patience_decay == 0:
            state.learning_rate *= recipe.decay
        checkpoint.save(
            self.folder, checkpoint.pack_state(self.model, self.best, self.optimiser), state, self.setup
        )
        write_text(self.folder / METRICS, json.dumps(state.history, indent=1) + "\n")


def find_device(name: str) -> torch.device:
    """Return the device of that name, or say why there is none."""
    if name not in ("cpu", "cuda"):
        raise UsageError(f"the device is {name!r}; it has to be cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch sees no CUDA device here; use --device cpu")
    return torch.device(name)


def with_epochs(zoo: ZooModel, epochs: int | None, batch: int | None = None) -> ZooModel:
    """Return the model with other numbers in its recipe."""
    recipe: Recipe = zoo.recipe
    for value, what in ((epochs, "epochs"), (batch, "batch")):
        if value is not None and value < 1:
            raise UsageError(f"{what} is {value}; it has to be at least 1")
    return replace(zoo, recipe=replace(recipe, epochs=epochs or recipe.epochs, batch=batch or recipe.batch))


def ended(trained: Trained, patience: int) -> str:
    """Say how a training ended."""
    if trained.stopped_early:
        return f"by early stopping after epoch {len(trained.history)}: {patience} epochs without a lower validation loss"
    return (
        f"with its last epoch, {len(trained.history)}, not by early stopping: a longer training may do better"
    )
