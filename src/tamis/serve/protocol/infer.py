"""Fast reading and writing of ModelInfer messages.

Clients repeat their requests with other data. The header of a request, all but its id and its raw tensors, is parsed once and
then looked up by its bytes; raw tensors are never copied. Uncommon messages are left to protobuf.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from tamis._base import UsageError
from tamis.serve.protocol.messages import Answer, BoundedCache, Fault, Parameter, Refusal, RequestedOutput
from tamis.serve.protocol.tensors import datatype_of, dtype_of, element_count, from_raw, to_raw

ID, RAW_INPUT, RAW_OUTPUT = 3, 7, 6
STREAM_RESPONSE = 2  # of ModelStreamInferResponse
_LENGTH_DELIMITED = 2
MAX_CACHED_HEADER_BYTES = 1 << 13
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
    """An input of a request; `array` is set where the header itself holds the data."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    array: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """A request without its id and its raw tensors."""

    model: str
    version: str
    parameters: Mapping[str, Parameter]
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...]


class _Layout(NamedTuple):
    """Positions in a message: the next one of the same size most likely differs in id and raw tensors only."""

    id_start: int
    id_stop: int
    before: bytes  # up to the id
    raw_start: int
    between: bytes  # from the id to the first raw input
    tags: tuple[tuple[int, int, bytes], ...]  # begin, end and bytes of tag and length of the other raw inputs
    raws: tuple[tuple[int, int], ...]
    header: RequestHeader


class RequestReader:
    """Reads requests, and caches their headers."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._known: BoundedCache[bytes, RequestHeader] = BoundedCache()
        self._layouts: BoundedCache[int, _Layout] = BoundedCache()  # by the size of the message

    def read(self, message: Buffer) -> tuple[RequestHeader, str, list[memoryview]]:
        """Return header, id and raw inputs of a request; raise Refusal if the message is not a request."""
        view = memoryview(message)
        layout = self._layouts.get(len(view))
        if (
            layout is not None
            and view[layout.id_stop : layout.raw_start] == layout.between
            and view[: layout.id_start] == layout.before
            and all(view[start:stop] == tag for start, stop, tag in layout.tags)
        ):
            try:
                request_id = str(view[layout.id_start : layout.id_stop], "utf-8")
            except UnicodeDecodeError:
                raise Refusal(Fault.INVALID, "the id of the request is not valid UTF-8") from None
            return layout.header, request_id, [view[start:stop] for start, stop in layout.raws]
        try:
            key, request_id, raws, places = split_message(view, RAW_INPUT)
        except (IndexError, UnicodeDecodeError):
            raise Refusal(Fault.INVALID, "the message is not a ModelInferRequest") from None
        header = self._known.get(key)
        if header is None:
            header = _header(key, has_raws=bool(raws))
            if len(key) <= MAX_CACHED_HEADER_BYTES and all(tensor.array is None for tensor in header.inputs):
                self._known[key] = header
        if key in self._known:
            self._cache_layout(view, header, places)
        return header, request_id, raws

    def _cache_layout(
        self, view: memoryview, header: RequestHeader, places: list[tuple[int, int, int, int]]
    ) -> None:
        """Cache the layout if the id occurs at most once, before the raw inputs, and nothing follows these."""
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
            header,
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


def split_message(
    view: memoryview, raw_number: int
) -> tuple[bytes, str, list[memoryview], list[tuple[int, int, int, int]]]:
    """Return a message without its id and raw tensors, the id, the raw tensors, and the positions of the latter two."""
    position, end, rest_from = 0, len(view), 0
    rest: list[bytes] = []
    raws: list[memoryview] = []
    places: list[tuple[int, int, int, int]] = []  # field number; begin with tag, begin without, end
    request_id = ""
    while position < end:
        start = position
        tag = view[position]
        position += 1
        if tag > 127:
            tag, position = _varint(view, start)
        if tag & 7 != _LENGTH_DELIMITED:  # as no field of the message is
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
            if rest_from < start:
                rest.append(bytes(view[rest_from:start]))
            rest_from = stop
        position = stop
    if rest_from < end:
        rest.append(bytes(view[rest_from:end]))
    return rest[0] if len(rest) == 1 else b"".join(rest), request_id, raws, places


def _header(encoded: bytes, *, has_raws: bool) -> RequestHeader:
    try:
        message = pb.ModelInferRequest.FromString(encoded)
    except DecodeError:
        raise Refusal(Fault.INVALID, "the message is not a ModelInferRequest") from None
    given = next((one.name for one in message.inputs if one.HasField("contents")), None)
    if has_raws and given is not None:  # clients of Triton compare the words
        raise Refusal(
            Fault.INVALID,
            f"contents field must not be specified when using raw_input_contents for {given!r} for model {message.model_name!r}",
        )
    return RequestHeader(
        model=message.model_name,
        version=message.model_version,
        parameters=parameters_of(message.parameters),
        inputs=tuple(_input(one) for one in message.inputs),
        outputs=tuple(RequestedOutput(one.name, parameters_of(one.parameters)) for one in message.outputs),
    )


def parameters_of(parameters: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the plain values of a message's parameters."""
    return {
        name: getattr(value, kind)
        for name, value in parameters.items()
        if (kind := value.WhichOneof("parameter_choice"))
    }


def _input(message: Any) -> InputTensor:
    shape, name = tuple(message.shape), message.name
    try:
        dtype = dtype_of(message.datatype)
        array = None
        if message.HasField("contents"):
            field_name = _CONTENTS.get(message.datatype)
            values = getattr(message.contents, field_name) if field_name else ()
            count = element_count(shape, f"the input {name!r}")
            if len(values) == count:
                array = np.array(values, dtype).reshape(shape)
    except (UsageError, OverflowError) as error:
        raise Refusal(Fault.INVALID, str(error)) from None
    if array is None and message.HasField("contents"):
        raise Refusal(
            Fault.INVALID,
            f"the input {name!r} has {len(values)} {message.datatype} values; its shape {list(shape)} needs {count}",
        )
    return InputTensor(name, message.datatype, shape, parameters_of(message.parameters), array)


def arrays_of(
    header: RequestHeader, raws: Sequence[memoryview], shared: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Return the inputs of a request by name; `shared` has the bytes of those that are in shared memory."""
    shared = shared or {}
    plain = [tensor for tensor in header.inputs if tensor.array is None and tensor.name not in shared]
    if len(raws) != len(plain):
        raise Refusal(
            Fault.INVALID, f"the request has {len(raws)} raw inputs for {len(plain)} inputs without contents"
        )
    if len({tensor.name for tensor in header.inputs}) != len(header.inputs):
        raise Refusal(Fault.INVALID, "two inputs of the request have the same name")
    arrays: dict[str, np.ndarray] = {}
    following = iter(raws)
    try:
        for tensor in header.inputs:
            if tensor.array is not None:
                array = tensor.array
            else:
                raw = shared[tensor.name] if tensor.name in shared else next(following)
                array = from_raw(raw, tensor.datatype, tensor.shape, tensor.name)
            arrays[tensor.name] = array
    except UsageError as error:
        raise Refusal(Fault.INVALID, str(error)) from None
    return arrays


def sizes_of(header: RequestHeader) -> tuple[tuple[np.dtype, tuple[int, ...], int], ...] | None:
    """Return dtype, shape and bytes of each input; None if some are strings or in the header itself."""
    if any(tensor.array is not None or tensor.datatype == "BYTES" for tensor in header.inputs):
        return None
    sizes = []
    for tensor in header.inputs:
        dtype = dtype_of(tensor.datatype)
        try:
            count = element_count(tensor.shape, f"the input {tensor.name!r}")
        except UsageError as error:
            raise Refusal(Fault.INVALID, str(error)) from None
        sizes.append((dtype, tensor.shape, count * dtype.itemsize))
    return tuple(sizes)


def plain_arrays(
    header: RequestHeader, raws: Sequence[memoryview], sizes: Sequence[tuple[np.dtype, tuple[int, ...], int]]
) -> list[np.ndarray]:
    """Return the inputs in the order of the request, as views of the message; `sizes` is from `sizes_of`."""
    if len(raws) != len(sizes) or [len(raw) for raw in raws] != [size for _, _, size in sizes]:
        arrays_of(header, raws)  # raises Refusal with the reason
    return [np.ndarray(shape, dtype, raw) for (dtype, shape, _), raw in zip(sizes, raws, strict=True)]


class ResponseWriter:
    """Writes answers, and caches their headers."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._known: BoundedCache[Any, bytes] = BoundedCache()

    def write(self, answer: Answer, request_id: str, placed: Container[str] = ()) -> tuple[int, list[Any]]:
        """Return size and pieces of an answer; `placed` are the names of the outputs in shared memory."""
        if placed or answer.parameters:
            return _write_uncached(answer, request_id, placed)
        outputs = answer.outputs
        return self.write_plain(
            answer.model, answer.version, tuple(outputs), list(outputs.values()), request_id
        )

    def write_plain(
        self, model: str, version: str, names: tuple[str, ...], arrays: Sequence[np.ndarray], request_id: str
    ) -> tuple[int, list[Any]]:
        """Return size and pieces of an answer without parameters."""
        key = (model, version, names, *[(array.shape, array.dtype.str) for array in arrays])
        header = self._known.get(key)
        if header is None:
            answer = Answer(model, version, dict(zip(names, arrays, strict=True)))
            header = _message(answer).SerializeToString()
            self._known[key] = header
        pieces: list[Any] = [header]
        size = len(header)
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
    """Return tag and length of a length-delimited protobuf field."""
    if size < 128:
        return bytes((number << 3 | _LENGTH_DELIMITED, size))
    encoded = bytearray((number << 3 | _LENGTH_DELIMITED,))
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _message(answer: Answer) -> Any:
    message = pb.ModelInferResponse(model_name=answer.model, model_version=answer.version)
    set_parameters(message.parameters, answer.parameters)
    for name, array in answer.outputs.items():
        message.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
    return message


def _write_uncached(answer: Answer, request_id: str, placed: Container[str]) -> tuple[int, list[Any]]:
    message = _message(answer)
    message.id = request_id
    for name, array in answer.outputs.items():
        # clients count: one entry per output, empty for one in shared memory
        message.raw_output_contents.append(b"" if name in placed else bytes(to_raw(array)))
    encoded = message.SerializeToString()
    return len(encoded), [encoded]


def set_parameters(target: Any, parameters: Mapping[str, Parameter]) -> None:
    """Fill a message's map of parameters."""
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}[
            type(value)
        ]
        setattr(target[name], kind, value)
