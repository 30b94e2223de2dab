"""OpenVINO on CPU."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from tamis._base import require
from tamis.bundle import Signature
from tamis.engines.engine import Arrays, Engine, Options, Runner, refuse, writable

STATIC_SHAPES_KEPT = 16

_Shapes = tuple[tuple[int, ...], ...]


class OpenVinoEngine(Engine):
    """Float32 (it computes in bf16 by default on some CPUs) and one static graph per batch size that comes again."""

    name = "openvino"
    batch_bound = 1e-5
    saturates = True

    def prepare(self) -> None:
        """Import OpenVINO."""
        require("openvino", extra="openvino", purpose="the engine openvino")

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Read the ONNX model; it is compiled per shape, on first use."""
        ov = require("openvino", extra="openvino", purpose="the engine openvino")
        core = ov.Core()
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
            raise refuse(self.name, _own_words(error)) from error
        return _OpenVinoRunner(ov, core, model, settings, signature, used)


def _own_words(error: BaseException) -> BaseException:
    """OpenVINO's errors begin with source files of its own; keep the line that speaks of the model."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [
        line
        for line in lines
        if line
        and not line.startswith(
            ("Exception from", "Check '", "[", "File", "While validating", "FrontEnd API")
        )
    ]
    return RuntimeError(told[0] if told else str(error))


class _Request:
    """A compiled graph and a request on its own buffers: to fill them costs less than to hand over new ones (70 us)."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self._inputs: list[np.ndarray] | None = None
        self._outputs: list[np.ndarray] | None = None
        if all(port.partial_shape.is_static for port in compiled.inputs):
            self._inputs = [self._request.get_input_tensor(i).data for i in range(len(compiled.inputs))]
        if all(port.partial_shape.is_static for port in compiled.outputs):
            self._outputs = self._found()

    def __call__(self, arrays: Arrays, tensor: Any) -> Arrays:
        """Run on arrays that fit, and return outputs that belong to the caller."""
        if self._inputs is None:
            for index, array in enumerate(map(writable, arrays)):
                self._request.set_input_tensor(index, tensor(array, shared_memory=True))
        else:
            for buffer, array in zip(self._inputs, arrays, strict=True):
                buffer[...] = array
        self._request.infer(share_outputs=True)
        return [found.copy() for found in self._outputs or self._found()]

    def _found(self) -> list[np.ndarray]:
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
        # an input that nothing reads is not there in OpenVINO's model
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
            raise refuse("openvino", _own_words(error)) from error

    def _request(self, shapes: _Shapes) -> _Request:
        """Return a request: static for a shape that comes again, dynamic for a shape seen once among many."""
        if shapes in self._static:
            self._static.move_to_end(shapes)
            return self._static[shapes]
        self._seen[shapes] += 1
        if len(self._static) >= STATIC_SHAPES_KEPT and self._seen[shapes] < 2:
            if self._dynamic is None:
                self._dynamic = _Request(self._compile(None))
            return self._dynamic
        if len(self._static) >= STATIC_SHAPES_KEPT:
            self._static.popitem(last=False)
        self._static[shapes] = _Request(self._compile(shapes))
        return self._static[shapes]

    def _read(self, arrays: Arrays) -> Arrays:
        """Return the arrays that the graph reads."""
        return arrays if len(self._used) == len(arrays) else [arrays[i] for i in self._used]

    def _run(self, arrays: Arrays) -> Arrays:
        arrays = self._read(arrays)
        with self._lock:
            request = self._request(tuple([array.shape for array in arrays]))
            try:
                return request(arrays, self._ov.Tensor)
            except RuntimeError as error:
                raise refuse("openvino", _own_words(error)) from error

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Give a request of its own, of the same compiled graph, both its input and its output buffers."""
        if not all(array.flags.writeable for array in arrays):
            return super().bind(arrays, results)
        arrays = self._read(arrays)
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
        """Drop every compiled graph."""
        with self._lock:
            self._static.clear()
            self._dynamic = None
