"""Read untrusted ONNX models: check size, external data and validity; read the signature and count parameters."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, numpy_helper

from tamis._base import ModelError, UnsafeBundleError, UsageError, human_bytes
from tamis.bundle.signature import TENSOR_DTYPES, Input, Output, Signature

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
EXPANDED_SUFFIX = "/expanded"  # of the name of a constant that a rewrite expanded along its broadcast axes
OTHER_PART = "other"  # for parameters that belong to no module
MODEL_BYTES_LIMIT = 1_900_000_000  # the limit of protobuf is 2 GB
TREE_OPERATORS = frozenset(["TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"])
RANDOM_OPERATORS = frozenset(
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"]
)


def load_model(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file; external data is inlined from files in the same folder and rejected elsewhere."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read the model {path}: {error.strerror or error}") from error
    if size > MODEL_BYTES_LIMIT:
        raise UnsafeBundleError(
            f"{path} is {human_bytes(size)}; the limit is {human_bytes(MODEL_BYTES_LIMIT)}"
        )
    return parse_model(path.read_bytes(), str(path), beside=path.parent)


def parse_model(data: bytes, place: str, *, beside: Path | None = None) -> onnx.ModelProto:
    """Parse and check ONNX bytes; external data is inlined only from files in the folder `beside`."""
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{place} is not an ONNX model ({str(error).strip() or 'it cannot be parsed'})"
        ) from error
    if not model.graph.output:
        raise ModelError(f"{place} is not an ONNX model: it can be parsed, but its graph has no outputs")
    if beside is not None:
        _inline_external_data(model, beside, place)
    reject_external_data(model, place)
    _import_domains(model)
    _sort_nodes(model.graph)
    try:
        onnx.checker.check_model(model, full_check=False)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(
            f"{place} is not a valid ONNX model: {str(error).strip().splitlines()[0]}"
        ) from error
    return model


def _import_domains(model: onnx.ModelProto) -> None:
    """Import the domains of operators that are not ONNX's own, which some exporters forget (QKeras through QONNX)."""
    known = {one.domain for one in model.opset_import} | {"", "ai.onnx"}
    for domain in sorted({node.domain for node in model.graph.node} - known):
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Put each node behind those whose outputs it reads, which some exporters do not; a cycle stays for the checker to find."""
    producer = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needs = [
        {producer[name] for name in _read_names(node) if name in producer} - {place}
        for place, node in enumerate(graph.node)
    ]
    if all(one < place for place, own in enumerate(needs) for one in own):
        return
    try:
        order = list(TopologicalSorter(dict(enumerate(needs))).static_order())
    except CycleError:
        return
    nodes = [onnx.NodeProto.FromString(graph.node[place].SerializeToString()) for place in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _read_names(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, also in its nested graphs."""
    yield from node.input
    for attribute in node.attribute:
        for nested in (attribute.g, *attribute.graphs):
            for one in nested.node:
                yield from _read_names(one)
            yield from (value.name for value in nested.output)


def _inline_external_data(model: onnx.ModelProto, folder: Path, place: str) -> None:
    """Read tensors from files in the folder into the model; exporters of large models write such files."""
    remaining = MODEL_BYTES_LIMIT
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        external = {entry.key: entry.value for entry in tensor.external_data}
        file = folder / external.get("location", "")
        if file.parent != folder or file.is_symlink() or not file.is_file():
            continue  # reject_external_data reports it
        try:
            start, length = int(external.get("offset", 0)), int(external.get("length", file.stat().st_size))
        except ValueError as error:
            raise ModelError(
                f"{place}: the tensor {tensor.name!r} has an invalid offset or length in {file.name} ({error})"
            ) from error
        remaining -= length
        if remaining < 0:
            raise UnsafeBundleError(
                f"{place} exceeds {human_bytes(MODEL_BYTES_LIMIT)} with the tensors in {file.name}"
            )
        with file.open("rb") as handle:
            handle.seek(max(start, 0))
            tensor.raw_data = handle.read(max(length, 0))
        if min(start, length) < 0 or len(tensor.raw_data) != length:
            raise ModelError(
                f"{place}: the tensor {tensor.name!r} should be {length} bytes at offset {start} of {file.name}, "
                f"which has {human_bytes(file.stat().st_size)}; copy the file again"
            )
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


def reject_external_data(model: onnx.ModelProto, place: str) -> None:
    """Raise UnsafeBundleError if the data of a tensor is in another file."""
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
            raise UnsafeBundleError(
                f"{place} stores the tensor {tensor.name!r} in another file ({location!r}) outside its folder; "
                "put both into one folder and pack again, which inlines external data"
            )


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Yield every tensor at any depth: in subgraphs, functions, sparse tensors and attributes."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _tensors(inner)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all its subgraphs."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from graphs(inner)


def read_signature(model: onnx.ModelProto, place: str) -> Signature:
    """Return the signature that the graph declares."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if not inputs:
        raise ModelError(f"{place} has no inputs; a model needs at least one")
    ins = tuple(Input(**_describe(value, place)) for value in inputs)
    outs = tuple(Output(**_describe(value, place)) for value in model.graph.output)
    # a guess from the declared shapes, which packing checks by evaluation
    rows = "none"
    if all(spec.shape for spec in ins):
        first = {spec.shape[0] for spec in ins}
        if all(isinstance(size, str) for size in first):
            rows = "free"  # names are ignored: some exporters use a different one for each input
        elif len(first) == 1 and 0 not in first:
            rows = "fixed"
    return Signature(inputs=ins, outputs=outs, rows=rows)


def _describe(value: onnx.ValueInfoProto, place: str) -> dict[str, Any]:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(
            f"{place}: {value.name!r} is a {(kind or 'value without a type').replace('_type', '')}, not a tensor; "
            "export the model with plain tensors (scikit-learn: zipmap=False)"
        )
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else np.dtype(object)
    if dtype.name not in TENSOR_DTYPES:
        name = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(
            f"{place}: {value.name!r} holds {name} values; supported are {', '.join(TENSOR_DTYPES)}"
        )
    shape: list[int | str] = []
    for axis, dim in enumerate(tensor.shape.dim):
        fixed = dim.HasField("dim_value") and dim.dim_value >= 0
        shape.append(dim.dim_value if fixed else dim.dim_param or f"{value.name}_{axis}")
    return {"name": value.name, "shape": tuple(shape), "dtype": dtype.name}


def count_parameters(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number of parameters of each part of the model: `encoder.dense.weight` belongs to `encoder`.

    Exporters rename a weight that they transpose (`onnx::MatMul_84`): it belongs to the part of the nodes that read it
    (`/encoder/dense/MatMul`). Integers (shapes, indices) are not parameters; thresholds and leaves of decision trees are.
    """
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        path = node.name.split("/")
        outermost = path[1] if len(path) > 2 and not path[0] and path[1] else OTHER_PART
        for name in node.input:
            readers.setdefault(name, set()).add(outermost)
    trees = sum(_count_trees(node) for node in model.graph.node if node.op_type in TREE_OPERATORS)
    counts: dict[str, int] = {"trees": trees} if trees else {}
    for tensor in model.graph.initializer:
        if tensor.data_type not in FLOAT_TYPES:
            continue
        owners = {OTHER_PART}
        if "." in tensor.name:
            owners = {tensor.name.split(".", 1)[0]}
        elif tensor.name.startswith("onnx::"):
            owners = readers.get(tensor.name, owners)
        part = next(iter(owners)) if len(owners) == 1 else OTHER_PART
        sizes = list(tensor.dims)
        if EXPANDED_SUFFIX in tensor.name:  # the copies in an expanded constant count once
            array = numpy_helper.to_array(tensor)
            sizes = [n for axis, n in enumerate(array.shape) if (np.diff(array, axis=axis) != 0).any()]
        counts[part] = counts.get(part, 0) + int(np.prod(sizes, dtype=np.int64))
    return counts


def _count_trees(node: onnx.NodeProto) -> int:
    """Return the number of thresholds and of leaf values of an operator of decision trees."""
    values = {attribute.name: attribute for attribute in node.attribute}
    modes = values["nodes_modes"].strings if "nodes_modes" in values else ()
    leaves = sum(len(values[name].floats) for name in ("target_weights", "class_weights") if name in values)
    return sum(mode != b"LEAF" for mode in modes) + leaves
