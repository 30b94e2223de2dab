"""Reading an ONNX model from a stranger: bounded, self-contained, and told what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, numpy_helper

from tamis._base import ModelError, UnsafeBundleError, UsageError, human_bytes
from tamis.bundle.signature import DTYPES, Input, Output, Signature

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
EXPANDED = (
    "/expanded"  # ends the name of a constant that a rewrite wrote out along the axes it is broadcast over
)
OTHER = "other"  # what no module owns
MODEL_BYTES_LIMIT = 1_900_000_000  # protobuf itself ends at 2 GB


def load_model(path: Path) -> onnx.ModelProto:
    """Read and check one ONNX file; tensors that it keeps in files beside it are taken in, in any other place refused."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read the model {path}: {error.strerror or error}") from error
    if size > MODEL_BYTES_LIMIT:
        raise UnsafeBundleError(
            f"{path} is {human_bytes(size)}; a model may have {human_bytes(MODEL_BYTES_LIMIT)} at most"
        )
    return parse_model(path.read_bytes(), str(path), beside=path.parent)


def parse_model(data: bytes, place: str, *, beside: Path | None = None) -> onnx.ModelProto:
    """Parse and check ONNX bytes; external data could name any path, and is taken from the folder `beside` only."""
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{place} is no ONNX model ({str(error).strip() or 'it does not parse'})") from error
    if not model.graph.output:
        raise ModelError(f"{place} is no ONNX model: it parses, but its graph has no outputs")
    if beside is not None:
        _take_in(model, beside, place)
    refuse_external_data(model, place)
    try:
        onnx.checker.check_model(model, full_check=False)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(
            f"{place} is not a valid ONNX model: {str(error).strip().splitlines()[0]}"
        ) from error
    return model


def _take_in(model: onnx.ModelProto, folder: Path, place: str) -> None:
    """Move tensors from files of this very folder into the model, as exporters of large models leave them there."""
    left = MODEL_BYTES_LIMIT
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        file = folder / told.get("location", "")
        if file.parent != folder or file.is_symlink() or not file.is_file():
            continue  # is refused with the name of the tensor
        try:
            start, length = int(told.get("offset", 0)), int(told.get("length", file.stat().st_size))
        except ValueError as error:
            raise ModelError(
                f"{place}: the tensor {tensor.name!r} names no part of {file.name} ({error})"
            ) from error
        left -= length
        if left < 0:
            raise UnsafeBundleError(
                f"{place} has more than {human_bytes(MODEL_BYTES_LIMIT)} with the tensors in {file.name}"
            )
        with file.open("rb") as handle:
            handle.seek(max(start, 0))
            tensor.raw_data = handle.read(max(length, 0))
        if min(start, length) < 0 or len(tensor.raw_data) != length:
            raise ModelError(
                f"{place}: the tensor {tensor.name!r} should be {length} bytes of {file.name} from {start} on, "
                f"which has {human_bytes(file.stat().st_size)}: copy it again"
            )
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


def refuse_external_data(model: onnx.ModelProto, place: str) -> None:
    """Refuse tensors whose data is in another file."""
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
            raise UnsafeBundleError(
                f"{place} keeps the tensor {tensor.name!r} in another file ({location!r}), which is not beside it; a bundle "
                "holds one file: put both into one folder and pack again (external data inlined)"
            )


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Yield every tensor wherever it is: in subgraphs, functions, sparse tensors, attributes of a wrong kind."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _tensors(inner)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and every graph inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from graphs(inner)


def read_signature(model: onnx.ModelProto, place: str) -> Signature:
    """Read inputs and outputs off the graph."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if not inputs:
        raise ModelError(f"{place} has no inputs: there is nothing to feed it with")
    ins = tuple(Input(**_describe(value, place)) for value in inputs)
    outs = tuple(Output(**_describe(value, place)) for value in model.graph.output)
    return Signature(inputs=ins, outputs=outs, rows=_rows(ins))


def _rows(inputs: tuple[Input, ...]) -> str:
    """Guess from the declared shapes; packing proves or corrects the guess."""
    if any(not spec.shape for spec in inputs):
        return "none"
    first = {spec.shape[0] for spec in inputs}
    if all(isinstance(size, str) for size in first):
        return "free"  # whatever their names: exporters leave them unnamed, or name them anew for each input
    return "fixed" if len(first) == 1 and 0 not in first else "none"


def _describe(value: onnx.ValueInfoProto, place: str) -> dict[str, Any]:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(
            f"{place}: {value.name!r} is a {(kind or 'value without a type').replace('_type', '')}, not a tensor; "
            "export the model with plain tensors (scikit-learn: zipmap=False)"
        )
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else np.dtype(object)
    if dtype.name not in DTYPES:
        name = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"{place}: {value.name!r} holds {name} values; tamis takes {', '.join(DTYPES)}")
    shape: list[int | str] = []
    for axis, dim in enumerate(tensor.shape.dim):
        fixed = dim.HasField("dim_value") and dim.dim_value >= 0
        shape.append(dim.dim_value if fixed else dim.dim_param or f"{value.name}_{axis}")
    return {"name": value.name, "shape": tuple(shape), "dtype": dtype.name}


def count_parameters(model: onnx.ModelProto) -> dict[str, int]:
    """Count the trained numbers by part of the model: `encoder.dense.weight` belongs to `encoder`.

    Exporters rename a weight that they transpose (`onnx::MatMul_84`): it belongs where the nodes that read it do
    (`/encoder/dense/MatMul`). Integers (shapes, indices) are no parameters.
    """
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(_part(node.name))
    counts: dict[str, int] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type in FLOATS:
            owners = {OTHER}
            if "." in tensor.name:
                owners = {tensor.name.split(".", 1)[0]}
            elif tensor.name.startswith("onnx::"):
                owners = readers.get(tensor.name, owners)
            part = next(iter(owners)) if len(owners) == 1 else OTHER
            counts[part] = counts.get(part, 0) + _numbers(tensor)
    return counts


def _numbers(tensor: TensorProto) -> int:
    """Count the numbers of a constant; those that were written out several times count once."""
    if EXPANDED not in tensor.name:
        return int(np.prod(tensor.dims, dtype=np.int64))
    array = numpy_helper.to_array(tensor)
    moving = [array.shape[a] for a in range(array.ndim) if (np.diff(array, axis=a) != 0).any()]
    return int(np.prod(moving, dtype=np.int64))


def _part(node: str) -> str:
    """Return the outermost module of a node that is named by its place, as in `/encoder/dense/MatMul`."""
    path = node.split("/")
    return path[1] if len(path) > 2 and not path[0] and path[1] else OTHER
