"""Typed documents (JSON and YAML) whose errors give the field, the line and the near misses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tamis._base.errors import DocumentError
from tamis._base.near import did_you_mean


class Document(BaseModel):
    """A frozen, typed value that refuses unknown fields."""

    # JSON has no infinities: they are written as words, which are read back as the numbers they were.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="strings")


D = TypeVar("D", bound=BaseModel)
OPENING = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
YAML_DEPTH_LIMIT = 100
YAML_CHARACTERS_LIMIT = 1_000_000  # the YAML parser takes a second for so much


def parse_document(text: str, kind: type[D], place: str) -> D:
    """Parse JSON or YAML into `kind`; every error in it is told with its field and line."""
    data = _read(text, place)
    try:
        return kind.model_validate(data)
    except RecursionError as error:
        raise DocumentError(f"{place}: not a well-formed document (nested too deeply)") from error
    except ValidationError as error:
        root = _nodes(text)
        told = [_sentence(problem, kind, root) for problem in error.errors()[:5]]
        more = error.error_count() - len(told)
        raise DocumentError(f"{place}: {'; '.join(told)}{f' (and {more} more)' if more else ''}") from error


def _read(text: str, place: str) -> object:
    """Parse JSON, or YAML without aliases: a few lines of them can stand for terabytes."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = error
        if text.lstrip().startswith(("{", "[")) or len(text) > YAML_CHARACTERS_LIMIT:
            raise _malformed(place, error) from error
    try:
        _refuse_bombs(text, place)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _malformed(place, error) from problem


def _refuse_bombs(text: str, place: str) -> None:
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.AliasToken):
            raise DocumentError(
                f"{place}: not a well-formed document (aliases are refused: write values out)"
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
    """Return the document with the line of every value, for messages; JSON is YAML."""
    if len(text) > YAML_CHARACTERS_LIMIT:
        return None
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _sentence(problem: object, kind: type[BaseModel], root: yaml.Node | None) -> str:
    assert isinstance(problem, dict)  # noqa: S101 - pydantic's ErrorDetails
    location: Sequence[str | int] = problem["loc"]
    field = ".".join(str(part) for part in location) or "the document"
    place = _place(root, location)
    message = str(problem["msg"])
    if problem["type"] == "extra_forbidden":
        names = _field_names(kind, location)
        message = f"unknown field; {did_you_mean(str(location[-1]), names)}".rstrip("; ")
    elif problem["type"] == "missing":
        message = "is missing"
    elif isinstance(problem.get("input"), (str, int, float)):
        message = f"{message}, not {_short(problem['input'])}"
    return f"field {field}{f' ({place})' if place else ''}: {message}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _place(node: yaml.Node | None, location: Sequence[str | int]) -> str:
    """Return line and column of the deepest node that `location` reaches."""
    if node is None:
        return ""
    mark = node.start_mark
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            break
        mark, node = found[0].start_mark, found[1]
    return f"line {mark.line + 1}, column {mark.column + 1}"


def place_in(text: str, location: Sequence[str | int]) -> str:
    """Return where in a document a field stands, for messages about what a type alone cannot tell."""
    return _place(_nodes(text), location)


def _field_names(kind: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the names that are allowed where an unknown one stood."""
    current: object = kind
    for part in location[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel) and str(part) in current.model_fields:
            current = _inner(current.model_fields[str(part)].annotation)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _inner(annotation: object) -> object:
    """Return the document type inside a container annotation such as `tuple[Input, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner(argument)
        if found is not None:
            return found
    return None
