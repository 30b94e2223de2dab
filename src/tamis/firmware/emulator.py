"""A quantised model in three parts: the host's before, the integer program, the host's after."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tamis.engines.engine import model_error
from tamis.engines.onnxruntime import ORT_ERRORS, open_session
from tamis.fixedpoint import QuantisedGraph, emulate, split_graph

Arrays = dict[str, np.ndarray]


class Emulator:
    """Runs a quantised model as host and hardware do: named arrays in, named arrays out."""

    def __init__(self, model: onnx.ModelProto, example: Arrays, threads: int = 1) -> None:
        """Split the model; `example` is one event."""
        self.graph: QuantisedGraph = split_graph(model, example)
        self.outputs = [value.name for value in model.graph.output]
        before, after = self.graph.before, self.graph.after
        self._before: Any = None if before is None else open_session(before.SerializeToString(), threads)
        self._after: Any = None if after is None else open_session(after.SerializeToString(), threads)

    def __call__(self, arrays: Arrays) -> Arrays:
        """Return the model's outputs."""
        known = {**arrays, **self.integers(arrays)}
        program = self.graph.program
        inputs, broken = [], np.zeros(len(known[program.inputs[0].tensor]), bool)
        for one in program.inputs:  # NaN propagates, although hardware has none
            array = known[one.tensor]
            nan = np.isnan(array)
            broken |= nan.any(axis=tuple(range(1, nan.ndim)))
            inputs.append(np.where(nan, 0, array))
        for name, result in zip(program.output_tensors, emulate(program, inputs), strict=True):
            values = result.values()
            values[broken] = np.nan
            known[name] = values.astype(self.graph.dtypes[name])
        if self._after is not None:
            known |= _run(self._after, known)
        return {name: known[name] for name in self.outputs}

    def integers(self, arrays: Arrays) -> Arrays:
        """Return the integers that enter the hardware."""
        if self._before is None:
            return {one.tensor: arrays[one.tensor] for one in self.graph.program.inputs}
        return _run(self._before, arrays)


def _run(session: Any, arrays: Arrays) -> Arrays:
    names = [one.name for one in session.get_outputs()]
    try:
        results = session.run(names, {one.name: arrays[one.name] for one in session.get_inputs()})
    except (*ORT_ERRORS, RuntimeError) as error:
        raise model_error("firmware", error) from error
    return dict(zip(names, results, strict=True))
