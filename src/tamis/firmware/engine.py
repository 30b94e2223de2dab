"""The engine `firmware`: the bits that the hardware of a quantised bundle computes, emulated with integers on the CPU."""

from __future__ import annotations

import numpy as np

from tamis.bundle import Bundle, Signature
from tamis.bundle.model import parse_model
from tamis.bundle.sample import draw_inputs, free_sizes, rows_of
from tamis.engines.engine import Arrays, Engine, Options, Runner
from tamis.engines.onnxruntime import OnnxRuntimeEngine
from tamis.firmware.emulator import Emulator


class FirmwareEngine(Engine):
    """Emulates the integer part of a graph; ONNX Runtime computes the host's part before and after it."""

    name = "firmware"
    library = "onnxruntime"
    emulates = True

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Split the graph."""
        example = draw_inputs(signature, free_sizes(signature, {}, 1), np.random.default_rng(0))
        return self._open(model, signature, example, options)

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Split the graph of a bundle; its first golden event gives the sizes."""
        example = rows_of(bundle.golden.inputs, slice(0, 1))
        return self._open(bundle.model_bytes, bundle.manifest.signature, example, options)

    def _open(
        self, model: bytes, signature: Signature, example: dict[str, np.ndarray], options: Options
    ) -> Runner:
        emulator = Emulator(parse_model(model, "the model"), example, options.threads)
        names = [spec.name for spec in signature.inputs]
        outputs = [(spec.name, np.dtype(spec.dtype)) for spec in signature.outputs]

        def run(arrays: Arrays) -> Arrays:
            results = emulator(dict(zip(names, arrays, strict=True)))
            return [results[name].astype(dtype, copy=False) for name, dtype in outputs]

        return Runner(run)

    @classmethod
    def version(cls) -> str:
        """Return the version of the library that computes the host's part."""
        return OnnxRuntimeEngine.version()
