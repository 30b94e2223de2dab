"""Networks that begin as trained ones: read from a checkpoint, put into eight bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tamis._base import UsageError
from tamis.zoo.data.stores import Store
from tamis.zoo.networks.classifiers import JET_IMAGE, Build
from tamis.zoo.networks.resnet import small_resnet
from tamis.zoo.networks.resnet_int8 import RoundedResNet
from tamis.zoo.training import checkpoint

CALIBRATION_ROWS = 1024


def quantised(name: str, folder: Path) -> Build:
    """Return what builds the network of a training in eight bits, its scales set by rows that it is trained on."""
    found = checkpoint.load(folder)
    if found is None:
        raise UsageError(
            f"{folder} holds no checkpoint: name the folder of a training of {name}, {name}.tamis.training"
        )
    tensors, _, setup = found
    if setup.get("model") != name:
        raise UsageError(f"{folder} is of a training of {setup.get('model')}, not of {name}")
    best = {key.removeprefix("best."): value for key, value in tensors.items() if key.startswith("best.")}

    def build(inputs: Mapping[str, Store]) -> nn.Module:
        net = small_resnet(len(JET_IMAGE))
        net.load_state_dict(best)
        rounded = RoundedResNet(net.eval())
        (frames,) = inputs.values()
        rows = np.linspace(0, len(frames) - 1, min(CALIBRATION_ROWS, len(frames))).astype(np.int64)
        rounded.calibrate(torch.from_numpy(frames[rows]))
        return rounded

    return build
