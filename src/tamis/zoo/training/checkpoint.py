"""Checkpoints: the state of a training at the end of an epoch, as safetensors and JSON, written whole or not at all."""

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
class Progress:
    """Where a training stands, besides its tensors."""

    epoch: int = 0
    learning_rate: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def save(folder: Path, tensors: dict[str, torch.Tensor], state: Progress, setup: dict[str, Any]) -> None:
    """Write one checkpoint in place of the last."""
    told = {"progress": json.dumps(vars(state)), "setup": json.dumps(setup, sort_keys=True)}
    with atomic_path(folder / CHECKPOINT) as part:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part, told)


def load(folder: Path) -> tuple[dict[str, torch.Tensor], Progress, dict[str, Any]] | None:
    """Read the last checkpoint, or return None where there is none."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as handle:
            told = handle.metadata()
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
        return tensors, Progress(**json.loads(told["progress"])), json.loads(told["setup"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(
            f"the checkpoint {path} cannot be read ({error}); remove it to train anew"
        ) from error


def load_matching(folder: Path, wanted: dict[str, Any]) -> tuple[dict[str, torch.Tensor], Progress] | None:
    """Read the last checkpoint, and refuse one that was made with other options."""
    found = load(folder)
    if found is None:
        return None
    tensors, state, setup = found
    changed = sorted(key for key in wanted if key in setup and setup[key] != wanted[key])
    if changed:
        key = changed[0]
        raise UsageError(
            f"the checkpoint in {folder} was made with {key} = {setup.get(key)}, this run has {wanted[key]}: "
            "give the same options, or leave --resume away to start anew"
        )
    return tensors, state


def pack_state(
    model: torch.nn.Module, best: dict[str, torch.Tensor], optimiser: torch.optim.Adam
) -> dict[str, torch.Tensor]:
    """Put the weights, the best weights so far and Adam's moments under one set of names."""
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
