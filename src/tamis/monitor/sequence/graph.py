"""The step graph that is deployed: one step of each stream, with the states as inputs and outputs, for the beam modes that are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from tamis.engines import NEXT
from tamis.monitor.sequence.network import SequenceNetwork
from tamis.monitor.sequence.settings import REFERENCE_RATE
from tamis.monitor.template_graph import MODES_MOST
from tamis.zoo.training.export import export_graph

INPUTS = ("features", "condition", "luminosity", "mode", "weight", "compared")
OUTPUTS = ("score", "step_score", "unrest", "change")
OWN_STATES = ("reference", "output", "prediction", "mean_error", "scatter", "peak")


class StepGraph(nn.Module):
    """One step: how far it is from what the past blocks made likely, and how far the mean of its block is.

    `weight` is 1 / (number of steps of the block so far), 1 at its begin. `compared` is 0 within a run, 1 for its first block, 2 long after the
    state was left. `score` is that of the block so far; `scatter` and `peak` are mean and maximum of the scatter of its steps.
    """

    def __init__(self, network: SequenceNetwork, modes: Mapping[int, Mapping[str, np.ndarray]]) -> None:
        """Stack the parameters of the modes; a mode that is not known has those of the first one."""
        super().__init__()
        self.network = network
        filler = next(iter(modes.values()))
        self._names = list(filler)
        for name in self._names:
            rows = np.stack([modes.get(mode, filler)[name] for mode in range(MODES_MOST)])
            self.register_buffer(_attribute(name), torch.from_numpy(rows.astype(np.float32)))

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the states of one stream."""
        features = (self.network.features,)
        own = dict.fromkeys(OWN_STATES, features) | {
            "output": (self.network.width,),
            "scatter": (1,),
            "peak": (1,),
        }
        return own | self.network.state_shapes()

    def forward(
        self,
        features: Tensor,
        condition: Tensor,
        luminosity: Tensor,
        mode: Tensor,
        weight: Tensor,
        compared: Tensor,
        *states: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the outputs, and the states after the step."""
        own = {name: getattr(self, _attribute(name))[mode] for name in self._names}
        reference, output, prediction, mean_error, scatter, peak = states[: len(OWN_STATES)]
        c = (condition - own["condition"]) / own["condition"]
        powers = torch.cat([torch.ones_like(c), c, c * c], 1)
        residual = (features - own["centre"]) / own["scale"] - _row_times(powers, own["expected"])
        x = _row_times(residual, own["whiten"])
        conditions = torch.cat([c, luminosity / own["luminosity"] - 1], 1)
        begins = weight > 0.75
        foretold = reference + self.network.expected(own, output, conditions)
        prediction = torch.where(begins, foretold, prediction)
        error = x - prediction
        mean_error, scatter = torch.where(begins, 0.0, mean_error), torch.where(begins, 0.0, scatter)
        beyond = error - mean_error
        own_scatter = (1 - weight) * (beyond * beyond).mean(1, keepdim=True)
        mean_error = mean_error + weight * beyond
        scatter = scatter + weight * (own_scatter - scatter)
        peak = torch.maximum(torch.where(begins, 0.0, peak), own_scatter)
        score = torch.where(
            compared > 1.5,
            _length(mean_error, own["later"]),
            torch.where(
                compared > 0.5, _length(mean_error, own["between"]), _length(mean_error, own["within"])
            ),
        )
        output, after = self.network.step(own, x - reference, conditions, states[len(OWN_STATES) :])
        reference = reference + REFERENCE_RATE * (x - reference)
        found = (
            score,
            (error * error).mean(1, keepdim=True),
            scatter + 0.0,
            _row_times(mean_error, own["unwhiten"]),
        )
        return (*found, reference, output, prediction, mean_error, scatter, peak, *after)


def _attribute(name: str) -> str:
    return "mode_" + name.replace(".", "_")


def _row_times(x: Tensor, matrix: Tensor) -> Tensor:
    return (x.unsqueeze(1) @ matrix).squeeze(1)


def _length(x: Tensor, matrix: Tensor) -> Tensor:
    """Return the squared length of x times a matrix, (rows, 1)."""
    pulls = _row_times(x, matrix)
    return (pulls * pulls).sum(1, keepdim=True)


def step_inputs(graph: StepGraph, rows: int) -> dict[str, Tensor]:
    """Return inputs of zeros, by name, with the states."""
    one = torch.ones(rows, 1)
    plain = {
        "features": torch.zeros(rows, graph.network.features), "condition": one, "luminosity": one,
        "mode": torch.ones(rows, dtype=torch.int64), "weight": one, "compared": torch.zeros(rows, 1),
    }  # fmt: skip
    return plain | {name: torch.zeros(rows, *shape) for name, shape in graph.state_shapes().items()}


def step_model(graph: StepGraph) -> onnx.ModelProto:
    """Return the step graph as ONNX."""
    names = [*OUTPUTS, *(NEXT + name for name in graph.state_shapes())]
    with torch.no_grad():
        data = export_graph(graph, step_inputs(graph, 2), names)
    model = onnx.load_from_string(data)
    features = (graph.network.features,)
    sizes = [(1,), (1,), (1,), features, *graph.state_shapes().values()]
    for value, shape in zip(model.graph.output, sizes, strict=True):  # the exporter does not know all of them
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["N", *shape]))
    onnx.checker.check_model(model)
    return model
