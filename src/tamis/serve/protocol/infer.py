"""ModelInfer's messages, read and written quickly.

A client asks for the same thing again and again: what it says besides the numbers and the id is understood once and looked
up by its bytes; the numbers are never copied. Anything out of the ordinary is left to protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from tamis._base import Known, UsageError
from tamis.serve.protocol.messages import Answer, Fault, Parameter, Refusal, RequestedOutput
from tamis.serve.protocol.tensors import datatype_of, dtype_of, elements, from_raw, to_raw

ID, RAW_INPUT, RAW_OUTPUT = 3, 7, 6
STREAM_RESPONSE = 2  # of ModelStreamInferResponse
_LENGTH_DELIMITED = 2
HEAD_BYTES_MOST = 1 << 13
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class InputTensor:
    """An input as it is described; `array` where its numbers stand in the message's own fields."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    array: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """What a request says besides its id and its numbers."""

    model: str
    version: str
    parameters: Mapping[str, Parameter]
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...]


class _Layout(NamedTuple):
    """Where everything was in a message: the next one of the same size is most likely the same but for id and numbers."""

    id_start: int
    id_stop: int
    before: bytes  # the id
    raw_start: int
    between: bytes  # the id and the first raw input
    heads: tuple[tuple[int, int, bytes], ...]  # of the other raw inputs, where they are and what they say
    raws: tuple[tuple[int, int], ...]
    head: RequestHeader


class RequestReader:
    """Reads requests; knows those that came before."""

    def __init__(self) -> None:
        """Know none."""
        self._known: Known[bytes, RequestHeader] = Known()
        self._layouts: Known[int, _Layout] = Known()  # by the size of the message

    def read(self, message: Buffer) -> tuple[RequestHeader, str, list[memoryview]]:
        """Return the head of a request, its id and its raw inputs; raise Refusal where it is no request."""
        view = memoryview(message)
        layout = self._layouts.get(len(view))
        if layout is not None and _is_like(view, layout):
            try:
                request_id = str(view[layout.id_start : layout.id_stop], "utf-8")
            except UnicodeDecodeError:
                raise Refusal(Fault.INVALID, "the id of the request is no text") from None
            return layout.head, request_id, [view[start:stop] for start, stop in layout.raws]
        try:
            key, request_id, raws, places = taken_apart(view, RAW_INPUT)
        except (IndexError, UnicodeDecodeError):
            raise Refusal(Fault.INVALID, "the message is no ModelInferRequest") from None
        head = self._known.get(key)
        if head is None:
            head = _head(key)
            if len(key) <= HEAD_BYTES_MOST and all(given.array is None for given in head.inputs):
                self._known[key] = head
        if key in self._known:
            self._learn(view, head, places)
        return head, request_id, raws

    def _learn(self, view: memoryview, head: RequestHeader, places: list[tuple[int, int, int, int]]) -> None:
        """Note where everything was, if the id comes once and before the numbers, and nothing behind them."""
        ids = [place for place in places if place[0] == ID]
        raws = [place for place in places if place[0] == RAW_INPUT]
        first = raws[0][1] if raws else len(view)
        at_end = all(one[3] == two[1] for one, two in pairwise(raws)) and (
            not raws or raws[-1][3] == len(view)
        )
        if len(ids) > 1 or not at_end or (ids and ids[0][3] > first):
            return
        start, stop = (ids[0][2], ids[0][3]) if ids else (0, 0)
        begin = raws[0][2] if raws else len(view)
        self._layouts[len(view)] = _Layout(
            start,
            stop,
            bytes(view[:start]),
            begin,
            bytes(view[stop:begin]),
            tuple((place[1], place[2], bytes(view[place[1] : place[2]])) for place in raws[1:]),
            tuple((place[2], place[3]) for place in raws),
            head,
        )


def _is_like(view: memoryview, layout: _Layout) -> bool:
    return (
        view[layout.id_stop : layout.raw_start] == layout.between
        and view[: layout.id_start] == layout.before
        and all(view[start:stop] == head for start, stop, head in layout.heads)
    )


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError


def taken_apart(
    view: memoryview, raw_number: int
) -> tuple[bytes, str, list[memoryview], list[tuple[int, int, int, int]]]:
    """Cut the id and the raw tensors out of a message; return what is left, both, and where they were."""
    position, end, kept_from = 0, len(view), 0
    kept: list[bytes] = []
    raws: list[memoryview] = []
    places: list[tuple[int, int, int, int]] = []  # number, beginning with its head and without, end
    request_id = ""
    while position < end:
        start = position
        tag = view[position]
        position += 1
        if tag > 127:
            tag, position = _varint(view, start)
        if tag & 7 != _LENGTH_DELIMITED:  # every field of the message is: protobuf says what is wrong
            raise IndexError
        size = view[position]
        position += 1
        if size > 127:
            size, position = _varint(view, position - 1)
        stop = position + size
        if stop > end:
            raise IndexError
        number = tag >> 3
        if number in {ID, raw_number}:
            if number == raw_number:
                raws.append(view[position:stop])
            else:
                request_id = str(view[position:stop], "utf-8")
            places.append((number, start, position, stop))
            if kept_from < start:
                kept.append(bytes(view[kept_from:start]))
            kept_from = stop
        position = stop
    if kept_from < end:
        kept.append(bytes(view[kept_from:end]))
    return kept[0] if len(kept) == 1 else b"".join(kept), request_id, raws, places


def _head(message: bytes) -> RequestHeader:
    try:
        found = pb.ModelInferRequest.FromString(message)
    except DecodeError:
        raise Refusal(Fault.INVALID, "the message is no ModelInferRequest") from None
    return RequestHeader(
        model=found.model_name,
        version=found.model_version,
        parameters=parameters_of(found.parameters),
        inputs=tuple(_given(one) for one in found.inputs),
        outputs=tuple(RequestedOutput(one.name, parameters_of(one.parameters)) for one in found.outputs),
    )


def parameters_of(found: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return parameters as plain values."""
    return {
        name: getattr(value, kind)
        for name, value in found.items()
        if (kind := value.WhichOneof("parameter_choice"))
    }


def _given(found: Any) -> InputTensor:
    shape, name = tuple(found.shape), found.name
    try:
        dtype = dtype_of(found.datatype)
        array = None
        if found.HasField("contents"):
            kept = _CONTENTS.get(found.datatype)
            values = getattr(found.contents, kept) if kept else ()
            count = elements(shape, f"the input {name!r}")
            if len(values) == count:
                array = np.array(values, dtype).reshape(shape)
    except (UsageError, OverflowError) as error:
        raise Refusal(Fault.INVALID, str(error)) from None
    if array is None and found.HasField("contents"):
        raise Refusal(
            Fault.INVALID,
            f"the input {name!r} holds {len(values)} {found.datatype} in its contents; its shape {list(shape)} takes {count}",
        )
    return InputTensor(name, found.datatype, shape, parameters_of(found.parameters), array)


def arrays_of(
    head: RequestHeader, raws: Sequence[memoryview], shared: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Return a request's inputs; `shared` are those that lie in shared memory, by name."""
    shared = shared or {}
    plain = [given for given in head.inputs if given.array is None and given.name not in shared]
    if len(raws) != len(plain):
        raise Refusal(Fault.INVALID, f"{len(raws)} raw inputs came for {len(plain)} inputs without contents")
    if len({given.name for given in head.inputs}) != len(head.inputs):
        raise Refusal(Fault.INVALID, "an input came twice")
    found: dict[str, np.ndarray] = {}
    following = iter(raws)
    try:
        for given in head.inputs:
            if given.array is not None:
                array = given.array
            else:
                raw = shared[given.name] if given.name in shared else next(following)
                array = from_raw(raw, given.datatype, given.shape, given.name)
            found[given.name] = array
    except UsageError as error:
        raise Refusal(Fault.INVALID, str(error)) from None
    return found


def sizes_of(head: RequestHeader) -> tuple[tuple[np.dtype, tuple[int, ...], int], ...] | None:
    """Return type, shape and bytes of the inputs of a request whose numbers all travel raw, None for any other."""
    if any(given.array is not None or given.datatype == "BYTES" for given in head.inputs):
        return None
    found = []
    for given in head.inputs:
        dtype = dtype_of(given.datatype)
        try:
            found.append(
                (dtype, given.shape, elements(given.shape, f"the input {given.name!r}") * dtype.itemsize)
            )
        except UsageError as error:
            raise Refusal(Fault.INVALID, str(error)) from None
    return tuple(found)


def plain_arrays(
    head: RequestHeader, raws: Sequence[memoryview], sizes: Sequence[tuple[np.dtype, tuple[int, ...], int]]
) -> list[np.ndarray]:
    """Return a request's inputs in its order, where they lie in the message."""
    if len(raws) != len(sizes) or [len(raw) for raw in raws] != [size for _, _, size in sizes]:
        arrays_of(head, raws)  # which says what is wrong
    return [np.ndarray(shape, dtype, raw) for (dtype, shape, _), raw in zip(sizes, raws, strict=True)]


class ResponseWriter:
    """Writes answers; knows the heads of those that it wrote before."""

    def __init__(self) -> None:
        """Know none."""
        self._known: Known[Any, bytes] = Known()

    def write(
        self, answer: Answer, request_id: str, placed: Mapping[str, Mapping[str, Parameter]] | None = None
    ) -> tuple[int, list[Any]]:
        """Return an answer's size and its pieces; outputs that are `placed` in shared memory have parameters instead of bytes."""
        if placed or answer.parameters:
            return _plainly(answer, request_id, placed or {})
        outputs = answer.outputs
        return self.write_plain(
            answer.model, answer.version, tuple(outputs), list(outputs.values()), request_id
        )

    def write_plain(
        self, model: str, version: str, names: tuple[str, ...], arrays: Sequence[np.ndarray], request_id: str
    ) -> tuple[int, list[Any]]:
        """Write outputs and nothing else."""
        key = (model, version, names, *[(array.shape, array.dtype.str) for array in arrays])
        head = self._known.get(key)
        if head is None:
            answer = Answer(model, version, dict(zip(names, arrays, strict=True)))
            head = _described(answer, {}).SerializeToString()
            self._known[key] = head
        pieces: list[Any] = [head]
        size = len(head)
        if request_id:
            encoded = request_id.encode()
            pieces.append(field_head(ID, len(encoded)) + encoded)
            size += len(pieces[-1])
        for array in arrays:
            raw = to_raw(array)
            tag = field_head(RAW_OUTPUT, len(raw))
            pieces += (tag, raw)
            size += len(tag) + len(raw)
        return size, pieces


def field_head(number: int, size: int) -> bytes:
    """Return the tag and the length of a field."""
    if size < 128:
        return bytes((number << 3 | _LENGTH_DELIMITED, size))
    encoded = bytearray((number << 3 | _LENGTH_DELIMITED,))
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _described(answer: Answer, placed: Mapping[str, Mapping[str, Parameter]]) -> Any:
    message = pb.ModelInferResponse(model_name=answer.model, model_version=answer.version)
    set_parameters(message.parameters, answer.parameters)
    for name, array in answer.outputs.items():
        output = message.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
        set_parameters(output.parameters, placed.get(name, {}))
    return message


def _plainly(
    answer: Answer, request_id: str, placed: Mapping[str, Mapping[str, Parameter]]
) -> tuple[int, list[Any]]:
    message = _described(answer, placed)
    message.id = request_id
    for name, array in answer.outputs.items():
        if name not in placed:
            message.raw_output_contents.append(bytes(to_raw(array)))
    encoded = message.SerializeToString()
    return len(encoded), [encoded]


def set_parameters(target: Any, parameters: Mapping[str, Parameter]) -> None:
    """Fill a map of parameters."""
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}[
            type(value)
        ]
        setattr(target[name], kind, value)
