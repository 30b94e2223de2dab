"""Training of a model on arrays, and its bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tamis._base import library_versions
from tamis.bundle import Packed, pack
from tamis.bundle.model import parse_model
from tamis.zoo.data.arrays import ArrayRows
from tamis.zoo.networks.array_models import ArrayModel
from tamis.zoo.networks.array_net import ArrayNet
from tamis.zoo.training.export import export_graph
from tamis.zoo.training.loop import Loop, Losses, Trained, ended

GOLDEN_ROWS, GOLDEN_BYTES = 64, 400_000


class ArrayTraining(Loop):
    """The loss is what the model's module says it is."""

    def __init__(
        self,
        model: ArrayModel,
        data: tuple[ArrayRows, ArrayRows],
        folder: Path,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """Build the model from the seed alone."""
        self.recipe, self.train, self.validation = model.recipe, *data
        torch.manual_seed(seed)
        self.net: ArrayNet = model.build(self.train.inputs)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch annotates it not
        super().__init__(
            model.name,
            self.net,
            folder,
            rows=(len(self.train), len(self.validation)),
            seed=seed,
            device=device,
            setup={"data": hashlib.sha256(self.train.target.tobytes()).hexdigest()},
        )

    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        part = self.train if training else self.validation
        inputs = tuple(_tensor(values[rows]).to(self.device) for values in part.inputs.values())
        target = torch.from_numpy(part.target[rows]).to(self.device)
        return self.net.losses(inputs, target), len(rows)


def _tensor(values: np.ndarray) -> Tensor:
    """Return values as a tensor; images with their channels last, which is half as long to train on."""
    found = torch.from_numpy(values)
    return found.contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found


def pack_array_model(
    model: ArrayModel,
    trained: Trained,
    data: tuple[ArrayRows, ArrayRows],
    target: Path,
    *,
    seed: int,
    files: Sequence[str],
) -> Packed:
    """Pack a trained model with rows that it was not trained on as golden ones."""
    train, validation = data
    golden = _examples(validation)
    told = {
        "model": model.name,
        "task": model.task,
        "sample": model.sample,
        "target": model.target,
        "baselines": model.baselines,
        **({"classes": model.classes} if model.classes else {}),
        "seed": seed,
        "files": [Path(file).name for file in files],
        **({"skipped_files": train.skipped} if train.skipped else {}),
        "rows": model.rows,
        "training_rows": len(train),
        "validation_rows": len(validation),
        "recipe": asdict(model.recipe),
        "best_epoch": trained.best_epoch,
        "ended": ended(trained, model.recipe.patience_stop),
        "versions": library_versions(("torch", "numpy", "tamis")),
    }
    return pack(
        parse_model(export_array_model(model, trained.model, golden), model.name),
        target,
        name=model.name,
        inputs=golden,
        score=model.score,
        description=model.description,
        units=dict(model.inputs),
        training=json.loads(json.dumps(told)),
        extra={"training.json": json.dumps(trained.history, indent=1) + "\n"},
    )


def export_array_model(model: ArrayModel, module: torch.nn.Module, inputs: dict[str, np.ndarray]) -> bytes:
    """Export with two of these rows as the example."""
    example = {name: torch.from_numpy(values[:2]) for name, values in inputs.items()}
    return export_graph(module.eval(), example, model.outputs)


def _examples(rows: ArrayRows) -> dict[str, np.ndarray]:
    row_bytes = sum(values[:1].nbytes for values in rows.inputs.values())
    most = max(4, min(GOLDEN_ROWS, GOLDEN_BYTES // row_bytes))
    return {name: values[:most] for name, values in rows.inputs.items()}
