"""From a bundle and rows of data to a cheaper bundle: what `tamis compress` does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from tamis._base import TargetNotMetError, UsageError, library_versions
from tamis.bundle import Bundle, Packed, Parent, check_target, pack
from tamis.compress.card import compression_card, show_figure, summary
from tamis.compress.data import CompressionRows, read_rows
from tamis.compress.export import LayerCost, check_exact, export_network, layer_costs
from tamis.compress.graph import LayeredModel, find_layers
from tamis.compress.network import CompressedNetwork, Widths
from tamis.compress.options import CompressOptions
from tamis.compress.prove import prove_exact
from tamis.compress.prune import prune_network
from tamis.compress.quality import Figure, Outputs, measure_quality
from tamis.compress.target import QualityTarget
from tamis.compress.training import Candidate, CompressionTraining, Schedule, run_network, start_quantising
from tamis.engines import open as open_session
from tamis.zoo.data.class_rows import ReadOptions
from tamis.zoo.networks.description import Recipe
from tamis.zoo.training.loop import AfterEpoch

ROWS_AT_ONCE = 4096
EXAMPLES = 64  # among which the golden events are chosen
RECORDED_OPTIONS = (
    "weights", "activations", "inputs", "per", "prune", "structured", "cost", "beta", "target", "seed", "epochs", "batch", "learning_rate"
)  # fmt: skip


@dataclass(frozen=True)
class Compressed:
    """A compressed bundle, how it compares with its parent on rows that were used for nothing else, and what it costs."""

    packed: Packed
    figures: Mapping[str, Figure]
    costs: tuple[LayerCost, ...]
    macs_of_parent: int
    epoch: int

    @property
    def bundle(self) -> Bundle:
        """Return the bundle."""
        return self.packed.bundle


def run_compression(
    parent: str | Path | Bundle,
    target: Path,
    data: Sequence[str],
    options: CompressOptions,
    classes: Mapping[str, Sequence[str]],
    after_epoch: AfterEpoch | None,
) -> Compressed:
    """Train, choose, prove and pack; see `tamis.compress.compress`."""
    conditions = QualityTarget() if options.target is None else QualityTarget.parse(options.target)
    bundle = parent if isinstance(parent, Bundle) else Bundle.open(parent)
    check_target(target)
    check_parent(bundle)
    found = find_layers(bundle.model, bundle.name)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    reading = ReadOptions(options.most_rows, options.tree, options.skip_bad_files, options.aliases)
    rows = read_rows(bundle, data, classes, reading, options.label)
    parts = rows.split(options.seed)
    outputs = [run_bundle(bundle, part.inputs) for part in parts]
    unchanged = measure_quality(bundle.manifest, outputs[1], outputs[1], parts[1].labels)
    conditions.check(list(unchanged))

    widths = Widths(*options.widths, per=str(options.per), trained=options.trains_widths)
    inputs = list(parts[0].inputs.values())
    torch.manual_seed(options.seed)
    network = CompressedNetwork(found, inputs, widths)
    dense = network.dense_macs()
    _check_widths(CompressedNetwork(found, inputs, widths), parts[0], options)
    tried: list[tuple[Candidate, Mapping[str, Figure]]] = []
    for candidate, state in _train(bundle, network, parts, outputs, conditions, options, target, after_epoch):
        network.load_state_dict(state)
        model = export_network(network)
        figures = measure_quality(
            bundle.manifest, run_network(network, parts[2].inputs), outputs[2], parts[2].labels
        )
        tried.append((candidate, figures))
        if candidate.met and conditions.met(figures):
            break
    else:
        raise _not_met(conditions, tried, options)
    costs = tuple(layer_costs(network))
    prove_exact(model, found, parts[2].inputs, bundle.name)
    packed = _pack(bundle, model, found, target, parts[2], figures, costs, dense, options, candidate.epoch)
    return Compressed(packed, figures, costs, dense, candidate.epoch)


def check_parent(bundle: Bundle) -> None:
    """Check that a bundle takes any number of rows of floats."""
    signature = bundle.manifest.signature
    if signature.rows != "free":
        raise UsageError(
            f"the bundle {bundle.name} ({signature.describe_inputs()}) does not take any number of independent rows: "
            "export it with a free batch dimension"
        )
    other = next((spec for spec in signature.inputs if spec.dtype != "float32"), None)
    if other is not None:
        raise UsageError(
            f"the input {other} of {bundle.name} is not float32, which compression needs: cast it inside the graph"
        )


def run_bundle(bundle: Bundle, inputs: Mapping[str, np.ndarray]) -> Outputs:
    """Run a bundle on all rows."""
    with open_session(bundle, "onnxruntime") as session:
        pieces = [
            session.run(**{name: values[i : i + ROWS_AT_ONCE] for name, values in inputs.items()})
            for i in range(0, len(next(iter(inputs.values()))), ROWS_AT_ONCE)
        ]
    return {name: np.concatenate([np.asarray(piece[name]) for piece in pieces]) for name in pieces[0]}


def _check_widths(probe: CompressedNetwork, rows: CompressionRows, options: CompressOptions) -> None:
    """Check before the training that sums with these widths are exact in float32."""
    prune_network(probe, options.prune, structured=options.structured)
    start_quantising(probe, rows)
    check_exact(probe)


def _train(
    bundle: Bundle,
    network: CompressedNetwork,
    parts: tuple[CompressionRows, CompressionRows, CompressionRows],
    outputs: Sequence[Outputs],
    conditions: QualityTarget,
    options: CompressOptions,
    target: Path,
    after_epoch: AfterEpoch | None,
) -> Iterator[tuple[Candidate, dict[str, Tensor]]]:
    """Train, and yield the networks to judge in the order in which they are to be taken; after those that miss the target comes the nearest."""
    schedule = Schedule(options.epochs, options.prune, options.structured, options.cost, options.beta)
    if not options.epochs:
        prune_network(network, options.prune, structured=options.structured)
        start_quantising(network, parts[0])
        yield Candidate(0, 0.0, 0.0, {}, met=True), network.state_dict()
        return
    training = CompressionTraining(
        bundle.manifest,
        network,
        parts[:2],
        (outputs[0], outputs[1]),
        target.with_name(target.name + ".training"),
        schedule=schedule,
        target=conditions,
        recipe=Recipe(learning_rate=options.learning_rate, batch=options.batch, epochs=options.epochs),
        seed=options.seed,
    )
    if options.resume:
        training.resume()
    training.run(after_epoch)
    if options.cost and not options.target:  # the pressure grows to the end
        ordered = training.candidates[-1:]
    else:
        met = [candidate for candidate in training.candidates if candidate.met]
        ordered = sorted(met, key=lambda one: _rank(one, conditions, options))
        if not ordered:
            ordered = [min(training.candidates, key=lambda one: conditions.distance(one.figures))]
    for candidate in ordered:
        yield candidate, training.state_of(candidate)


def _rank(candidate: Candidate, conditions: QualityTarget, options: CompressOptions) -> float:
    """Return what is to be small: the cost that is reduced, the distance from the target, or without one the loss."""
    if options.cost:
        return candidate.cost
    return conditions.distance(candidate.figures) if conditions.conditions else candidate.loss


def _not_met(
    conditions: QualityTarget,
    tried: Sequence[tuple[Candidate, Mapping[str, Figure]]],
    options: CompressOptions,
) -> TargetNotMetError:
    """Return an error that names the nearest point that was reached."""
    candidate, figures = min(tried, key=lambda one: conditions.distance(one[1]))
    names = dict.fromkeys(condition.quantity for condition in conditions.conditions)
    reached = ", ".join(f"{name} {show_figure(name, figures[name])}" for name in names)
    after = (
        f"after epoch {candidate.epoch} of {options.epochs}"
        if options.epochs
        else "without training (--epochs 0)"
    )
    return TargetNotMetError(
        f"no model meets the target {conditions}, so no bundle was written; the nearest has {reached} {after}: allow more bits, "
        "prune less, or train longer"
    )


def _host_note(found: LayeredModel) -> str:
    """Return a sentence about inputs that are computed in floats before they are quantised; empty if there are none."""
    inputs = {value.name for value in found.model.graph.input}
    computed = [tensor.tensor for tensor in found.tensors if tensor.is_input and tensor.tensor not in inputs]
    if not computed:
        return ""
    return (
        f" The graph computes {', '.join(computed)} in floats first: a value within a rounding error of the boundary between two steps may take "
        "either, so that a few rows differ between engines."
    )


def _pack(
    parent: Bundle,
    model: onnx.ModelProto,
    found: LayeredModel,
    target: Path,
    rows: CompressionRows,
    figures: Mapping[str, Figure],
    costs: Sequence[LayerCost],
    dense: int,
    options: CompressOptions,
    epoch: int,
) -> Packed:
    """Pack the compressed graph with the parent's signature and working points, golden events of its own, and a card."""
    manifest = parent.manifest
    origin = Parent(
        name=manifest.name, version=manifest.version, model_sha256=manifest.files["model.onnx"].sha256
    )
    host = _host_note(found)
    chosen = {key: value for key, value in asdict(options).items() if key in RECORDED_OPTIONS}
    facts = {
        "options": chosen,
        "host": host,
        "epoch": epoch,
        "test_rows": len(rows),
        "files": [Path(file).name for file in rows.files],
        **({"skipped_files": list(rows.skipped)} if rows.skipped else {}),
        "macs_of_parent": dense,
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "layers": [asdict(cost) for cost in costs],
        "versions": library_versions(("torch", "numpy", "tamis")),
    }
    name = target.name.removesuffix(".tamis")
    inputs = manifest.signature.inputs
    document = json.dumps(facts, indent=1)
    return pack(
        model,
        target,
        inputs={key: values[:EXAMPLES] for key, values in rows.inputs.items()},
        score=manifest.score,
        rewrites=False,  # they would not keep every sum exact
        description=f"{manifest.name}, compressed: {summary(costs)}",
        features={spec.name: spec.feature for spec in inputs if spec.feature},
        columns={spec.name: spec.columns for spec in inputs if spec.columns},
        units={spec.name: spec.units for spec in inputs if spec.units},
        working_points=manifest.working_points,
        training={**manifest.training, "compression": json.loads(document)},
        parent=origin,
        extra={
            "CARD.md": compression_card(name, origin, figures, costs, dense, facts),
            "compression.json": document + "\n",
        },
    )
