"""Requests and answers of inference in JSON; tensors are in the JSON, or follow it as binary data.

Binary data is never copied. Headers are cached by their bytes, like those of gRPC.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any, NoReturn

from tamis._base import UsageError
from tamis.serve.protocol.infer import MAX_CACHED_HEADER_BYTES, Buffer, InputTensor, RequestHeader
from tamis.serve.protocol.json_tensors import NOT_FINITE, array_of, data_of
from tamis.serve.protocol.messages import Answer, BoundedCache, Fault, Parameter, Refusal, RequestedOutput
from tamis.serve.protocol.regions import REGION_NAME
from tamis.serve.protocol.tensors import datatype_of, dtype_of, to_raw

BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
_KIND_NAMES = {dict: "an object", list: "a list", str: "a string", int: "an integer"}
_MISSING: Any = object()


def _wrong(message: str) -> NoReturn:
    raise Refusal(Fault.INVALID, message)


def document(text: Buffer, what: str = "the body") -> dict[str, Any]:
    """Return the JSON object in a text; an empty text is an empty object."""
    if not len(text):
        return {}
    try:
        value = json.loads(bytes(text).decode(), parse_constant=NOT_FINITE.__getitem__)
    except RecursionError:
        _wrong(f"{what} is nested too deeply")
    except ValueError as error:  # or UnicodeDecodeError
        _wrong(f"{what} is not valid JSON: {str(error)[:200]}")
    if not isinstance(value, dict):
        _wrong(f"{what} is not a JSON object")
    return value


def read_field(
    source: Mapping[str, Any], name: str, kind: type, location: str, default: Any = _MISSING
) -> Any:
    """Return a field of an object; raise Refusal where it is missing or not of the type `kind`. An optional one may be null."""
    value = source.get(name, default)
    if value is None:
        value = default
    if value is _MISSING:
        _wrong(f"{location} lacks {name!r}")
    if value is default:
        return value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        _wrong(f"{location}.{name} must be {_KIND_NAMES[kind]}")
    return value


def parameters_in(source: Mapping[str, Any], location: str) -> dict[str, Parameter]:
    """Return the parameters of an object."""
    parameters = read_field(source, "parameters", dict, location, {})
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            _wrong(
                f"{location}.parameters.{name[:40]} is {json.dumps(value)[:40]}; it must be a boolean, number or string"
            )
    return dict(parameters)


class JsonRequestReader:
    """Reads requests, and caches their headers."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._known: BoundedCache[bytes, tuple[RequestHeader, str]] = BoundedCache()

    def read(self, body: Buffer, json_bytes: int | None) -> tuple[RequestHeader, str, list[memoryview]]:
        """Return header, id and raw inputs of a request; `json_bytes`: length of the leading JSON, None if all is JSON."""
        view = memoryview(body)
        if json_bytes is None:
            json_bytes = len(view)
        elif not 0 <= json_bytes <= len(view):
            _wrong(f"Inference-Header-Content-Length is {json_bytes}; the body has {len(view)} bytes")
        key = bytes(view[:json_bytes]) if json_bytes <= MAX_CACHED_HEADER_BYTES else b""
        known = self._known.get(key) if key else None
        if known is None:
            known = _parse(view[:json_bytes])
            if key and all(tensor.array is None for tensor in known[0].inputs):
                self._known[key] = known
        header, request_id = known
        return header, request_id, _raws(header, view[json_bytes:])


def _parse(text: memoryview) -> tuple[RequestHeader, str]:
    location = "the request"
    request = document(text, location)
    request_id = read_field(request, "id", str, location, "")
    inputs = read_field(request, "inputs", list, location)
    outputs = read_field(request, "outputs", list, location, [])
    header = RequestHeader(
        model="",
        version="",
        parameters=parameters_in(request, location),
        inputs=tuple(_input(one, f"inputs[{index}]") for index, one in enumerate(inputs)),
        outputs=tuple(_output(one, f"outputs[{index}]") for index, one in enumerate(outputs)),
    )
    return header, request_id


def _input(source: Any, location: str) -> InputTensor:
    if not isinstance(source, dict):
        _wrong(f"{location} must be an object")
    name, datatype = read_field(source, "name", str, location), read_field(source, "datatype", str, location)
    shape = read_field(source, "shape", list, location)
    for index, size in enumerate(shape):
        if type(size) is not int or size < 0 or size >> 63:
            _wrong(f"{location}.shape[{index}] is {json.dumps(size)[:40]}; it must be an integer from 0")
    try:
        dtype_of(datatype)
    except UsageError as error:
        _wrong(f"{location}: {error}")
    parameters = parameters_in(source, location)
    size = read_field(parameters, BINARY_SIZE, int, f"{location}.parameters", None)
    if size is None and REGION_NAME not in parameters:
        data = source.get("data")
        if data is None:
            _wrong(f"{location} has neither data, {BINARY_SIZE} nor a shared memory region")
        return InputTensor(
            name, datatype, tuple(shape), parameters, array_of(data, datatype, shape, f"{location}.data")
        )
    if "data" in source or (size is not None and REGION_NAME in parameters):
        _wrong(
            f"{location} has its data in more than one place: keep one of data, {BINARY_SIZE} and the shared memory region"
        )
    return InputTensor(name, datatype, tuple(shape), parameters)


def _output(source: Any, location: str) -> RequestedOutput:
    if not isinstance(source, dict):
        _wrong(f"{location} must be an object")
    parameters = parameters_in(source, location)
    if type(parameters.get(BINARY, False)) is not bool:
        _wrong(f"{location}.parameters.{BINARY} must be true or false")
    return RequestedOutput(read_field(source, "name", str, location), parameters)


def _raws(header: RequestHeader, rest: memoryview) -> list[memoryview]:
    """Return the bytes of each input with binary data, from the part of the body after the JSON."""
    raws, position = [], 0
    for index, tensor in enumerate(header.inputs):
        size = tensor.parameters.get(BINARY_SIZE)
        if not isinstance(size, int):
            continue
        if not 0 <= size <= len(rest) - position:
            _wrong(
                f"inputs[{index}] has {BINARY_SIZE} {size}; the body has {len(rest) - position} more bytes"
            )
        raws.append(rest[position : position + size])
        position += size
    if position != len(rest):
        _wrong(f"{len(rest) - position} bytes follow the inputs in the body")
    return raws


def binary_outputs(header: RequestHeader, names: frozenset[str]) -> frozenset[str]:
    """Return which outputs of a model, of these `names`, are requested as binary data."""
    default = header.parameters.get(ALL_BINARY, False)
    if type(default) is not bool:
        _wrong(f"the request.parameters.{ALL_BINARY} must be true or false")
    if not header.outputs:
        return names if default else frozenset()
    return frozenset(one.name for one in header.outputs if one.parameters.get(BINARY, default))


class JsonResponseWriter:
    """Writes answers, and caches their JSON where all tensors are binary."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._known: BoundedCache[Any, bytes] = BoundedCache()

    def write(
        self,
        answer: Answer,
        request_id: str,
        binary: frozenset[str],
        placed: Container[str] = (),
    ) -> tuple[int | None, list[Buffer]]:
        """Return the length of an answer's JSON, None if no binary data follows, and the pieces of the answer.

        `placed` are the names of the outputs in shared memory.
        """
        outputs = answer.outputs
        key = None
        if len(binary) == len(outputs) and not (request_id or placed or answer.parameters):
            key = (
                answer.model,
                answer.version,
                *[(name, array.dtype, array.shape) for name, array in outputs.items()],
            )
            text = self._known.get(key)
            if text is not None:
                return len(text), [text, *map(to_raw, outputs.values())]
            if any(array.dtype.kind in "OSU" for array in outputs.values()):
                key = None  # the shape of strings does not tell their bytes
        message, raws = _message(answer, request_id, binary, placed)
        text = json.dumps(message, separators=(",", ":")).encode()
        if key is not None:
            self._known[key] = text
        return (len(text) if raws else None), [text, *raws]


def _message(
    answer: Answer,
    request_id: str,
    binary: frozenset[str],
    placed: Container[str],
) -> tuple[dict[str, Any], list[Buffer]]:
    message: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if request_id:
        message["id"] = request_id
    if answer.parameters:
        message["parameters"] = dict(answer.parameters)
    raws: list[Buffer] = []
    message["outputs"] = outputs = []
    for name, array in answer.outputs.items():
        output: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if name in placed:
            pass  # NVIDIA's C++ client requires binary_data_size in the parameters of an output, if there are any
        elif name in binary:
            raws.append(to_raw(array))
            output["parameters"] = {BINARY_SIZE: len(raws[-1])}
        else:
            output["data"] = data_of(array, name)
        outputs.append(output)
    return message, raws
