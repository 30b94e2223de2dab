"""`tamis train lar-lstm` and `lar-xlstm`: from streams of good blocks to a bundle, mode by mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tamis._base import DataError, UsageError
from tamis.bundle import Bundle, Packed
from tamis.monitor.features import ObservedBlock, observed, step_features_of
from tamis.monitor.model import ModeLimits, MonitorModel, monitor_of
from tamis.monitor.packing import pack_monitor
from tamis.monitor.sequence.document import SEQUENCE_FILE, SequenceMode, SequenceModel, as_arrays, sequence_of
from tamis.monitor.sequence.fit import fit_sequence_mode
from tamis.monitor.sequence.graph import StepGraph, step_inputs, step_model
from tamis.monitor.sequence.learn import TRAININGS, Report, SequenceTraining, train_mode
from tamis.monitor.sequence.network import Kind, SequenceNetwork
from tamis.monitor.sequence.scales import SCALE_NAMES, StepScale, fit_scale, step_table, used_steps
from tamis.monitor.stream import stream_blocks
from tamis.monitor.training import GOLDEN_BLOCKS, good_blocks
from tamis.monitor.watch import Watch

ModeReport = Callable[[int, dict[str, float]], None]
NETWORK_KINDS: dict[str, Kind] = {"lstm": "lstm", "xlstm": "xlstm"}


@dataclass(frozen=True)
class TrainedMode:
    """A mode with all that its bundle holds of it."""

    limits: ModeLimits
    model: SequenceMode


def read_good(folders: Sequence[Path], watch: Watch) -> list[dict[int, list[ObservedBlock]]]:
    """Return the blocks of each stream that can be used, by mode."""
    return [
        good_blocks(observed(block, watch) for block in stream_blocks(folder, watch)) for folder in folders
    ]


def train_one_mode(
    network: SequenceNetwork,
    streams: Sequence[Sequence[ObservedBlock]],
    watch: Watch,
    options: SequenceTraining,
    folder: Path | None = None,
    *,
    start: Mapping[str, Tensor] | None = None,
    resume: bool = False,
    report: Report = lambda _: None,
) -> TrainedMode:
    """Train the network on the good blocks of one mode, and set its limits."""
    scale = fit_scale([block for blocks in streams for block in blocks])
    tables = [step_table(scale, blocks) for blocks in streams]
    weights = train_mode(network, tables, options, folder, start=start, resume=resume, report=report)
    return finished_mode(network, weights, scale, streams, watch)


def finished_mode(
    network: SequenceNetwork,
    weights: Mapping[str, Tensor],
    scale: StepScale,
    streams: Sequence[Sequence[ObservedBlock]],
    watch: Watch,
) -> TrainedMode:
    """Return a mode with its limits, for weights that are trained."""
    fitted = fit_sequence_mode(network, weights, scale, streams, watch)
    parameters = {name: getattr(scale, name) for name in SCALE_NAMES if name != "events"} | fitted.whitenings
    parameters |= {name: value.detach().numpy() for name, value in weights.items()}
    return TrainedMode(
        fitted.limits,
        SequenceMode(scatter=fitted.scatter, peak=fitted.peak, parameters=as_arrays(parameters)),
    )


def weights_of(network: SequenceNetwork, model: SequenceModel, mode: int) -> dict[str, Tensor]:
    """Return the weights of a mode of a trained monitor."""
    own = model.modes[mode].parameters
    return {name: torch.from_numpy(own[name].values()) for name in network.shapes()}


def train_sequence(
    kind: str,
    folders: Sequence[Path],
    watch: Watch,
    target: Path,
    options: SequenceTraining | None = None,
    *,
    width: int = 32,
    parent: Bundle | None = None,
    only: int | None = None,
    resume: bool = False,
    report: ModeReport = lambda _mode, _row: None,
) -> Packed:
    """Train a recurrent monitor on streams of good blocks, and pack it.

    With a parent, the modes of the streams are added to those of the parent, which keep every bit; their weights begin with those of its
    first mode.
    """
    network, known, limits, before = _beginning(kind, watch, width, parent)
    options = options or TRAININGS[kind]
    streams = read_good(folders, watch)
    modes = sorted({mode for one in streams for mode in one if only in (None, mode)})
    if not modes:
        what = "beam mode" if only is None else f"block of the beam mode {only}"
        raise DataError(f"the streams {', '.join(str(one) for one in folders)} have no usable {what}")
    repeated = [mode for mode in modes if mode in known.modes]
    if repeated:
        raise UsageError(
            f"{parent.path if parent else ''} knows the beam mode {repeated[0]} already: continue with streams of another mode, or choose one with --mode"
        )
    start = weights_of(network, known, min(known.modes)) if known.modes else None
    trained: dict[int, SequenceMode] = dict(known.modes)
    folder = target.with_name(target.name + ".training")
    for mode in modes:
        own = [one[mode] for one in streams if mode in one]
        result = train_one_mode(
            network, own, watch, options, folder / f"mode-{mode}", start=start, resume=resume, report=partial(report, mode)
        )  # fmt: skip
        limits[mode], trained[mode] = result.limits, result.model
    model = SequenceModel(kind=kind, width=width, latent=network.latent, modes=trained)
    examples = [block for one in streams for mode in modes for block in one.get(mode, [])[:3]]
    monitor = MonitorModel(
        watch=watch, detector=kind, modes=limits, streams=[*before, *(one.name for one in folders)]
    )
    return pack_sequence(network, model, monitor, examples, target, parent)


def _beginning(
    kind: str, watch: Watch, width: int, parent: Bundle | None
) -> tuple[SequenceNetwork, SequenceModel, dict[int, ModeLimits], list[str]]:
    """Return the network, and the modes, limits and streams of the parent."""
    features = len(step_features_of(watch))
    if parent is None:
        network = SequenceNetwork(NETWORK_KINDS[kind], features, width)
        return network, SequenceModel(kind=kind, width=width, latent=network.latent, modes={}), {}, []
    known, monitor = sequence_of(parent), monitor_of(parent)
    if known.kind != kind or monitor.watch != watch:
        raise UsageError(
            f"{parent.path} is the monitor {known.kind} of the watch {monitor.watch.name}: continue it with `tamis train lar-{known.kind}` and its watch"
        )
    network = SequenceNetwork(NETWORK_KINDS[kind], features, known.width, known.latent)
    return network, known, dict(monitor.modes), list(monitor.streams)


def pack_sequence(
    network: SequenceNetwork,
    model: SequenceModel,
    monitor: MonitorModel,
    examples: Sequence[ObservedBlock],
    target: Path,
    parent: Bundle | None = None,
) -> Packed:
    """Pack the step graph, with golden steps of some blocks, and of the parent."""
    graph = StepGraph(network, model.parameters())
    golden = golden_inputs(graph, examples)
    if parent is not None:
        golden = {
            name: np.concatenate([parent.golden.inputs[name], value])[-GOLDEN_BLOCKS - GOLDEN_BLOCKS // 2 :]
            for name, value in golden.items()
        }
    return pack_monitor(
        step_model(graph),
        target,
        monitor,
        golden,
        f"Recurrent monitor ({model.kind}) for the data quality of the stream {monitor.watch.name}, one step at a time",
        training={"width": model.width},
        extra={SEQUENCE_FILE: model.model_dump_json(indent=1)},
    )


def golden_inputs(graph: StepGraph, examples: Sequence[ObservedBlock]) -> dict[str, np.ndarray]:
    """Return inputs of some steps of the examples, with the states that come before them."""
    inputs = {name: value.clone() for name, value in step_inputs(graph, 1).items()}
    states = list(graph.state_shapes())
    taken: list[dict[str, np.ndarray]] = []
    steps = [(block, row, k) for block in examples for k, row in enumerate(used_steps(block)[0])]
    every = max(1, len(steps) // GOLDEN_BLOCKS)
    with torch.no_grad():
        for place, (block, row, k) in enumerate(steps):
            inputs["features"] = torch.from_numpy(row[None])
            for name, value in (
                ("condition", block.condition),
                ("luminosity", block.luminosity),
                ("weight", 1 / (k + 1)),
                ("compared", place // every % 3),
            ):
                inputs[name] = torch.full((1, 1), float(value))
            inputs["mode"] = torch.tensor([block.mode])
            if place % every == 0 and place:
                taken.append({name: value.numpy().copy() for name, value in inputs.items()})
            after = graph(*inputs.values())[-len(states) :]
            inputs |= dict(zip(states, after, strict=True))
    return {name: np.concatenate([one[name] for one in taken[:GOLDEN_BLOCKS]]) for name in inputs}
