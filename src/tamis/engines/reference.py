"""The reference engine: the graph in float64, slow and obviously right."""

from __future__ import annotations

import numpy as np

from tamis.bundle import Reference, Signature
from tamis.bundle.model import parse_model
from tamis.engines.engine import Arrays, Engine, Options, Runner


class ReferenceEngine(Engine):
    """Evaluates the graph in float64 and rounds once, at the end, to the declared types."""

    name = "reference"
    library = "onnx"
    batch_bound = 1e-7

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Convert the graph to float64; it always runs on one thread."""
        del options
        evaluate = Reference(parse_model(model, "the model"))
        names = [spec.name for spec in signature.inputs]
        dtypes = [np.dtype(spec.dtype) for spec in signature.outputs]

        def run(arrays: Arrays) -> Arrays:
            values = evaluate(dict(zip(names, arrays, strict=True)))
            with np.errstate(over="ignore"):
                return [values[o].astype(t) for o, t in zip(evaluate.outputs, dtypes, strict=True)]

        return Runner(run)
