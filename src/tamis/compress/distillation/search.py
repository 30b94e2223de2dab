"""The search over sizes of a student: successive halving, each size trained further while it is among the better half."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from tamis._base import DataError
from tamis.bundle.cost import count_cost, count_multiplications
from tamis.bundle.model import parse_model
from tamis.compress.distillation.options import DistilOptions
from tamis.compress.distillation.students import STUDENT_SIZES, Student, build_student
from tamis.compress.distillation.training import Pupils, StudentTraining
from tamis.zoo.networks.description import Recipe
from tamis.zoo.training.export import export_graph
from tamis.zoo.training.loop import AfterEpoch

RUNGS = (0.25, 0.5, 1.0)  # of the epochs, after each of which the worse half leaves
SCALING_ROWS = 20_000
WORSE_ALLOWED = 0.01  # relative loss for which the cheaper of two students is taken


@dataclass(frozen=True)
class StudentSize:
    """One size, with its cost for an event."""

    size: tuple[int, ...]
    operations: int
    multiplications: int

    @property
    def text(self) -> str:
        """The size as it is given to `--size`."""
        return ",".join(map(str, self.size))


@dataclass(frozen=True)
class Tried:
    """A size that was trained: for how many epochs, to which validation loss."""

    size: StudentSize
    epochs: int
    loss: float


@dataclass(frozen=True)
class Found:
    """The best student, and all that were tried."""

    student: Student
    size: StudentSize
    epoch: int
    tried: tuple[Tried, ...]


class StudentSearch:
    """Trains students of several sizes on the same rows."""

    def __init__(
        self, name: str, parts: tuple[Pupils, Pupils], folder: Path, options: DistilOptions, parent: str
    ) -> None:
        """Take training and validation rows; `parent` is the checksum of the parent's graph."""
        self.name, self.parts, self.folder, self.options = name, parts, folder, options
        self._setup = {"data": parts[0].digest, "parent": parent, "metric": options.metric}
        self._mean, self._spread = float(parts[0].target.mean()), float(parts[0].target.std())
        if not self._spread > 0:
            raise DataError(
                f"what is to be distilled is {self._mean:g} for every row of {name}: there is nothing to learn from it"
            )

    def run(self, sizes: list[StudentSize], after_epoch: AfterEpoch | None) -> Found:
        """Train all sizes a little, the better half further, and return the best one."""
        rungs = RUNGS if len(sizes) > 1 else RUNGS[-1:]
        tried: dict[tuple[int, ...], Tried] = {}
        left = sizes
        for number, fraction in enumerate(rungs):
            epochs = max(1, round(fraction * self.options.epochs))
            for size in left:
                history = self._train(size, epochs, after_epoch, fresh=number == 0).state.history
                losses = [row["validation_loss"] for row in history[:epochs]]
                tried[size.size] = Tried(size, epochs, min(losses))
            left = sorted(left, key=lambda size: tried[size.size].loss)
            if number + 1 < len(rungs):
                left = left[: -(-len(left) // 2)]
        best = tried[left[0].size].loss
        close = [size for size in left if tried[size.size].loss <= best * (1 + WORSE_ALLOWED)]
        chosen = min(close, key=lambda size: size.operations)
        return self._found(
            self._train(chosen, self.options.epochs, None, fresh=False), chosen, tried.values()
        )

    def run_all(self, sizes: list[StudentSize], after_epoch: AfterEpoch | None) -> list[tuple[Found, float]]:
        """Train all sizes to the end, and return each student with its validation loss."""
        students = []
        for size in sizes:
            training = self._train(size, self.options.epochs, after_epoch, fresh=True)
            loss = min(row["validation_loss"] for row in training.state.history)
            tried = Tried(size, training.state.epoch, loss)
            students.append((self._found(training, size, [tried]), loss))
        return students

    def _found(self, training: StudentTraining, size: StudentSize, tried: Iterable[Tried]) -> Found:
        return Found(training.student.eval(), size, training.state.best_epoch, tuple(tried))

    def _train(
        self, size: StudentSize, epochs: int, after_epoch: AfterEpoch | None, *, fresh: bool
    ) -> StudentTraining:
        """Train a size up to an epoch, from its checkpoint unless it is new."""
        options = self.options
        training = StudentTraining(
            f"{self.name} {options.student} {size.text}",
            self.build(size.size),
            self.parts,
            self.folder / f"{options.student}-{'-'.join(map(str, size.size))}",
            loss=options.loss,
            tail=options.tail,
            epochs=options.epochs,
            recipe=Recipe(learning_rate=options.learning_rate, batch=options.batch, epochs=epochs),
            seed=options.seed,
            setup=self._setup,
        )
        if options.resume or not fresh:
            training.resume()
        training.run(after_epoch)
        return training

    def build(self, size: tuple[int, ...]) -> Student:
        """Return an untrained student."""
        inputs = [one[:SCALING_ROWS] for one in self.parts[0].inputs.values()]
        return build_student(self.options.student, size, inputs, self._mean, self._spread, self.options.seed)

    def sizes(self, operations: float | None) -> list[StudentSize]:
        """Return the sizes to try: the given one, or those of at most that many operations, else the cheapest."""
        listed = [self.options.size] if self.options.size else STUDENT_SIZES[self.options.student]
        sizes = [self._measure(size) for size in listed]
        if self.options.size or operations is None:
            return sizes
        fitting = [size for size in sizes if size.operations <= operations]
        return fitting or [min(sizes, key=lambda size: size.operations)]

    def _measure(self, size: tuple[int, ...]) -> StudentSize:
        example = {name: values[:1] for name, values in self.parts[0].inputs.items()}
        model = export_student(self.build(size), self.parts[0].inputs)
        cost = count_cost(model, example)
        assert cost is not None  # noqa: S101 - a student has no trees
        return StudentSize(size, cost.flops, count_multiplications(model, example))


def export_student(student: Student, inputs: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return the graph of a student."""
    example = {name: torch.as_tensor(values[:2]) for name, values in inputs.items()}
    return parse_model(export_graph(student, example, ("score",)), "the student")
