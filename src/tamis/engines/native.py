"""The native engine: the model compiled to machine code for this very processor, several times as fast as a runtime when it is small."""

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
from tamis.native.compiler import EXACT
from tamis.native.example import example_event

MOST_SIZES = 32  # sets of sizes of free dimensions that one session compiles for

Shapes = tuple[tuple[int, ...], ...]


class NativeEngine(Engine):
    """Generated C, compiled once per model and kept; one thread, whatever is asked for: scale by processes or sessions."""

    name = "native"
    precision: ClassVar[str] = EXACT
    batch_bound = 0.0
    cuts_batches = True

    def prepare(self) -> None:
        """Find a compiler."""
        find_compiler()

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Compile for the sizes that the signature tells; where some are free, when they are seen."""
        del options
        runner = _NativeRunner(model, signature, self.precision)
        sizes = free_sizes(signature, {}, 1)
        event = draw_inputs(signature, sizes, np.random.default_rng(0))
        if set(sizes) - {BATCH, *(str(spec.shape[0]) for spec in signature.inputs if spec.shape)}:
            compile_model(onnx.load_model_from_string(model), event)  # what cannot be compiled is told now
        else:
            runner.compile(event)
        return runner

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Compile for the sizes of the golden events."""
        del options
        runner = _NativeRunner(bundle.model_bytes, bundle.manifest.signature, self.precision)
        runner.compile(example_event(bundle))
        return runner

    @classmethod
    def version(cls) -> str:
        """Return our own version: the compiler is part of us."""
        from tamis._base import library_versions

        return library_versions(("tamis",)).get("tamis", "")


class _RoundedEngine(NativeEngine):
    """The same with large sets of weights rounded: less to fetch from memory, where a bundle's tolerance and decisions bear it."""

    rounds = True

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Open a bundle none of whose golden events is decided otherwise; how far outputs may be off is for the gate to say."""
        runner = super().open(bundle, options)
        score = bundle.manifest.score
        if score is None or not bundle.manifest.working_points:
            return runner
        names = [spec.name for spec in bundle.manifest.signature.inputs]
        outputs = [spec.name for spec in bundle.manifest.signature.outputs]
        found = runner.run([contiguous(bundle.golden.inputs[name]) for name in names])[outputs.index(score)]
        for point in bundle.manifest.working_points:
            other = (found > point.threshold) != (bundle.golden.outputs[score] > point.threshold)
            if other.any():
                raise VerificationError(
                    f"the engine {self.name} decides {int(other.sum())} of {other.size} golden events of the bundle {bundle.name} "
                    f"otherwise at the working point {point.name!r}; it is not opened: use engine='native'"
                )
        return runner


class Bfloat16Engine(_RoundedEngine):
    """Weights of bfloat16."""

    name = "native-bf16"
    precision = "bfloat16"


class Int8Engine(_RoundedEngine):
    """Weights of whole numbers of a byte, with a factor per output."""

    name = "native-int8"
    precision = "int8"


class _NativeRunner(Runner):
    """Compiled code per set of sizes; most models have one, and then a call goes straight to it."""

    def __init__(self, model: bytes, signature: Signature, precision: str) -> None:
        self._model, self._signature, self._precision = model, signature, precision
        self._batched = signature.rows != "none"
        self._lead = 1 if self._batched else 0
        self._compiled: dict[Shapes, Kernel] = {}
        inner = {d for spec in signature.inputs for d in spec.shape[self._lead :]}
        self._one_size = all(isinstance(d, int) for d in inner)
        super().__init__(self._run)

    def compile(self, event: Mapping[str, np.ndarray]) -> Kernel:
        """Compile for the sizes of an example, or find what was compiled before."""
        ordered = {spec.name: event[spec.name] for spec in self._signature.inputs}
        built = build(self._model, ordered, precision=self._precision)
        lead = built.inputs[0][:1]
        if self._batched and any(shape[:1] != lead for shape in built.outputs):
            raise ModelError(
                f"the native engine needs an output per event, and this model's have the shapes {built.outputs} for {lead[0]}; "
                "use engine='onnxruntime' or 'auto'"
            )
        made = open_kernel(built, batched=self._batched)
        self._compiled[self._key(list(ordered.values()))] = made
        if self._one_size:
            self.run = made
        return made

    def _key(self, arrays: Arrays) -> Shapes:
        return tuple(array.shape[self._lead :] for array in arrays)

    def _for(self, arrays: Arrays) -> Kernel:
        found = self._compiled.get(self._key(arrays))
        if found is not None:
            return found
        if len(self._compiled) >= MOST_SIZES:
            raise ModelError(
                f"the native engine compiles for each set of sizes, and this session has seen {MOST_SIZES} of them; "
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
        """Hand the buffers over once."""
        return self._for(arrays).bind(arrays, results)

    def close(self) -> None:
        """Drop the compiled code."""
        self._compiled.clear()
        self.run = self._run
