"""The reference engine: float64, slow, obviously right."""

from __future__ import annotations

import numpy as np

from tamis.bundle import Reference, Signature
from tamis.bundle.model import parse_model
from tamis.engines.engine import Arrays, Engine, Options, Runner


class ReferenceEngine(Engine):
    """Evaluates the graph in float64 and rounds once, at the end, to the declared types."""

    name = "reference"
    batch_bound = 1e-7

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Make the double-precision graph; it runs on one thread whatever the options say."""
        del options
        evaluate = Reference(parse_model(model, "the model"))
        names = [spec.name for spec in signature.inputs]
        dtypes = [np.dtype(spec.dtype) for spec in signature.outputs]

        def run(arrays: Arrays) -> Arrays:
            values = evaluate(dict(zip(names, arrays, strict=True)))
            with np.errstate(over="ignore"):
                return [values[o].astype(t) for o, t in zip(evaluate.outputs, dtypes, strict=True)]

        return Runner(run)

    @classmethod
    def version(cls) -> str:
        """Return the version of the ONNX reference implementation."""
        from tamis._base import library_versions

        return library_versions(("onnx",)).get("onnx", "")
