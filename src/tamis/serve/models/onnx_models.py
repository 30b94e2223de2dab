"""ONNX models of a Triton repository: opened, held against their configuration, and against the float64 reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from tritonclient.grpc import model_config_pb2 as pb

from tamis._base import InputMismatchError, ModelError, VerificationError, did_you_mean
from tamis.bundle import Reference
from tamis.bundle.model import graphs, load_model
from tamis.engines.engine import model_error
from tamis.engines.onnxruntime import ORT_ERRORS, open_session
from tamis.serve.models.model import Model, Run, Spec
from tamis.serve.models.triton_config import Reshape, ResolvedConfig, reshaped
from tamis.serve.models.warmup import APART, WarmupResult, largest_difference, make_ready, request_of
from tamis.serve.protocol.tensors import datatype_of

VERIFIED_BYTES_MOST = 20_000_000
DRAWS = 3
COMPLETED_BATCH = 4  # what Triton assumes where nothing is said: `--backend-config=default-max-batch-size`
_COARSE = ("Quant", "Random", "Bernoulli", "Multinomial", "MatMulInteger", "ConvInteger")
_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class GraphTensor:
    """An input or output as the graph declares it; -1 is free, and without a shape nothing is known of it."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None


def declared(model: onnx.ModelProto, place: str) -> tuple[list[GraphTensor], list[GraphTensor], set[str]]:
    """Return a graph's inputs and outputs, and which inputs may be left out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return (
        [_declared(value, place) for value in model.graph.input],
        [_declared(value, place) for value in model.graph.output],
        {value.name for value in model.graph.input if value.name in weights},
    )


def _declared(value: onnx.ValueInfoProto, place: str) -> GraphTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(
            f"{place}: {value.name!r} is a {(kind or 'value without a type').replace('_type', '')}, not a tensor; "
            "export the model with plain tensors (scikit-learn: zipmap=False)"
        )
    tensor = value.type.tensor_type
    if tensor.elem_type == TensorProto.BFLOAT16:
        raise ModelError(
            f"{place}: {value.name!r} is BF16, which ONNX Runtime does not hand over on the CPU: export it as FP32"
        )
    try:
        datatype = datatype_of(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        raise ModelError(f"{place}: {value.name!r} has no type; export the model again") from None
    if not tensor.HasField("shape"):
        return GraphTensor(value.name, datatype, None)
    dims = tensor.shape.dim
    return GraphTensor(
        value.name,
        datatype,
        tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else -1 for dim in dims),
    )


def complete(config: Any, path: Path) -> None:
    """Fill in what a configuration leaves out, as Triton's own completion does.

    A model without a word on its inputs and outputs whose tensors all begin with a free dimension has a batch of up to 4,
    and requests are joined: `max_batch_size: 4`, `dynamic_batching { }`.
    """
    inputs, outputs, may_miss = declared(load_model(path), str(path))
    inputs = [one for one in inputs if one.name not in may_miss]
    bare = not config.input and not config.output
    shapes = [one.shape for one in (*inputs, *outputs)]
    if bare and not config.max_batch_size and all(shape and shape[0] == -1 for shape in shapes):
        config.max_batch_size = COMPLETED_BATCH
        config.dynamic_batching.SetInParent()
    skipped = 1 if config.max_batch_size else 0
    for target, found in ((config.input, inputs), (config.output, outputs)):
        if target:
            continue
        for one in found:
            if one.shape is None:
                raise ModelError(
                    f"{path}: {one.name!r} declares no shape; write a config.pbtxt that names its dims"
                )
            kind = pb.DataType.Value(f"TYPE_{one.datatype.replace('BYTES', 'STRING')}")
            entry = target.add(name=one.name, data_type=kind, dims=one.shape[skipped:])
            if len(one.shape) == skipped:  # a number, or one a row: the protocol has it as a list of one
                entry.dims.append(1)
                entry.reshape.SetInParent()


def open_onnx(configured: ResolvedConfig, version: str, path: Path) -> Model:
    """Open one version: its instances are warm, and checked."""
    model = load_model(path)
    configured = fitted(configured, model, path)
    data = model.SerializeToString()
    # A session may run in several threads at once: where none has threads of its own, the weights are held once.
    count = configured.instances if configured.threads > 1 else 1
    sessions = [open_session(data, configured.threads) for _ in range(count)]
    runs = [_runner(configured, sessions[index % count]) for index in range(configured.instances)]
    small = len(data) <= VERIFIED_BYTES_MOST
    del data

    def verified(warm: WarmupResult) -> str:
        if not small:
            return "no: it is too large for the reference"
        return verify(configured, model, path, runs[0], warm)

    return make_ready(configured, version, runs, verified)


def fitted(configured: ResolvedConfig, model: onnx.ModelProto, path: Path) -> ResolvedConfig:
    """Hold a configuration against the graph; sizes that only the graph knows are those that requests must have."""
    inputs, outputs, may_miss = declared(model, str(path))
    specs: dict[str, tuple[Spec, ...]] = {}
    for kind, wanted, there in (
        ("input", configured.inputs, inputs),
        ("output", configured.outputs, outputs),
    ):
        known = {one.name: one for one in there}
        for spec in wanted:
            if spec.name not in known:
                hint = did_you_mean(spec.name, list(known))
                raise ModelError(
                    f"{configured.place}: {path.name} has no {kind} {spec.name!r}; {hint}".rstrip("; ")
                )
            if spec.optional and spec.name not in may_miss:
                raise ModelError(
                    f"{configured.place}: input {spec.name!r} is optional, but {path.name} has no default for it: "
                    "remove `optional`"
                )
        specs[kind] = tuple(_fitted(configured, kind, spec, known[spec.name]) for spec in wanted)
    named = {spec.name for spec in configured.inputs}
    if missing := next((one.name for one in inputs if one.name not in named | may_miss), None):
        raise ModelError(f"{configured.place}: {path.name} also takes {missing!r}; name it as an input")
    return replace(configured, inputs=specs["input"], outputs=specs["output"])


def _fitted(configured: ResolvedConfig, kind: str, spec: Spec, there: GraphTensor) -> Spec:
    where = f"{configured.place}: {kind} {spec.name!r}"
    if spec.datatype != there.datatype:
        raise ModelError(f"{where} has data_type {spec.datatype}; the graph has {there.datatype}")
    if there.shape is None:
        return spec
    inner, shape = configured.inner(spec), there.shape
    if configured.max_batch:
        if not shape or (shape[0] != -1 and kind == "input"):
            raise ModelError(
                f"{where}: max_batch_size is {configured.max_batch}, but the graph has the fixed shape {list(shape)}; "
                "write max_batch_size: 0 and the whole shape, or export it with a free first dimension"
            )
        shape = shape[1:]
    if len(inner) != len(shape) or any(
        -1 not in (a, b) and a != b for a, b in zip(inner, shape, strict=True)
    ):
        batch = " behind the batch" if configured.max_batch else ""
        raise ModelError(f"{where} has dims {list(inner)}; the graph has {list(shape)}{batch}")
    if spec.name in configured.reshapes or kind == "output":
        return spec
    return replace(spec, shape=tuple(b if a == -1 else a for a, b in zip(inner, shape, strict=True)))


def _runner(configured: ResolvedConfig, session: Any) -> Run:
    """Return how an instance is run: nothing is done to arrays that the model takes as they are."""
    names = [spec.name for spec in configured.inputs]
    outputs = [spec.name for spec in configured.outputs]
    prepared = _changes(configured, configured.inputs)
    finished = [
        (i, configured.reshapes[name]) for i, name in enumerate(outputs) if name in configured.reshapes
    ]
    has_rows = bool(configured.max_batch)
    may_miss = any(spec.optional for spec in configured.inputs)

    def run(arrays: list[Any]) -> Sequence[np.ndarray]:
        feeds = dict(zip(names, arrays, strict=True))
        if may_miss:
            feeds = {name: array for name, array in feeds.items() if array is not None}
        for name, (reshape, is_text) in prepared.items():
            if name in feeds:
                if is_text:
                    feeds[name] = _texts(feeds[name], name)
                if reshape is not None:
                    feeds[name] = reshaped(feeds[name], reshape.outer, reshape.inner, has_rows)
        try:
            found: list[np.ndarray] = session.run(outputs, feeds)
        except (*ORT_ERRORS, RuntimeError, ValueError) as error:
            raise model_error("onnxruntime", error) from error
        for index, reshape in finished:
            found[index] = reshaped(found[index], reshape.inner, reshape.outer, has_rows)
        return found

    return run


def _changes(configured: ResolvedConfig, specs: Sequence[Spec]) -> dict[str, tuple[Reshape | None, bool]]:
    return {
        spec.name: (configured.reshapes.get(spec.name), spec.datatype == "BYTES")
        for spec in specs
        if spec.name in configured.reshapes or spec.datatype == "BYTES"
    }


def _texts(array: np.ndarray, name: str) -> np.ndarray:
    """Return strings as ONNX Runtime takes them: bytes it would print."""
    found = np.empty(array.size, object)
    try:
        for index, item in enumerate(array.ravel()):
            found[index] = item if isinstance(item, str) else bytes(item).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputMismatchError(
            f"string {index} of the input {name!r} is no UTF-8: {error.reason}"
        ) from error
    return found.reshape(array.shape)


def verify(
    configured: ResolvedConfig, model: onnx.ModelProto, path: Path, run: Run, warm: WarmupResult
) -> str:
    """Compare with the float64 reference; tell whether it could be done, refuse a model that is grossly off."""
    if configured.parameters.get("tamis_verify", "").lower() in ("false", "0", "no"):
        return "no: switched off by the parameter tamis_verify"
    if warm.arrays is None:
        return "no: no drawn inputs could be run"
    if coarse := _coarse(model):
        return f"no: {coarse} differs from float64 by its nature"
    try:
        reference = Reference(model)
        off = ""
        for seed in range(DRAWS):  # what lies at an edge may fall to either side once
            off = _difference(
                configured, reference, run, request_of(configured, 1, warm.free, np.random.default_rng(seed))
            )
            if not off:
                return "yes: as the float64 reference, on drawn inputs"
    except (ModelError, InputMismatchError) as error:
        return f"no: {error}"
    raise VerificationError(
        f"{path}: ONNX Runtime's output {off}; export the model again, or serve it unverified with "
        'parameters { key: "tamis_verify" value: { string_value: "false" } }'
    )


def _difference(configured: ResolvedConfig, reference: Reference, run: Run, arrays: list[np.ndarray]) -> str:
    """Return which output is grossly off the reference, if one is."""
    has_rows, feeds = bool(configured.max_batch), {}
    for spec, array in zip(configured.inputs, arrays, strict=True):
        reshape = configured.reshapes.get(spec.name)
        text = _texts(array, spec.name) if spec.datatype == "BYTES" else array
        feeds[spec.name] = text if reshape is None else reshaped(text, reshape.outer, reshape.inner, has_rows)
    found, expected = run(arrays), reference(feeds)
    for spec, output in zip(configured.outputs, found, strict=True):
        reshape, truth = configured.reshapes.get(spec.name), expected[spec.name]
        if reshape is not None:
            truth = reshaped(truth, reshape.inner, reshape.outer, has_rows)
        if (off := largest_difference(output, truth)) > APART:
            return f"{spec.name!r} is off the float64 reference by {off:.1%} of its largest value"
    return ""


def _coarse(model: onnx.ModelProto) -> str:
    """Return what makes a graph incomparable with float64: whole numbers in the place of floats, halves, chance."""
    for graph in graphs(model.graph):
        for node in graph.node:
            if any(word in node.op_type for word in _COARSE):
                return str(node.op_type)
        if any(tensor.data_type in _HALVES for tensor in graph.initializer):
            return "half precision"
    return ""
