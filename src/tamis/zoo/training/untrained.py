"""Networks of true size with the weights that they are born with: for speed, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tamis._base import UsageError, did_you_mean, require
from tamis.bundle import Packed, check_target, pack
from tamis.bundle.model import parse_model

UNTRAINED = {
    "resnet50": "ResNet-50 on images of 3 x 224 x 224, untrained: for measurements of speed, its answers mean nothing"
}
IMAGE = (3, 224, 224)
FILLED = 0.003  # of the pixels, as in an image of a jet
GOLDEN_ROWS = 4
CARD = """# Model card: {name}

{description}.

**Untrained.** Its weights are random numbers of the seed {seed}. It has the layers, parameters and operations of the
published network, with one output, so that time, memory and throughput can be measured; it tells nothing apart.
`top-resnet` is a small residual network that was trained.
"""


def pack_untrained(model: str, target: str | Path, *, seed: int = 1) -> Packed:
    """Pack a network with random weights of a seed, and say on its card that it is untrained."""
    if model not in UNTRAINED:
        raise UsageError(
            f"no untrained model is called {model!r}; {did_you_mean(model, UNTRAINED)}".rstrip("; ")
        )
    torch = require("torch", extra="torch", purpose="building a network")
    check_target(Path(target))
    from tamis.zoo.networks.resnet import resnet_50
    from tamis.zoo.training.classified import export_classified

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    frames = rng.exponential(20.0, (GOLDEN_ROWS, *IMAGE)) * (rng.random((GOLDEN_ROWS, *IMAGE)) < FILLED)
    inputs = {"frames": frames.astype(np.float32)}
    description = UNTRAINED[model]
    return pack(
        parse_model(export_classified(resnet_50(), inputs), model),
        Path(target),
        name=model,
        inputs=inputs,
        score="score",
        description=description,
        units={"frames": "GeV"},
        training={"model": model, "seed": seed, "trained": False},
        extra={"CARD.md": CARD.format(name=model, description=description, seed=seed)},
    )
