"""The compiler's steps, from ONNX to C; the result of each can be inspected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from tamis.bundle import Bundle, Golden, rows_of
from tamis.native.emission import Module, Ways, emit
from tamis.native.graph import Graph
from tamis.native.limits import MOST_HELD
from tamis.native.lowering import EventDependentError, lower
from tamis.native.passes import (
    ForwardTemporaries,
    FuseFinish,
    FuseGate,
    FuseMultiplyAdd,
    HoistContractions,
    HoldProducts,
    PairReductions,
    ParticleMajor,
    Pass,
    RoundWeights,
    SplitGathered,
    SplitShortRows,
    Winograd,
    run_passes,
)
from tamis.native.program import Program
from tamis.native.specialise import specialise, specialise_sizes
from tamis.native.targets import Target, find_target

FULL_PRECISION = "float32"
STEP_OPERATORS = frozenset(
    ["Ceil", "Floor", "Round"]
)  # a sum that is off in its last bit may land on another step


@dataclass(frozen=True)
class Pipeline:
    """The passes, in their order: first those that both modes share, then those of each."""

    shared: tuple[Pass, ...]
    wide: tuple[Pass, ...]  # a vector holds the same number of several events
    narrow: tuple[Pass, ...]  # a vector holds neighbouring numbers of one event


def standard_pipeline(precision: str = FULL_PRECISION, *, tiled: bool = True) -> Pipeline:
    """Return the passes that models are compiled with; those that round to steps are not tiled, which would change exact sums."""
    return Pipeline(
        shared=(
            FuseMultiplyAdd(),
            FuseGate(),
            ForwardTemporaries(),
            SplitGathered(),
            ForwardTemporaries(),
            FuseFinish(),
            SplitShortRows(),
            PairReductions(),
            RoundWeights(precision),
            ParticleMajor(),
        ),
        wide=(*([Winograd(by_place=True)] if tiled else []), HoldProducts()),
        narrow=(*([Winograd()] if tiled else []), HoistContractions()),
    )


def may_hold(bundle: Bundle) -> bool:
    """Return whether inputs may be held at the values of an example: not where each event has its own."""
    return bundle.manifest.signature.rows == "none"


@dataclass(frozen=True)
class CompiledModel:
    """A model after each step: the graph of one event, the programs of both modes, the generated code."""

    graph: Graph
    wide: Program
    narrow: Program
    module: Module


def example_event(bundle: Bundle, golden: Golden | None = None) -> dict[str, np.ndarray]:
    """Return the first golden event; the first batch of a model with a fixed batch size; all inputs of a model without a batch axis."""
    signature = bundle.manifest.signature
    values = (golden or bundle.golden).inputs
    inputs = {spec.name: values[spec.name] for spec in signature.inputs}
    return inputs if signature.rows == "none" else rows_of(inputs, slice(0, signature.fixed_batch or 1))


def compile_model(
    model: onnx.ModelProto,
    event: Mapping[str, np.ndarray],
    target: Target | None = None,
    ways: Ways | None = None,
    precision: str = FULL_PRECISION,
    pipeline: Pipeline | None = None,
    *,
    hold: bool = True,
) -> CompiledModel:
    """Compile a model for inputs of the shapes of `event`, an example with leading dimensions of 1.

    Small inputs that shapes depend on, such as axes and sizes, are held at the values of the example, unless `hold` is false:
    `CompiledModel.graph.held`. Raises ModelError for a model that cannot be compiled; the message names the node.
    """
    held: set[str] = set()
    while True:
        graph = specialise(model, event, held)
        try:
            return _compiled(graph, target, ways, precision, pipeline)
        except EventDependentError as error:
            more = graph.inputs_of(error.tensor)
            if not hold or not more or not all(_may_be_held(graph, name, error.tensor) for name in more):
                raise
            held |= more


def _may_be_held(graph: Graph, name: str, tensor: str) -> bool:
    """Return whether an input that a constant tensor depends on can have the same value in every event."""
    found = graph.types[name]
    is_small = len(found.shape) <= 1 and prod(found.shape) <= MOST_HELD
    return is_small and (found.dtype.kind in "biu" or name == tensor)


def compile_sizes(
    model: onnx.ModelProto,
    events: Sequence[Mapping[str, np.ndarray]],
    typical: int,
    target: Target | None = None,
    precision: str = FULL_PRECISION,
    free: np.ndarray | None = None,
) -> CompiledModel:
    """Compile a model once for inputs of the shapes of every one of `events`; speed is decided by the shapes of event number `typical`.

    `free` has the sizes of the free dimensions of each event; where these are several, the code takes other sizes as well.
    """
    return _compiled(specialise_sizes(model, events, typical, free), target, None, precision, None)


def _compiled(
    graph: Graph, target: Target | None, ways: Ways | None, precision: str, pipeline: Pipeline | None
) -> CompiledModel:
    in_steps = any(node.kind in STEP_OPERATORS for node in graph.nodes)
    passes = pipeline or standard_pipeline(precision, tiled=not in_steps and graph.table is None)
    program = run_passes(lower(graph), passes.shared)
    wide, narrow = run_passes(program, passes.wide), run_passes(program, passes.narrow)
    for name in graph.outputs if graph.table is not None and graph.table.free is not None else ():
        list(map(str, graph.types[name].shape))  # callers need them as columns of the table
    module = emit(wide, narrow, target or find_target("avx512"), ways or Ways())
    return CompiledModel(graph, wide, narrow, module)
