"""Typed documents (JSON and YAML) whose errors give the field, the line and close matches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tamis._base.errors import DocumentError, did_you_mean


class Document(BaseModel):
    """A frozen, typed value that rejects unknown fields."""

    # JSON has no infinities: they are written as strings, which are parsed back to infinities.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="strings")


DocumentT = TypeVar("DocumentT", bound=BaseModel)
OPENING = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
EXPECTED = {  # by the beginning of pydantic's name of the problem
    "model_": "expected a mapping",
    "dict_": "expected a mapping",
    "mapping_": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "string_type": "expected text",
    "int_": "expected an integer",
    "float_": "expected a number",
    "bool_": "expected true or false",
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML has it
YAML_DEPTH_LIMIT = 100
YAML_CHARACTERS_LIMIT = 1_000_000  # about a second of parsing


def parse_document(text: str, kind: type[DocumentT], place: str) -> DocumentT:
    """Parse JSON or YAML into a document type; `place` is the file's name in errors, which give field and line."""
    data = _read(text, place)
    try:
        return kind.model_validate(data)
    except RecursionError as error:
        raise DocumentError(f"{place}: not a well-formed document (nested too deeply)") from error
    except ValidationError as error:
        root = _nodes(text)
        sentences = [_sentence(problem, kind, root) for problem in error.errors()[:5]]
        more = error.error_count() - len(sentences)
        raise DocumentError(
            f"{place}: {'; '.join(sentences)}{f' (and {more} more)' if more else ''}"
        ) from error


def _read(text: str, place: str) -> object:
    """Parse JSON, or YAML without aliases: a few lines with aliases can expand to terabytes."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = error
        if text.lstrip().startswith(("{", "[")) or len(text) > YAML_CHARACTERS_LIMIT:
            raise _malformed(place, error) from error
    try:
        _reject_bombs(text, place)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - it is the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _malformed(place, error) from problem


def _reject_bombs(text: str, place: str) -> None:
    depth = 0
    for token in yaml.scan(text, Loader=_LOADER):
        if isinstance(token, yaml.AliasToken):
            raise DocumentError(
                f"{place}: not a well-formed document (YAML aliases are not allowed: repeat the value)"
            )
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if depth > YAML_DEPTH_LIMIT:
            raise DocumentError(f"{place}: not a well-formed document (nested too deeply)")


def _malformed(place: str, error: Exception) -> DocumentError:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    if isinstance(error, json.JSONDecodeError):
        where = f", line {error.lineno}, column {error.colno}"
    problem = getattr(error, "problem", None) or getattr(error, "msg", None) or str(error)
    if isinstance(error, RecursionError):
        problem = "nested too deeply"
    return DocumentError(f"{place}{where}: not a well-formed document ({problem})")


def _nodes(text: str) -> yaml.Node | None:
    """Return the YAML nodes of a document, which know their lines; JSON is YAML too."""
    if len(text) > YAML_CHARACTERS_LIMIT:
        return None
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _sentence(problem: object, kind: type[BaseModel], root: yaml.Node | None) -> str:
    assert isinstance(problem, dict)  # noqa: S101 - pydantic's ErrorDetails
    location: Sequence[str | int] = problem["loc"]
    field = ".".join(str(part) for part in location)
    where = f"field {field}" if field else "the document"
    position = _position(root, location)
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")
    message = message.replace("expected greater", "expected a number greater").replace(
        "expected less", "expected a number less"
    )
    expected = next((text for start, text in EXPECTED.items() if problem["type"].startswith(start)), "")
    if problem["type"] == "extra_forbidden":
        parent: object = kind
        for part in location[:-1]:
            if (
                isinstance(parent, type)
                and issubclass(parent, BaseModel)
                and str(part) in parent.model_fields
            ):
                parent = _inner(parent.model_fields[str(part)].annotation)
        names = []
        if isinstance(parent, type) and issubclass(parent, BaseModel):
            names = list(parent.model_fields)
        message = f"unknown field; {did_you_mean(str(location[-1]), names)}".rstrip("; ")
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] == "too_short":
        message = "expected a list with at least one valid entry"
    elif problem.get("input") is None:
        message = f"{expected or message}, but it is empty"
    elif isinstance(problem.get("input"), (str, int, float)):
        value = repr(problem["input"])
        value = value if len(value) <= 80 else f"{value[:77]}..."
        separator = "; the value is" if problem["type"] == "value_error" else ", not"
        message = f"{expected or message}{separator} {value}"
    elif expected and isinstance(problem.get("input"), (list, dict)):
        message = f"{expected}, not a {'list' if isinstance(problem['input'], list) else 'mapping'}"
    return f"{where}{f' ({position})' if position else ''}: {message}"


def _position(node: yaml.Node | None, location: Sequence[str | int]) -> str:
    """Return line and column of the deepest node on the path `location`."""
    if node is None:
        return ""
    mark = node.start_mark
    for part in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            child = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = (node.value[part], node.value[part])
        if child is None:
            break
        mark, node = child[0].start_mark, child[1]
    return f"line {mark.line + 1}, column {mark.column + 1}"


def position_in(text: str, location: Sequence[str | int]) -> str:
    """Return line and column of a field in a document, for errors that its type does not detect."""
    return _position(_nodes(text), location)


def _inner(annotation: object) -> object:
    """Return the document type inside a container annotation such as `tuple[Input, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        inner = _inner(argument)
        if inner is not None:
            return inner
    return None
