"""Opens ONNX models of a Triton repository, and checks them against their configuration and the float64 reference."""

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
from tamis.engines.onnxruntime import ORT_ERRORS, OnnxRuntimeEngine, open_session
from tamis.serve.models.bundles import dims_without_effect
from tamis.serve.models.model import Model, OpeningSettings, Run, Spec
from tamis.serve.models.triton_config import ResolvedConfig, reshaped
from tamis.serve.models.warmup import (
    MAX_RELATIVE_DIFFERENCE,
    WarmupResult,
    largest_difference,
    make_ready,
    request_of,
)
from tamis.serve.protocol.tensors import datatype_of

MAX_VERIFIED_BYTES = 20_000_000
DRAWS = 3
DEFAULT_MAX_BATCH = 4  # Triton's `--backend-config=default-max-batch-size`
_INCOMPARABLE = ("Quant", "Random", "Bernoulli", "Multinomial", "MatMulInteger", "ConvInteger")
_HALF_TYPES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class GraphTensor:
    """An input or output as declared in the graph: -1 is a free size, None an undeclared shape."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None


def graph_tensors(
    model: onnx.ModelProto, location: str
) -> tuple[list[GraphTensor], list[GraphTensor], set[str]]:
    """Return the inputs and outputs of a graph, and the names of inputs that have a default."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return (
        [_graph_tensor(value, location) for value in model.graph.input],
        [_graph_tensor(value, location) for value in model.graph.output],
        {value.name for value in model.graph.input if value.name in weights},
    )


def _graph_tensor(value: onnx.ValueInfoProto, location: str) -> GraphTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(
            f"{location}: {value.name!r} is a {(kind or 'value without a type').replace('_type', '')}, not a tensor; "
            "export the model with plain tensors (scikit-learn: zipmap=False)"
        )
    tensor = value.type.tensor_type
    if tensor.elem_type == TensorProto.BFLOAT16:
        raise ModelError(
            f"{location}: {value.name!r} is BF16, which ONNX Runtime does not return on the CPU: export it as FP32"
        )
    try:
        datatype = datatype_of(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        raise ModelError(f"{location}: {value.name!r} has no type; export the model again") from None
    if not tensor.HasField("shape"):
        return GraphTensor(value.name, datatype, None)
    dims = tensor.shape.dim
    return GraphTensor(
        value.name,
        datatype,
        tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else -1 for dim in dims),
    )


def complete_config(config: Any, path: Path) -> None:
    """Add the inputs and outputs that a configuration lacks, as Triton does.

    If it has none, and all tensors of the graph have a free first dimension, that dimension is the batch:
    `max_batch_size: 4`, `dynamic_batching { }`.
    """
    inputs, outputs, optional = graph_tensors(load_model(path), str(path))
    inputs = [one for one in inputs if one.name not in optional]
    bare = not config.input and not config.output
    shapes = [one.shape for one in (*inputs, *outputs)]
    if bare and not config.max_batch_size and all(shape and shape[0] == -1 for shape in shapes):
        config.max_batch_size = DEFAULT_MAX_BATCH
        config.dynamic_batching.SetInParent()
    skipped = 1 if config.max_batch_size else 0
    for target, tensors in ((config.input, inputs), (config.output, outputs)):
        if target:
            continue
        for one in tensors:
            if one.shape is None:
                raise ModelError(
                    f"{path}: {one.name!r} has no declared shape; write a config.pbtxt with its dims"
                )
            kind = pb.DataType.Value(f"TYPE_{one.datatype.replace('BYTES', 'STRING')}")
            entry = target.add(name=one.name, data_type=kind, dims=one.shape[skipped:])
            if len(one.shape) == skipped:  # a scalar, or one per row: in the protocol it has one dimension
                entry.dims.append(1)
                entry.reshape.SetInParent()


def open_onnx(configured: ResolvedConfig, version: str, path: Path, settings: OpeningSettings) -> Model:
    """Open one version on ONNX Runtime, with checked, warm instances."""
    model = load_model(path)
    configured = match_graph(configured, model, path)
    facts = {"engine": f"onnxruntime {OnnxRuntimeEngine.version()}"}
    if named := free_dims_of(model) & set(settings.dims):
        facts["ignored"] = dims_without_effect(named, (OnnxRuntimeEngine.name,))
    data = model.SerializeToString()
    # A session without threads of its own may be shared by all instances, so that memory holds the weights once.
    count = configured.instances if configured.threads > 1 else 1
    sessions = [open_session(data, configured.threads) for _ in range(count)]
    runs = [session_runner(configured, sessions[index % count]) for index in range(configured.instances)]
    small = len(data) <= MAX_VERIFIED_BYTES
    del data

    def verified(warm: WarmupResult) -> str:
        if not small:
            return "no: the model is too large for the reference"
        return verify(configured, model, path, runs[0], warm)

    opened = make_ready(configured, version, runs, facts, verified)
    opened.free_dims = free_dims_of(model)
    return opened


def free_dims_of(model: onnx.ModelProto) -> frozenset[str]:
    """Return the names of the free dimensions of the inputs."""
    dims = [dim for value in model.graph.input for dim in value.type.tensor_type.shape.dim]
    return frozenset(dim.dim_param for dim in dims if dim.dim_param)


def match_graph(configured: ResolvedConfig, model: onnx.ModelProto, path: Path) -> ResolvedConfig:
    """Check a configuration against the graph; free sizes that the graph fixes become fixed."""
    inputs, outputs, optional = graph_tensors(model, str(path))
    specs: dict[str, tuple[Spec, ...]] = {}
    for kind, configured_specs, declared in (
        ("input", configured.inputs, inputs),
        ("output", configured.outputs, outputs),
    ):
        known = {one.name: one for one in declared}
        for spec in configured_specs:
            if spec.name not in known:
                hint = did_you_mean(spec.name, list(known))
                raise ModelError(
                    f"{configured.location}: {path.name} has no {kind} {spec.name!r}; {hint}".rstrip("; ")
                )
            if spec.optional and spec.name not in optional:
                raise ModelError(
                    f"{configured.location}: input {spec.name!r} is optional, but {path.name} has no default for it: "
                    "remove `optional`"
                )
        specs[kind] = tuple(
            _match_tensor(configured, kind, spec, known[spec.name]) for spec in configured_specs
        )
    named = {spec.name for spec in configured.inputs}
    if missing := next((one.name for one in inputs if one.name not in named | optional), None):
        raise ModelError(
            f"{configured.location}: {path.name} also has the input {missing!r}; add it to the configuration"
        )
    return replace(configured, inputs=specs["input"], outputs=specs["output"])


def _match_tensor(configured: ResolvedConfig, kind: str, spec: Spec, declared: GraphTensor) -> Spec:
    where = f"{configured.location}: {kind} {spec.name!r}"
    if spec.datatype != declared.datatype:
        raise ModelError(f"{where} has data_type {spec.datatype}; the graph has {declared.datatype}")
    if declared.shape is None:
        return spec
    inner, shape = configured.inner(spec), declared.shape
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
        batch = " after the batch dimension" if configured.max_batch else ""
        raise ModelError(f"{where} has dims {list(inner)}; the graph has {list(shape)}{batch}")
    if spec.name in configured.reshapes or kind == "output":
        return spec
    return replace(spec, shape=tuple(b if a == -1 else a for a, b in zip(inner, shape, strict=True)))


def session_runner(configured: ResolvedConfig, session: Any) -> Run:
    """Return a function that runs a session on the tensors of a request, converted where the model needs it."""
    names = [spec.name for spec in configured.inputs]
    outputs = [spec.name for spec in configured.outputs]
    converted = {
        spec.name: (configured.reshapes.get(spec.name), spec.datatype == "BYTES")
        for spec in configured.inputs
        if spec.name in configured.reshapes or spec.datatype == "BYTES"
    }
    reshaped_outputs = [
        (i, configured.reshapes[name]) for i, name in enumerate(outputs) if name in configured.reshapes
    ]
    has_rows = bool(configured.max_batch)
    has_optional = any(spec.optional for spec in configured.inputs)

    def run(arrays: list[Any]) -> Sequence[np.ndarray]:
        feeds = dict(zip(names, arrays, strict=True))
        if has_optional:
            feeds = {name: array for name, array in feeds.items() if array is not None}
        for name, (reshape, is_text) in converted.items():
            if name in feeds:
                if is_text:
                    feeds[name] = _texts(feeds[name], name)
                if reshape is not None:
                    feeds[name] = reshaped(feeds[name], reshape.outer, reshape.inner, has_rows)
        try:
            results: list[np.ndarray] = session.run(outputs, feeds)
        except (*ORT_ERRORS, RuntimeError, ValueError) as error:
            raise model_error("onnxruntime", error) from error
        for index, reshape in reshaped_outputs:
            results[index] = reshaped(results[index], reshape.inner, reshape.outer, has_rows)
        return results

    return run


def _texts(array: np.ndarray, name: str) -> np.ndarray:
    """Return strings as str: ONNX Runtime would take the repr of bytes."""
    texts = np.empty(array.size, object)
    try:
        for index, item in enumerate(array.ravel()):
            texts[index] = item if isinstance(item, str) else bytes(item).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputMismatchError(
            f"string {index} of the input {name!r} is not UTF-8: {error.reason}"
        ) from error
    return texts.reshape(array.shape)


def verify(
    configured: ResolvedConfig, model: onnx.ModelProto, path: Path, run: Run, warm: WarmupResult
) -> str:
    """Compare with the float64 reference; return whether that was possible, raise VerificationError if outputs differ."""
    if configured.parameters.get("tamis_verify", "").lower() in ("false", "0", "no"):
        return "no: disabled by the parameter tamis_verify"
    if warm.arrays is None:
        return "no: the model ran on no random inputs"
    if incomparable := _incomparable(model):
        return f"no: {incomparable} differs from float64 by design"
    try:
        reference = Reference(model)
        difference = ""
        for seed in range(DRAWS):  # values at a threshold may fall to either side once
            difference = _difference(
                configured, reference, run, request_of(configured, 1, warm.free, np.random.default_rng(seed))
            )
            if not difference:
                return "yes: agrees with the float64 reference on random inputs"
    except (ModelError, InputMismatchError) as error:
        return f"no: {error}"
    raise VerificationError(
        f"{path}: ONNX Runtime's output {difference}; export the model again, or serve it unverified with "
        'parameters { key: "tamis_verify" value: { string_value: "false" } }'
    )


def _difference(configured: ResolvedConfig, reference: Reference, run: Run, arrays: list[np.ndarray]) -> str:
    """Return which output differs from the reference, and by how much; empty if none does."""
    feeds = {
        name: _texts(array, name) if array.dtype == object else array
        for name, array in configured.to_graph(arrays).items()
    }
    references = configured.from_graph(reference(feeds))
    for spec, output, expected in zip(configured.outputs, run(arrays), references, strict=True):
        if (difference := largest_difference(output, expected)) > MAX_RELATIVE_DIFFERENCE:
            return (
                f"{spec.name!r} differs from the float64 reference by {difference:.1%} of its largest value"
            )
    return ""


def _incomparable(model: onnx.ModelProto) -> str:
    """Return why a graph cannot be compared with float64: quantisation, half precision or randomness; else empty."""
    for graph in graphs(model.graph):
        for node in graph.node:
            if any(word in node.op_type for word in _INCOMPARABLE):
                return str(node.op_type)
        if any(tensor.data_type in _HALF_TYPES for tensor in graph.initializer):
            return "half precision"
    return ""
