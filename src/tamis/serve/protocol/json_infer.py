"""Requests and answers of inference in JSON, with the numbers in it or, as bytes, behind it.

The numbers behind it are never copied. A head that came before is looked up by its bytes, like those of gRPC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from tamis._base import Known, UsageError
from tamis.serve.protocol.infer import HEAD_BYTES_MOST, InputTensor, RequestHeader
from tamis.serve.protocol.json_tensors import array_of, data_of
from tamis.serve.protocol.messages import Answer, Fault, Parameter, Refusal, RequestedOutput
from tamis.serve.protocol.regions import REGION
from tamis.serve.protocol.tensors import datatype_of, dtype_of, to_raw

Buffer = bytes | bytearray | memoryview
BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
_KINDS = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}
_MISSING: Any = object()


def _wrong(told: str) -> NoReturn:
    raise Refusal(Fault.INVALID, told)


def document(text: Buffer, what: str = "the body") -> dict[str, Any]:
    """Return the object that a text is in JSON; nothing at all is an empty one."""
    if not len(text):
        return {}
    try:
        found = json.loads(bytes(text).decode(), parse_constant=_no_number)
    except RecursionError:
        _wrong(f"{what} is nested too deeply")
    except ValueError as error:  # also of what is no UTF-8
        _wrong(f"{what} is no JSON: {str(error)[:200]}")
    if not isinstance(found, dict):
        _wrong(f"{what} is no JSON object")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON; send it as binary data")


def taken(source: Mapping[str, Any], name: str, kind: type, place: str, default: Any = _MISSING) -> Any:
    """Return a field of an object, of the right kind."""
    value = source.get(name, default)
    if value is _MISSING:
        _wrong(f"{place} lacks {name!r}")
    if value is default:
        return value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        _wrong(f"{place}.{name} has to be {_KINDS[kind]}")
    return value


def parameters_in(source: Mapping[str, Any], place: str) -> dict[str, Parameter]:
    """Return the parameters of an object."""
    found = taken(source, "parameters", dict, place, {})
    for name, value in found.items():
        if not isinstance(value, bool | int | float | str):
            _wrong(f"{place}.parameters.{name[:40]} is {json.dumps(value)[:40]}; it has to be a plain value")
    return dict(found)


class JsonRequestReader:
    """Reads requests; knows the heads of those that came before."""

    def __init__(self) -> None:
        """Know none."""
        self._known: Known[bytes, tuple[RequestHeader, str]] = Known()

    def read(self, body: Buffer, head_bytes: int | None) -> tuple[RequestHeader, str, list[memoryview]]:
        """Return the head of a request, its id and its raw inputs; `head_bytes` is how much of the body is JSON."""
        view = memoryview(body)
        if head_bytes is None:
            head_bytes = len(view)
        elif not 0 <= head_bytes <= len(view):
            _wrong(f"Inference-Header-Content-Length is {head_bytes}; the body has {len(view)} bytes")
        key = bytes(view[:head_bytes]) if head_bytes <= HEAD_BYTES_MOST else b""
        known = self._known.get(key) if key else None
        if known is None:
            known = _understood(view[:head_bytes])
            if key and all(given.array is None for given in known[0].inputs):
                self._known[key] = known
        head, request_id = known
        return head, request_id, _raws(head, view[head_bytes:])


def _understood(text: memoryview) -> tuple[RequestHeader, str]:
    found, place = document(text, "the request"), "the request"
    request_id = taken(found, "id", str, place, "")
    inputs = taken(found, "inputs", list, place)
    outputs = taken(found, "outputs", list, place, [])
    head = RequestHeader(
        model="",
        version="",
        parameters=parameters_in(found, place),
        inputs=tuple(_given(one, f"inputs[{index}]") for index, one in enumerate(inputs)),
        outputs=tuple(_wanted(one, f"outputs[{index}]") for index, one in enumerate(outputs)),
    )
    return head, request_id


def _given(found: Any, place: str) -> InputTensor:
    if not isinstance(found, dict):
        _wrong(f"{place} has to be an object")
    name, datatype = taken(found, "name", str, place), taken(found, "datatype", str, place)
    shape = taken(found, "shape", list, place)
    for index, size in enumerate(shape):
        if type(size) is not int or size < 0 or size >> 63:
            _wrong(
                f"{place}.shape[{index}] is {json.dumps(size)[:40]}; it has to be a whole number from 0 on"
            )
    try:
        dtype_of(datatype)
    except UsageError as error:
        _wrong(f"{place}: {error}")
    parameters = parameters_in(found, place)
    size = taken(parameters, BINARY_SIZE, int, f"{place}.parameters", None)
    if size is None and REGION not in parameters:
        data = found.get("data")
        if data is None:
            _wrong(f"{place} has neither data, nor {BINARY_SIZE}, nor a region of shared memory")
        return InputTensor(
            name, datatype, tuple(shape), parameters, array_of(data, datatype, shape, f"{place}.data")
        )
    if "data" in found or (size is not None and REGION in parameters):
        _wrong(f"{place} says of more than one place that its data are there")
    return InputTensor(name, datatype, tuple(shape), parameters)


def _wanted(found: Any, place: str) -> RequestedOutput:
    if not isinstance(found, dict):
        _wrong(f"{place} has to be an object")
    parameters = parameters_in(found, place)
    if type(parameters.get(BINARY, False)) is not bool:
        _wrong(f"{place}.parameters.{BINARY} has to be true or false")
    return RequestedOutput(taken(found, "name", str, place), parameters)


def _raws(head: RequestHeader, rest: memoryview) -> list[memoryview]:
    """Cut what lies behind the JSON into the inputs that say that they are there."""
    found, position = [], 0
    for index, given in enumerate(head.inputs):
        size = given.parameters.get(BINARY_SIZE)
        if not isinstance(size, int):
            continue
        if not 0 <= size <= len(rest) - position:
            _wrong(
                f"inputs[{index}] has {BINARY_SIZE} {size}; {len(rest) - position} bytes are left in the body"
            )
        found.append(rest[position : position + size])
        position += size
    if position != len(rest):
        _wrong(f"{len(rest) - position} bytes follow the inputs in the body")
    return found


def binary_outputs(head: RequestHeader, names: frozenset[str]) -> frozenset[str]:
    """Return which outputs are asked for as bytes."""
    default = head.parameters.get(ALL_BINARY, False)
    if type(default) is not bool:
        _wrong(f"the request.parameters.{ALL_BINARY} has to be true or false")
    if not head.outputs:
        return names if default else frozenset()
    return frozenset(one.name for one in head.outputs if one.parameters.get(BINARY, default))


class JsonResponseWriter:
    """Writes answers; knows the heads of those that it wrote before."""

    def __init__(self) -> None:
        """Know none."""
        self._known: Known[Any, bytes] = Known()

    def write(
        self,
        answer: Answer,
        request_id: str,
        binary: frozenset[str],
        placed: Mapping[str, Mapping[str, Parameter]] | None = None,
    ) -> tuple[int | None, list[Buffer]]:
        """Return how long an answer's JSON is, None where there is nothing else, and its pieces."""
        outputs = answer.outputs
        key = None
        if len(binary) == len(outputs) and not (request_id or placed or answer.parameters):
            key = (
                answer.model,
                answer.version,
                *[(name, array.dtype, array.shape) for name, array in outputs.items()],
            )
            head = self._known.get(key)
            if head is not None:
                return len(head), [head, *map(to_raw, outputs.values())]
            if any(array.dtype.kind in "OSU" for array in outputs.values()):
                key = None  # their size says nothing of their bytes
        told, raws = _told(answer, request_id, binary, placed or {})
        head = json.dumps(told, separators=(",", ":")).encode()
        if key is not None:
            self._known[key] = head
        return (len(head) if raws else None), [head, *raws]


def _told(
    answer: Answer,
    request_id: str,
    binary: frozenset[str],
    placed: Mapping[str, Mapping[str, Parameter]],
) -> tuple[dict[str, Any], list[Buffer]]:
    told: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if request_id:
        told["id"] = request_id
    if answer.parameters:
        told["parameters"] = dict(answer.parameters)
    raws: list[Buffer] = []
    told["outputs"] = outputs = []
    for name, array in answer.outputs.items():
        output: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if name in placed:
            output["parameters"] = dict(placed[name])
        elif name in binary:
            raws.append(to_raw(array))
            output["parameters"] = {BINARY_SIZE: len(raws[-1])}
        else:
            output["data"] = data_of(array, name)
        outputs.append(output)
    return told, raws
