"""What is to be compressed: the parent's layers, rows of data and the parent's answers to them, and the network to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from tamis._base import UsageError
from tamis.bundle import Bundle
from tamis.compress.data import CompressionRows, read_rows
from tamis.compress.export import needs_float64
from tamis.compress.graph import LayeredModel, find_layers
from tamis.compress.network import CompressedNetwork, Widths
from tamis.compress.options import CompressOptions
from tamis.compress.prove import prove_exact
from tamis.compress.prune import prune_network
from tamis.compress.quality import Figure, Outputs, measure_quality
from tamis.compress.target import QualityTarget
from tamis.compress.training import CompressionTraining, Schedule, run_network, start_quantising
from tamis.engines import open as open_session
from tamis.zoo.networks.description import Recipe

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class CompressionTask:
    """A parent, rows to train on, to choose by and to judge on, and the network that begins with the parent's weights."""

    parent: Bundle
    found: LayeredModel
    parts: tuple[CompressionRows, CompressionRows, CompressionRows]
    outputs: tuple[Outputs, Outputs, Outputs]  # of the parent
    conditions: QualityTarget
    network: CompressedNetwork
    dense_macs: int
    options: CompressOptions

    @classmethod
    def prepare(
        cls,
        parent: str | Path | Bundle,
        data: Sequence[str],
        options: CompressOptions,
        classes: Mapping[str, Sequence[str]],
    ) -> CompressionTask:
        """Read everything, and check before the training that it can lead to a result."""
        conditions = QualityTarget() if options.target is None else QualityTarget.parse(options.target)
        bundle = open_parent(parent)
        found = find_layers(bundle.model, bundle.name)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        parts = read_rows(bundle, data, classes, options).split(options.seed)
        train, validation, test = (run_bundle(bundle, part.inputs) for part in parts)
        measured = [
            measure_quality(bundle.manifest, own, own, part.labels)
            for own, part in zip((validation, test), parts[1:], strict=True)
        ]
        conditions.check([name for name in measured[0] if name in measured[1]])
        widths = Widths(*options.widths, per=str(options.per), trained=options.trains_widths)
        inputs = list(parts[0].inputs.values())
        torch.manual_seed(options.seed)
        network = CompressedNetwork(found, inputs, widths)
        _check_widths(CompressedNetwork(found, inputs, widths), parts[0], options)
        return cls(
            bundle,
            found,
            parts,
            (train, validation, test),
            conditions,
            network,
            network.dense_macs(),
            options,
        )

    def training(self, folder: Path, stations: int = 0) -> CompressionTraining:
        """Return the training, of a front if it has stations, at its last checkpoint if it is to be resumed."""
        options = self.options
        training = CompressionTraining(
            self.parent.manifest,
            self.network,
            self.parts[:2],
            self.outputs[:2],
            folder,
            schedule=Schedule(
                options.epochs, options.prune, options.structured, options.cost, options.beta, stations
            ),
            target=self.conditions,
            recipe=Recipe(learning_rate=options.learning_rate, batch=options.batch, epochs=options.epochs),
            seed=options.seed,
        )
        if options.resume:
            training.resume()
        return training

    def judge(self) -> dict[str, Figure]:
        """Compare the network with the parent, on rows that were used for nothing else."""
        part = self.parts[2]
        outputs = run_network(self.network, part.inputs)
        return measure_quality(self.parent.manifest, outputs, self.outputs[2], part.labels)

    def prove(self, model: onnx.ModelProto) -> None:
        """Check that every sum of a graph is exact."""
        prove_exact(model, self.found, self.parts[2].inputs, self.parent.name)


def open_parent(parent: str | Path | Bundle) -> Bundle:
    """Open a bundle, and check that it takes any number of rows of floats."""
    bundle = parent if isinstance(parent, Bundle) else Bundle.open(parent)
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
    return bundle


def run_bundle(bundle: Bundle, inputs: Mapping[str, np.ndarray]) -> Outputs:
    """Run a bundle on all rows."""
    with open_session(bundle, "onnxruntime") as session:
        pieces = [
            session.run(**{name: values[i : i + ROWS_AT_ONCE] for name, values in inputs.items()})
            for i in range(0, len(next(iter(inputs.values()))), ROWS_AT_ONCE)
        ]
    return {name: np.concatenate([np.asarray(piece[name]) for piece in pieces]) for name in pieces[0]}


def _check_widths(probe: CompressedNetwork, rows: CompressionRows, options: CompressOptions) -> None:
    """Check before the training that sums with these widths can be exact."""
    prune_network(probe, options.prune, structured=options.structured)
    start_quantising(probe, rows)
    needs_float64(probe)
