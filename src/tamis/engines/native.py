"""The native engine: the model compiled to machine code for this processor; several times faster than a runtime for small models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import onnx

from tamis._base import ModelError, VerificationError
from tamis.bundle import BATCH, Bundle, Signature, contiguous, draw_inputs, free_sizes
from tamis.cbuild import find_compiler
from tamis.engines.engine import Arrays, Engine, Options, Runner
from tamis.native import compile_model
from tamis.native.build import build
from tamis.native.call import Kernel, open_kernel
from tamis.native.compiler import FULL_PRECISION, example_event

MAX_COMPILED_SIZES = 32  # sets of sizes of free dimensions per session

Shapes = tuple[tuple[int, ...], ...]


class NativeEngine(Engine):
    """Generated C, compiled once per model and cached. Always one thread: scale by processes or sessions."""

    name = "native"
    library = "tamis"
    precision: ClassVar[str] = FULL_PRECISION
    batch_bound = 0.0
    cuts_batches = True

    def prepare(self) -> None:
        """Find a compiler."""
        find_compiler()

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Compile for the sizes in the signature; free dimensions are compiled when a call shows their sizes."""
        del options
        runner = _NativeRunner(model, signature, self.precision)
        sizes = free_sizes(signature, {}, 1)
        event = draw_inputs(signature, sizes, np.random.default_rng(0))
        if set(sizes) - {BATCH, *(str(spec.shape[0]) for spec in signature.inputs if spec.shape)}:
            compile_model(onnx.load_model_from_string(model), event)  # report unsupported operators now
        else:
            runner.compile(event)
        return runner

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Compile for the sizes of the golden events."""
        del options
        runner = _NativeRunner(bundle.model_bytes, bundle.manifest.signature, self.precision)
        runner.compile(example_event(bundle))
        return runner


class _RoundedEngine(NativeEngine):
    """Rounds large weight tensors to save memory bandwidth, if the bundle's tolerance and decisions allow it."""

    rounds_weights = True

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Open a bundle if no golden event changes its decision; the gate checks the sizes of the errors."""
        runner = super().open(bundle, options)
        score = bundle.manifest.score
        if score is None or not bundle.manifest.working_points:
            return runner
        names = [spec.name for spec in bundle.manifest.signature.inputs]
        outputs = [spec.name for spec in bundle.manifest.signature.outputs]
        scores = runner.run([contiguous(bundle.golden.inputs[name]) for name in names])[outputs.index(score)]
        for point in bundle.manifest.working_points:
            flips = (scores > point.threshold) != (bundle.golden.outputs[score] > point.threshold)
            if flips.any():
                raise VerificationError(
                    f"the engine {self.name} flips the decision on {int(flips.sum())} of {flips.size} golden events of the bundle "
                    f"{bundle.name} at the working point {point.name!r}; it is not opened: use engine='native'"
                )
        return runner


class Bfloat16Engine(_RoundedEngine):
    """Rounds weights to bfloat16."""

    name = "native-bf16"
    precision = "bfloat16"


class Int8Engine(_RoundedEngine):
    """Rounds weights to 8-bit integers with one scale per output."""

    name = "native-int8"
    precision = "int8"


class _NativeRunner(Runner):
    """Compiled code per set of sizes; models with one set of sizes call it directly."""

    def __init__(self, model: bytes, signature: Signature, precision: str) -> None:
        self._model, self._signature, self._precision = model, signature, precision
        self._batched = signature.rows != "none"
        self._lead = 1 if self._batched else 0
        self._compiled: dict[Shapes, Kernel] = {}
        inner = {d for spec in signature.inputs for d in spec.shape[self._lead :]}
        self._one_size = all(isinstance(d, int) for d in inner)
        super().__init__(self._run)

    def compile(self, event: Mapping[str, np.ndarray]) -> Kernel:
        """Compile for the sizes of an example, or load it from the cache."""
        ordered = {spec.name: event[spec.name] for spec in self._signature.inputs}
        built = build(self._model, ordered, precision=self._precision)
        lead = built.inputs[0][:1]
        if self._batched and any(shape[:1] != lead for shape in built.outputs):
            raise ModelError(
                f"the native engine needs one output row per event, but for {lead[0]} events the outputs have the shapes {built.outputs}; "
                "use engine='onnxruntime' or 'auto'"
            )
        kernel = open_kernel(built, batched=self._batched)
        self._compiled[self._key(list(ordered.values()))] = kernel
        if self._one_size:
            self.run = kernel
        return kernel

    def _key(self, arrays: Arrays) -> Shapes:
        return tuple(array.shape[self._lead :] for array in arrays)

    def _for(self, arrays: Arrays) -> Kernel:
        kernel = self._compiled.get(self._key(arrays))
        if kernel is not None:
            return kernel
        if len(self._compiled) >= MAX_COMPILED_SIZES:
            raise ModelError(
                f"the native engine compiles for each set of sizes, and this session reached the limit of {MAX_COMPILED_SIZES}; "
                "pad events to fewer sizes, or use engine='onnxruntime'"
            )
        rows = slice(0, self._signature.fixed_batch or 1)
        return self.compile(
            {
                spec.name: array[rows] if self._batched else array
                for spec, array in zip(self._signature.inputs, arrays, strict=True)
            }
        )

    def _run(self, arrays: Arrays) -> Arrays:
        return self._for(arrays)(arrays)

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Pass the addresses of the buffers once."""
        return self._for(arrays).bind(arrays, results)

    def close(self) -> None:
        """Drop the compiled code."""
        self._compiled.clear()
        self.run = self._run
