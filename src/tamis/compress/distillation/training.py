"""The training of one student."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tamis.compress.distillation.outliers import draw_tail
from tamis.compress.distillation.students import Student
from tamis.zoo.networks.description import Recipe
from tamis.zoo.training.loop import Losses, TrainingLoop

STUDENT_RATE_END = 0.01  # of the first learning rate, at the end of the cosine


@dataclass(frozen=True)
class Pupils:
    """Rows with what is to be predicted for them."""

    inputs: Mapping[str, np.ndarray]
    target: np.ndarray

    @property
    def digest(self) -> str:
        """A checksum of inputs and targets."""
        found = hashlib.sha256(self.target.tobytes())
        for name in sorted(self.inputs):
            found.update(self.inputs[name].tobytes())
        return found.hexdigest()


class StudentTraining(TrainingLoop):
    """Trains a student on the parent's numbers; the learning rate follows a cosine to the last of `epochs`."""

    def __init__(
        self,
        name: str,
        student: Student,
        parts: tuple[Pupils, Pupils],
        folder: Path,
        *,
        loss: str,
        tail: float,
        epochs: int,
        recipe: Recipe,
        seed: int,
        setup: Mapping[str, object],
    ) -> None:
        """Take training and validation rows; `recipe.epochs` is where this training stops, perhaps before the last."""
        self.recipe, self.student, self.parts = recipe, student, parts
        self.loss, self.tail_rows, self.epochs = loss, round(tail * len(parts[0].target)), epochs
        rows = len(parts[0].target)
        self._drawn = np.arange(rows)
        self._inputs = [[torch.from_numpy(one) for one in part.inputs.values()] for part in parts]
        self._targets = [
            torch.from_numpy(((part.target - student.mean) / student.spread).astype(np.float32))
            for part in parts
        ]
        super().__init__(
            name,
            student,
            folder,
            rows=(rows + self.tail_rows, len(parts[1].target)),
            seed=seed,
            device="cpu",
            setup={**setup, "loss": loss, "tail": tail, "all_epochs": epochs},
        )

    def _finished(self) -> bool:
        return False  # the number of epochs says when

    def _epoch(self, advance: Callable[[int], None]) -> dict[str, float]:
        """Draw the rows of the tail, and train for an epoch."""
        epoch = self.state.epoch + 1
        everything = np.arange(len(self.parts[0].target))
        tail = draw_tail(self.parts[0].target, self.tail_rows, np.random.default_rng((self.seed, epoch, 1)))
        self._drawn = np.concatenate([everything, tail])
        phase = (epoch - 1) / max(1, self.epochs - 1)
        self.state.learning_rate = self.recipe.learning_rate * (
            STUDENT_RATE_END + (1 - STUDENT_RATE_END) * (1 + math.cos(math.pi * phase)) / 2
        )
        return super()._epoch(advance)

    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        part, chosen = (0, self._drawn[rows]) if training else (1, rows)
        inputs = [one[chosen] for one in self._inputs[part]]
        predicted = self.student(*inputs)
        if not training:
            predicted = (predicted - self.student.mean) / self.student.spread
        function = nn.functional.l1_loss if self.loss == "mae" else nn.functional.mse_loss
        return {"loss": function(predicted, self._targets[part][chosen])}, float(len(rows))
