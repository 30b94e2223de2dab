"""Packing of monitors: the limits of the beam modes as working points, and what is watched, beside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from tamis.bundle import Packed, WorkingPoint, pack
from tamis.monitor.model import MONITOR_FILE, MonitorModel


def pack_monitor(
    graph: onnx.ModelProto,
    target: Path,
    model: MonitorModel,
    inputs: Mapping[str, np.ndarray],
    description: str,
    *,
    training: Mapping[str, object] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Packed:
    """Pack a monitor with its golden inputs; `training` and `extra` are added to what every monitor has."""
    blocks = {str(mode): one.blocks for mode, one in model.modes.items()}
    return pack(
        graph,
        target,
        name=target.name.removesuffix(".tamis"),
        inputs=dict(inputs),
        score="score",
        description=description,
        working_points=[
            WorkingPoint(name=f"mode-{mode}", threshold=one.within, background="good blocks within a run")
            for mode, one in model.modes.items()
        ],
        training={"model": model.detector, "streams": model.streams, "blocks": blocks, **(training or {})},
        extra={MONITOR_FILE: model.model_dump_json(indent=1), **(extra or {})},
    )
