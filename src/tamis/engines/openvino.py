"""OpenVINO on CPU."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tamis._base import require
from tamis.bundle import Signature
from tamis.bundle.model import parse_model
from tamis.bundle.rewrite import expand_trees
from tamis.engines.engine import Arrays, Engine, Options, Runner, model_error, writable

MAX_STATIC_SHAPES = 16

_Shapes = tuple[tuple[int, ...], ...]


@cache
def _core(process: int) -> Any:
    """Return the only `Core` of this process (a forked one gets its own), which lives as long as the process.

    On processors with AMX the CPU plugin of a Core installs an alternate signal stack, and restores the previous one when it is
    destroyed. With two Cores that may be a stack that is freed already: the next signal, such as Ctrl-C, then crashes the process.
    """
    del process
    return require("openvino", extra="openvino", purpose="the engine openvino").Core()


class OpenVinoEngine(Engine):
    """Computes in float32 (the default on some CPUs is bfloat16), with a static graph per repeated batch size."""

    name = "openvino"
    batch_bound = 1e-5
    saturates = True

    def prepare(self) -> None:
        """Import OpenVINO."""
        require("openvino", extra="openvino", purpose="the engine openvino")

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Read the ONNX model; each shape is compiled on first use."""
        ov = require("openvino", extra="openvino", purpose="the engine openvino")
        core = _core(os.getpid())
        model = expand_trees(parse_model(model, "the model")).SerializeToString()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        try:
            used = {name for port in core.read_model(model).inputs for name in port.names}
        except (RuntimeError, ValueError, TypeError) as error:
            raise model_error(self.name, _without_source_lines(error)) from error
        return _OpenVinoRunner(ov, core, model, settings, signature, used)


def _without_source_lines(error: BaseException) -> BaseException:
    """Return OpenVINO's error without the leading lines about its own source files; findings (`-- ...`) come first."""
    lines = [line.strip() for line in str(error).splitlines()]
    messages = [
        line
        for line in lines
        if line
        and not line.startswith(
            ("Exception from", "Check '", "[", "File", "While validating", "FrontEnd API")
        )
    ]
    findings = [line.removeprefix("-- ") for line in messages if line.startswith("-- ")]
    return RuntimeError(next(iter((*findings, *messages)), str(error)))


class _Request:
    """A compiled graph with an infer request; filling its own buffers is cheaper than passing new ones (70 us)."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self._inputs: list[np.ndarray] | None = None
        self._outputs: list[np.ndarray] | None = None
        if all(port.partial_shape.is_static for port in compiled.inputs):
            self._inputs = [self._request.get_input_tensor(i).data for i in range(len(compiled.inputs))]
        if all(port.partial_shape.is_static for port in compiled.outputs):
            self._outputs = self._output_buffers()

    def __call__(self, arrays: Arrays, tensor: Any) -> Arrays:
        """Run on arrays of the compiled shapes and return copies of the outputs."""
        held = []  # the request does not keep the memory of its inputs alive
        if self._inputs is None:
            for index, array in enumerate(map(writable, arrays)):
                held.append(tensor(array, shared_memory=True))
                self._request.set_input_tensor(index, held[-1])
        else:
            for buffer, array in zip(self._inputs, arrays, strict=True):
                buffer[...] = array
        self._request.infer(share_outputs=True)
        return [output.copy() for output in self._outputs or self._output_buffers()]

    def _output_buffers(self) -> list[np.ndarray]:
        return [self._request.get_output_tensor(i).data for i in range(len(self.compiled.outputs))]


class _OpenVinoRunner(Runner):
    """One infer request per compiled shape, guarded by a lock: requests are not re-entrant."""

    def __init__(
        self,
        ov: Any,
        core: Any,
        model: bytes,
        settings: dict[str, object],
        signature: Signature,
        used: set[str],
    ) -> None:
        super().__init__(self._run)
        self._ov, self._core, self._model, self._settings = ov, core, model, settings
        self._signature = signature
        # OpenVINO removes unused inputs from the model
        self._used = [i for i, spec in enumerate(signature.inputs) if spec.name in used]
        self._static: OrderedDict[_Shapes, _Request] = OrderedDict()
        self._seen: Counter[_Shapes] = Counter()
        self._dynamic: _Request | None = None
        self._lock = threading.Lock()

    def _compile(self, shapes: _Shapes | None) -> Any:
        model = self._core.read_model(self._model)
        try:
            if shapes is not None:
                names = [self._signature.inputs[i].name for i in self._used]
                model.reshape({name: list(s) for name, s in zip(names, shapes, strict=True)})
            return self._core.compile_model(model, "CPU", self._settings)
        except RuntimeError as error:
            raise model_error("openvino", _without_source_lines(error)) from error

    def _request(self, shapes: _Shapes) -> _Request:
        """Return a request: static for a repeated shape, dynamic for a new shape when the cache is full."""
        if shapes in self._static:
            self._static.move_to_end(shapes)
            return self._static[shapes]
        self._seen[shapes] += 1
        if len(self._static) >= MAX_STATIC_SHAPES and self._seen[shapes] < 2:
            if self._dynamic is None:
                self._dynamic = _Request(self._compile(None))
            return self._dynamic
        if len(self._static) >= MAX_STATIC_SHAPES:
            self._static.popitem(last=False)
        self._static[shapes] = _Request(self._compile(shapes))
        return self._static[shapes]

    def _used_inputs(self, arrays: Arrays) -> Arrays:
        """Return the arrays of the inputs that the graph reads."""
        return arrays if len(self._used) == len(arrays) else [arrays[i] for i in self._used]

    def _run(self, arrays: Arrays) -> Arrays:
        arrays = self._used_inputs(arrays)
        with self._lock:
            request = self._request(tuple([array.shape for array in arrays]))
            try:
                return request(arrays, self._ov.Tensor)
            except RuntimeError as error:
                raise model_error("openvino", _without_source_lines(error)) from error

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Set the input and output buffers of a new request of the same compiled graph."""
        if not all(array.flags.writeable for array in arrays):
            return super().bind(arrays, results)
        arrays = self._used_inputs(arrays)
        with self._lock:
            compiled = self._request(tuple([array.shape for array in arrays])).compiled
        request = compiled.create_infer_request()
        for index, array in enumerate(arrays):
            request.set_input_tensor(index, self._ov.Tensor(array, shared_memory=True))
        for index, array in enumerate(results):
            request.set_output_tensor(index, self._ov.Tensor(array, shared_memory=True))
        infer: Callable[[], object] = request.infer
        return infer

    def close(self) -> None:
        """Release all compiled graphs."""
        with self._lock:
            self._static.clear()
            self._dynamic = None
