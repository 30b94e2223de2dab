"""The way of a model from ONNX to C: each step can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from tamis.native.emission import Module, Ways, emit
from tamis.native.graph import Graph
from tamis.native.lowering import lower
from tamis.native.passes import (
    forward,
    fuse_finish,
    fuse_gate,
    fuse_multiply,
    hoist,
    hold,
    pair,
    round_weights,
    side_by_side,
    winograd,
)
from tamis.native.program import Program
from tamis.native.specialise import specialise
from tamis.native.targets import Target, find_target

EXACT = "float32"


@dataclass(frozen=True)
class Compiled:
    """A model at each step: the graph of one event, the statements of both ways, the code."""

    graph: Graph
    wide: Program
    narrow: Program
    module: Module


def compile_model(
    model: onnx.ModelProto,
    event: Mapping[str, np.ndarray],
    target: Target | None = None,
    ways: Ways | None = None,
    precision: str = EXACT,
) -> Compiled:
    """Compile a model, or say which node cannot be; `event` is an example of one (leading dimensions of 1)."""
    graph = specialise(model, event)
    program = pair(side_by_side(fuse_finish(forward(fuse_gate(fuse_multiply(lower(graph)))))))
    if precision != EXACT:
        program = round_weights(program, precision)
    wide, narrow = hold(winograd(program, by_place=True)), hoist(winograd(program))
    return Compiled(graph, wide, narrow, emit(wide, narrow, target or find_target("avx512"), ways or Ways()))
