"""The native engine: the model compiled to machine code for this processor; several times faster than a runtime for small models."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from tamis._base import ModelError, UsageError, VerificationError
from tamis.bundle import Bundle, Signature, contiguous, draw_inputs, free_sizes
from tamis.bundle.model import parse_model
from tamis.bundle.rewrite import expand_trees
from tamis.cbuild import find_compiler
from tamis.engines.chunking import DEFAULT_CHUNK, choose_chunk, in_chunks
from tamis.engines.engine import Arrays, Engine, Options, Runner, find_engine
from tamis.engines.gate import first_difference, pass_gate
from tamis.native.build import build
from tamis.native.call import Kernel, open_kernel
from tamis.native.compiler import FULL_PRECISION, example_event

MAX_COMPILED_SIZES = 32  # sets of sizes of free dimensions per session
OTHER_SIZES_ENGINE = (
    "onnxruntime"  # runs events of sizes that were not compiled: nothing is compiled after opening
)

Shapes = tuple[tuple[int, ...], ...]


class NativeEngine(Engine):
    """Generated C, compiled once per model and cached. Always one thread: scale by processes or sessions."""

    name = "native"
    library = "tamis"
    precision: ClassVar[str] = FULL_PRECISION
    batch_bound = 0.0
    cuts_batches = True
    compiles_sizes = True

    def prepare(self) -> None:
        """Find a compiler."""
        find_compiler()

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Compile for the sizes in the signature, for `options.dims` or the default sizes of free dimensions."""
        runner = _NativeRunner(model, signature, self.precision)
        for sizes in chosen_sizes(signature, options):
            runner.compile(_drawn(signature, sizes))
        if not runner.has_one_size:
            self._add_other_sizes(runner, find_engine(OTHER_SIZES_ENGINE).load(model, signature, options))
        return runner

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Compile for the sizes of the golden events and for `options.dims`; verified ONNX Runtime runs events of other sizes."""
        signature = bundle.manifest.signature
        runner = _NativeRunner(bundle.model_bytes, signature, self.precision)
        runner.compile(example_event(bundle))
        chosen = chosen_sizes(signature, options) if options.dims else []
        if runner.has_one_size:
            return runner
        engine = find_engine(OTHER_SIZES_ENGINE)
        engine.prepare()
        others = engine.open(bundle, options)
        try:
            pass_gate(bundle, engine, others.run)
            for sizes in chosen:
                self._compile_verified(runner, others, _drawn(signature, sizes), bundle)
        except BaseException:
            others.close()
            raise
        self._add_other_sizes(runner, others)
        runner.others_chunk = choose_chunk(bundle.manifest)
        return runner

    def _compile_verified(
        self, runner: _NativeRunner, others: Runner, event: Mapping[str, np.ndarray], bundle: Bundle
    ) -> None:
        """Compile for a size that no golden event has, and compare with the other engine on a random event of this size."""
        kernel = runner.compile(event)
        arrays = [event[spec.name] for spec in bundle.manifest.signature.inputs]
        for spec, value, expected in zip(
            bundle.manifest.signature.outputs, kernel(arrays), others.run(arrays), strict=True
        ):
            problem = first_difference(np.asarray(value), np.asarray(expected), spec.tolerance)
            if problem:
                shapes = ", ".join(f"{name} {array.shape}" for name, array in event.items())
                raise VerificationError(
                    f"the engine {self.name} disagrees with {OTHER_SIZES_ENGINE} on a random event of {shapes} in {spec.name!r}: "
                    f"{problem}; leave this size out of dims"
                )

    def _add_other_sizes(self, runner: _NativeRunner, others: Runner) -> None:
        runner.others = others
        runner.engines = (self.name, OTHER_SIZES_ENGINE)
        runner.fixed_sizes = (
            f"events of other sizes than {runner.sizes} on {OTHER_SIZES_ENGINE}, as code has fixed sizes"
        )


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
        self._model = expand_trees(parse_model(model, "the model")).SerializeToString()
        self._signature, self._precision = signature, precision
        self._batched = signature.rows != "none"
        self._lead = 1 if self._batched else 0
        self._compiled: dict[Shapes, Kernel] = {}
        self.others: Runner | None = None  # runs events of sizes that are not compiled
        self.others_chunk = DEFAULT_CHUNK  # events per call of it, so that its memory stays bounded
        self.has_one_size = all(
            isinstance(d, int) for spec in signature.inputs for d in spec.shape[self._lead :]
        )
        super().__init__(self._run)

    @property
    def sizes(self) -> str:
        """Return the shapes of one event of each compiled size."""
        return " and ".join(
            "+".join("x".join(map(str, shape)) or "1" for shape in shapes) for shapes in self._compiled
        )

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
        if self.has_one_size:
            self.run = kernel
        return kernel

    def _key(self, arrays: Arrays) -> Shapes:
        return tuple(array.shape[self._lead :] for array in arrays)

    def _run(self, arrays: Arrays) -> Arrays:
        kernel = self._compiled.get(self._key(arrays))
        if kernel is not None:
            return kernel(arrays)
        if self._signature.rows == "free" and len(arrays[0]) > self.others_chunk:
            return in_chunks(self._other_sizes().run, arrays, self.others_chunk)
        return self._other_sizes().run(arrays)

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Pass the addresses of the buffers once."""
        kernel = self._compiled.get(self._key(arrays))
        return (kernel or self._other_sizes()).bind(arrays, results)

    def _other_sizes(self) -> Runner:
        if self.others is None:
            raise ModelError(
                f"the generated code was compiled for events of {self.sizes}; pass arrays of these sizes"
            )
        return self.others

    def close(self) -> None:
        """Drop the compiled code."""
        self._compiled.clear()
        self.run = self._run
        if self.others is not None:
            self.others.close()


def chosen_sizes(signature: Signature, options: Options) -> list[dict[str, int]]:
    """Return each combination of the sizes in `options.dims`; a dimension that is not in it has its default size."""
    for name, sizes in options.dims.items():
        if not sizes or any(type(size) is not int or size < 1 for size in sizes):
            raise UsageError(f"dims has {name}={list(sizes)}; name integers of at least 1")
    default = free_sizes(signature, {name: sizes[0] for name, sizes in options.dims.items()}, 1)
    leading = (
        {str(spec.shape[0]) for spec in signature.inputs if spec.shape} if signature.rows == "free" else set()
    )
    for name in leading & set(options.dims):
        raise UsageError(
            f"dims has {name!r}, the number of events, which is free anyway; name sizes within an event"
        )
    combinations = [
        {**default, **dict(zip(options.dims, sizes, strict=True))}
        for sizes in itertools.product(*options.dims.values())
    ]
    if len(combinations) > MAX_COMPILED_SIZES:
        raise UsageError(
            f"dims has {len(combinations)} combinations of sizes; at most {MAX_COMPILED_SIZES} are compiled: name fewer"
        )
    return combinations


def _drawn(signature: Signature, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    return draw_inputs(signature, dict(sizes), np.random.default_rng(0))
