"""The native engine: the model compiled to machine code for this processor; several times faster than a runtime for small models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import onnx

from tamis._base import ModelError, TamisError, VerificationError
from tamis.bundle import Bundle, Signature, contiguous, inner_dims
from tamis.bundle.model import parse_model
from tamis.bundle.rewrite import expand_trees
from tamis.cbuild import find_compiler
from tamis.engines.chunking import DEFAULT_CHUNK, choose_chunk, in_chunks
from tamis.engines.engine import Arrays, Engine, Options, Runner, find_engine
from tamis.engines.gate import first_difference, pass_gate
from tamis.native.build import Built, build, build_any_sizes, build_sizes
from tamis.native.call import AnySizes, HoldingKernel, Kernel, open_kernel, open_kernels
from tamis.native.compiler import FULL_PRECISION, example_event
from tamis.native.size_grid import SizeGrid
from tamis.native.size_range import (
    MAX_SIZES,
    SizeRange,
    chosen_sizes,
    drawn,
    redrawn,
    sizes_of,
)
from tamis.native.specialise import admits

OTHER_SIZES_ENGINE = (
    "onnxruntime"  # runs events of sizes that were not compiled: nothing is compiled after opening
)

ONE_ROW = "the native engine needs one output row per event"
TRIED_EVENTS = 3  # random events of a size, of which one has to agree with the other engine

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
        """Compile for the sizes in the signature, or for a range of sizes of its free dimensions."""
        runner = _NativeRunner(model, signature, self.precision)
        if runner.has_one_size:
            runner.compile(drawn(signature, {}))
            return runner
        try:
            runner.compile_free(options, None)
        except ModelError:
            for sizes in chosen_sizes(signature, options.dims):
                runner.compile(drawn(signature, sizes))
        self._add_other_sizes(runner, find_engine(OTHER_SIZES_ENGINE).load(model, signature, options))
        return runner

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Compile for a range of sizes, or for those of the golden events and of `options.dims`; verified ONNX Runtime runs events of other sizes."""
        signature = bundle.manifest.signature
        if options.dims:
            chosen_sizes(signature, options.dims, MAX_SIZES)  # checks the names
        runner = _NativeRunner(bundle.model_bytes, signature, self.precision)
        example = example_event(bundle)
        if runner.has_one_size:
            if isinstance(runner.compile(example), HoldingKernel):
                self._add_other_values(runner, bundle, options)
            return runner
        engine = find_engine(OTHER_SIZES_ENGINE)
        engine.prepare()
        others = engine.open(bundle, options)
        try:
            pass_gate(bundle, engine, others.run)
            if not self._compile_free(runner, others, options, example, bundle):
                runner.compile(example)
                for sizes in chosen_sizes(signature, options.dims) if options.dims else []:
                    self._compile_verified(runner, others, drawn(signature, sizes), bundle)
        except BaseException:
            others.close()
            raise
        self._add_other_sizes(runner, others)
        runner.others_chunk = choose_chunk(bundle.manifest)
        return runner

    def _add_other_values(self, runner: _NativeRunner, bundle: Bundle, options: Options) -> None:
        """Have another engine run events whose axes or sizes are not those that the code was compiled for, if it runs the model."""
        engine = find_engine(OTHER_SIZES_ENGINE)
        try:
            engine.prepare()
            runner.others = engine.open(bundle, options)
        except TamisError:  # a call with other values then says what was compiled
            return
        pass_gate(bundle, engine, runner.others.run)
        runner.engines = (self.name, OTHER_SIZES_ENGINE)

    def _compile_free(
        self,
        runner: _NativeRunner,
        others: Runner,
        options: Options,
        example: Mapping[str, np.ndarray],
        bundle: Bundle,
    ) -> bool:
        """Compile for a range of sizes, and compare some of them with the other engine; return False for a model that needs fixed sizes."""
        try:
            checked = runner.compile_free(options, example)
        except ModelError as error:
            runner.why_fixed = str(error)
            return False
        for event in checked:
            self._compare(runner, others, event, bundle)
        return True

    def _compare(
        self, runner: _NativeRunner, others: Runner, event: Mapping[str, np.ndarray], bundle: Bundle
    ) -> None:
        """Compare with the other engine on random events of a size: one may be a tie of neighbours, not all of them."""
        rng, signature = np.random.default_rng(0), bundle.manifest.signature
        problem = ""
        for _ in range(TRIED_EVENTS):
            arrays = [redrawn(event[spec.name], rng) for spec in signature.inputs]
            pairs = zip(signature.outputs, runner.run(arrays), others.run(arrays), strict=True)
            problem = next(
                filter(
                    None,
                    (first_difference(np.asarray(a), np.asarray(b), spec.tolerance) for spec, a, b in pairs),
                ),
                "",
            )
            if not problem:
                return
        shapes = ", ".join(f"{name} {array.shape}" for name, array in event.items())
        raise VerificationError(
            f"the engine {self.name} disagrees with {OTHER_SIZES_ENGINE} on {TRIED_EVENTS} random events of {shapes}: {problem}; "
            "use engine='onnxruntime', and report the model"
        )

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
        why = f" ({runner.why_fixed})" if runner.why_fixed else ""
        runner.fixed_sizes = f"events of other sizes than {runner.sizes} on {OTHER_SIZES_ENGINE}, as nothing is compiled after opening{why}"


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
        self._range = ""  # of sizes that one code is for
        self.why_fixed = ""  # why code has fixed sizes
        self._any: AnySizes | None = None
        self._grid: SizeGrid | None = None  # the sizes that it is for
        self.others: Runner | None = None  # runs events of sizes that are not compiled
        self.others_chunk = DEFAULT_CHUNK  # events per call of it, so that its memory stays bounded
        self.has_one_size = all(
            isinstance(d, int) for spec in signature.inputs for d in spec.shape[self._lead :]
        )
        super().__init__(self._run)

    @property
    def sizes(self) -> str:
        """Return the compiled sizes: a range, or the shapes of one event of each."""
        return self._range or " and ".join(
            "+".join("x".join(map(str, shape)) or "1" for shape in shapes) for shapes in self._compiled
        )

    def compile(self, event: Mapping[str, np.ndarray]) -> Kernel:
        """Compile for the sizes of an example, or load it from the cache."""
        ordered = {spec.name: event[spec.name] for spec in self._signature.inputs}
        built = build(self._model, ordered, precision=self._precision, hold=not self._batched)
        self._check_rows(built)
        kernel = open_kernel(built, batched=self._batched)
        self._compiled[self._key(list(ordered.values()))] = kernel
        if self.has_one_size and not isinstance(kernel, HoldingKernel):
            self.run = kernel
        return kernel

    def compile_free(
        self, options: Options, example: Mapping[str, np.ndarray] | None
    ) -> list[Mapping[str, np.ndarray]]:
        """Compile one code for all sizes of the free dimensions, or for those that are named; return events to check."""
        if len(inner_dims(self._signature)) > 1:
            try:
                return self._compile_any(options, example)
            except ModelError as error:
                if not options.dims:
                    raise
                self.why_fixed = str(error)
        return self._compile_range(SizeRange.of(self._signature, options.dims, example)).checked()

    def _compile_any(
        self, options: Options, example: Mapping[str, np.ndarray] | None
    ) -> list[Mapping[str, np.ndarray]]:
        """Compile one code for all combinations of several free dimensions."""
        model = onnx.load_model_from_string(self._model)
        grid = SizeGrid.of(self._signature, options.dims, example, admits(model))
        built = build_any_sizes(
            self._model, grid.events, grid.typical, free=grid.free, precision=self._precision
        )
        if self._batched and any(shape[:1] != ((1, False),) for shape in built.outputs):
            raise ModelError(f"{ONE_ROW}; use engine='onnxruntime' or 'auto'")
        self._any, self._grid, self._range = AnySizes(built, batched=self._batched), grid, str(grid)
        return grid.checked(self._signature)

    def _compile_range(self, sizes: SizeRange) -> SizeRange:
        """Compile one code for a range of sizes, and return those that the model admits."""
        built = build_sizes(
            self._model,
            sizes.events,
            sizes.typical,
            free=sizes.free,
            precision=self._precision,
        )
        for one in built.sizes:
            self._check_rows(one)
        kernels = open_kernels(built.sizes, batched=self._batched)
        for one, kernel in zip(built.sizes, kernels, strict=True):
            self._compiled[tuple(shape[self._lead :] for shape in one.inputs)] = kernel
        admitted = sizes.only({one.inputs for one in built.sizes})
        self._range = str(admitted)
        return admitted

    def _check_rows(self, built: Built) -> None:
        lead = built.inputs[0][:1]
        if self._batched and any(shape[:1] != lead for shape in built.outputs):
            raise ModelError(
                f"{ONE_ROW}, but for {lead[0]} events the outputs have the shapes {built.outputs}; "
                "use engine='onnxruntime' or 'auto'"
            )

    def _key(self, arrays: Arrays) -> Shapes:
        return tuple(array.shape[self._lead :] for array in arrays)

    def _kernel(self, arrays: Arrays) -> Kernel | None:
        """Return the code for events of these sizes, if there is any."""
        if self._any is None or self._grid is None:
            return self._compiled.get(self._key(arrays))
        lead = (1,) if self._batched else ()
        shapes = tuple((*lead, *array.shape[self._lead :]) for array in arrays)
        kernel = self._any.find(shapes)
        if kernel is not None:
            return kernel
        names = [spec.name for spec in self._signature.inputs]
        sizes = sizes_of(self._signature, dict(zip(names, arrays, strict=True)))
        chosen = tuple(sizes[name] for name in self._grid.names)
        return self._any.open(shapes, chosen) if self._grid.admits(chosen) else None

    def _run(self, arrays: Arrays) -> Arrays:
        kernel = self._kernel(arrays)
        if kernel is not None:
            other_values = isinstance(kernel, HoldingKernel) and not kernel.takes(arrays)
            return self.others.run(arrays) if other_values and self.others else kernel(arrays)
        if self._signature.rows == "free" and len(arrays[0]) > self.others_chunk:
            return in_chunks(self._other_sizes().run, arrays, self.others_chunk)
        return self._other_sizes().run(arrays)

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Pass the addresses of the buffers once."""
        kernel = self._kernel(arrays)
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
        self._any = self._grid = None
        self.run = self._run
        if self.others is not None:
            self.others.close()
