"""Checkpoints: the state of a training after an epoch, as safetensors and JSON, written atomically."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tamis._base import UnreadableFileError, UsageError, atomic_path

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class TrainingState:
    """The state of a training besides its tensors."""

    epoch: int = 0
    learning_rate: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def save(folder: Path, tensors: dict[str, torch.Tensor], state: TrainingState, setup: dict[str, Any]) -> None:
    """Replace the checkpoint of a folder."""
    metadata = {"progress": json.dumps(vars(state)), "setup": json.dumps(setup, sort_keys=True)}
    with atomic_path(folder / CHECKPOINT) as part:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part, metadata
        )


def load(folder: Path) -> tuple[dict[str, torch.Tensor], TrainingState, dict[str, Any]] | None:
    """Read the checkpoint of a folder, or return None without one."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata()
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
        return tensors, TrainingState(**json.loads(metadata["progress"])), json.loads(metadata["setup"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(
            f"the checkpoint {path} cannot be read ({error}); remove it to start from scratch"
        ) from error


def load_matching(
    folder: Path, setup: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], TrainingState] | None:
    """Read the checkpoint, and reject one that was written with other options."""
    loaded = load(folder)
    if loaded is None:
        return None
    tensors, state, saved = loaded
    changed = sorted(key for key in setup if key in saved and saved[key] != setup[key])
    if changed:
        key = changed[0]
        raise UsageError(
            f"the checkpoint in {folder} was made with {key} = {saved.get(key)}, this run has {setup[key]}: "
            "give the same options, or omit --resume to start from scratch"
        )
    return tensors, state


def load_best(folder: Path, model: str) -> dict[str, torch.Tensor]:
    """Return the best weights of a training of a model."""
    loaded = load(folder)
    if loaded is None:
        raise UsageError(
            f"{folder} holds no checkpoint: name the folder of a training of {model}, {model}.tamis.training"
        )
    tensors, _, saved = loaded
    if saved.get("model") != model:
        raise UsageError(f"{folder} is a training of {saved.get('model')}, not of {model}")
    return _under("best.", tensors)


def pack_state(
    model: torch.nn.Module, best: dict[str, torch.Tensor], optimiser: torch.optim.Adam
) -> dict[str, torch.Tensor]:
    """Return the weights, the best weights so far and Adam's moments in one dictionary."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    names = [name for name, _ in model.named_parameters()]
    for index, entry in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{names[index]}.{key}": value for key, value in entry.items()}
    return tensors


def unpack_state(
    tensors: dict[str, torch.Tensor], model: torch.nn.Module, optimiser: torch.optim.Adam
) -> dict[str, torch.Tensor]:
    """Restore the weights and Adam's moments; return the best weights so far."""
    model.load_state_dict(_under("model.", tensors))
    parameters = [name for name, _ in model.named_parameters()]
    state = {}
    for index, name in enumerate(parameters):
        entry = _under(f"adam.{name}.", tensors)
        if entry:
            state[index] = entry
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return _under("best.", tensors)


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
