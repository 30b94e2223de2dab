"""MkDocs hook: reference tables that are generated from the code whenever the documentation is built.

A line that consists of one directive is replaced by what the code says today:

- `{{ fields tamis.trigger.menu.documents.Menu }}`: the fields of a typed document, nested documents below it
- `{{ commands }}`: every command with its usage, arguments and options
- `{{ exit_codes }}`: the exception classes and their exit codes
- `{{ triton_config }}`: the fields of Triton's `config.pbtxt` and how the server treats each
- `{{ formats }}`: which shipped model finds its inputs in which format of event files
- `{{ format_aliases }}`: the aliases of every format
- `{{ alias_functions }}`: the functions of aliases
- `{{ entry_points tamis.engines }}`: what is registered under an entry-point group
"""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

DIRECTIVE = re.compile(r"^\{\{ (\w+)(?: ([\w.]+))? \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the directives of a page; called by MkDocs."""
    return DIRECTIVE.sub(lambda found: DIRECTIVES[found[1]](*filter(None, [found[2]])), markdown)


def fields(name: str) -> str:
    """Return tables of the fields of a document and of the documents inside it."""
    module, _, attribute = name.rpartition(".")
    waiting, seen, parts = [getattr(importlib.import_module(module), attribute)], set(), []
    while waiting:
        kind = waiting.pop(0)
        if kind in seen:
            continue
        seen.add(kind)
        rows = []
        for field, info in kind.model_fields.items():
            waiting += list(_documents_in(info.annotation))
            required = info.default is PydanticUndefined and info.default_factory is None
            default = "required" if required else _default(info)
            rows.append((f"`{field}`", _type_name(info.annotation), default, info.description or ""))
        summary = inspect.getdoc(kind) or ""
        heading = "" if len(parts) == 0 else f"### {kind.__name__} {{ #{kind.__name__.lower()} }}\n\n"
        parts.append(f"{heading}{summary}\n\n{_table(('field', 'type', 'default', 'meaning'), rows)}")
    return "\n\n".join(parts)


def _documents_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _documents_in(argument)


def _type_name(annotation: object) -> str:
    """Return a type as a reader of JSON or YAML would call it; documents link to their table."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if origin is typing.Annotated:
        constraint = next((c for c in map(str, annotation.__metadata__) if "duration" in c), "")  # type: ignore[attr-defined]
        return "time with its unit" if constraint else _type_name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (tuple, list, frozenset, set):
        inner = [argument for argument in arguments if argument is not Ellipsis]
        return f"list of {' / '.join(dict.fromkeys(map(_type_name, inner)))}"
    if origin is not None and getattr(origin, "__name__", "") in ("dict", "Mapping"):
        return f"mapping of {_type_name(arguments[0])} to {_type_name(arguments[1])}"
    if arguments:
        return " or ".join(_type_name(argument) for argument in arguments if argument is not type(None))
    names = {str: "text", int: "integer", float: "number", bool: "true or false", object: "any"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)).replace("|", "or"))  # type: ignore[call-overload]


def _default(info: Any) -> str:
    value = info.default_factory() if info.default_factory is not None else info.default
    if value is None:
        return ""
    if isinstance(value, BaseModel) or value in ((), {}, [], ""):
        return "empty"
    return f"`{value}`"


def commands() -> str:
    """Return a section for each command: usage, what it does, arguments and options."""
    from tamis.cli.app import COMMANDS, app

    parts = []
    for name in sorted(COMMANDS):
        command = app.get_command(click.Context(app), name)
        parts.append(_command(name, command, "##"))  # type: ignore[arg-type]
        if isinstance(command, click.Group):
            parts += [_command(f"{name} {inner}", part, "###") for inner, part in command.commands.items()]
    return "\n\n".join(parts)


def _command(name: str, command: click.Command, heading: str) -> str:
    context = click.Context(command, info_name=f"tamis {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    rows = []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden and parameter.name != "help":
            record = parameter.get_help_record(context)
            if record is not None:
                rows.append((f"`{record[0]}`", record[1]))
    epilog = f"\n\n{command.epilog}" if command.epilog else ""
    help_text = inspect.cleandoc(command.help or "")
    table = _table(("option", "meaning"), rows)
    return f"{heading} {name}\n\n{help_text}\n\n```text\ntamis {name} {usage}\n```\n\n{table}{epilog}"


def exit_codes() -> str:
    """Return a table of the exception tree with exit codes."""
    from tamis import _base

    def branch(kind: type[_base.TamisError], depth: int) -> Iterator[tuple[str, str, str]]:
        summary = (inspect.getdoc(kind) or "").splitlines()[0]
        yield f"{'&emsp;' * depth}`{kind.__name__}`", str(kind.exit_code), summary
        for child in sorted(kind.__subclasses__(), key=lambda child: (child.exit_code, child.__name__)):
            yield from branch(child, depth + 1)

    return _table(("exception", "exit code", "meaning"), list(branch(_base.TamisError, 0)))


def triton_config() -> str:
    """Return a table of the fields of `config.pbtxt`."""
    from tritonclient.grpc import model_config_pb2

    from tamis.serve.models import config_text

    rejected, ignored = config_text._UNSUPPORTED, config_text._WITHOUT_EFFECT
    rows = []
    for field in model_config_pb2.ModelConfig.DESCRIPTOR.fields:
        kind = (
            field.message_type.name
            if field.message_type
            else field.cpp_type_name
            if hasattr(field, "cpp_type_name")
            else "value"
        )
        effect = "used"
        if field.name in rejected:
            effect = f"rejected: {rejected[field.name]}"
        elif field.name in ignored:
            effect = f"no effect: {ignored[field.name]}"
        rows.append((f"`{field.name}`", kind, effect))
    return _table(("field", "type", "here"), rows)


def registered(group: str) -> str:
    """Return a table of an entry-point group."""
    found = sorted(entry_points(group=group), key=lambda entry: entry.name)
    rows = []
    for entry in found:
        module, _, attribute = entry.value.partition(":")
        rows.append((f"`{entry.name}`", f"`{module}.{attribute}`"))
    return _table(("name", "implemented by"), rows)


def formats() -> str:
    """Return a table of the shipped models that read events against the formats of event files."""
    from tamis.events.profile import profiles
    from tamis.trigger import models_on

    known = profiles()
    rows = []
    for fit in models_on(()):
        cells = []
        for profile in known:
            lacking = [column for column in fit.missing if not profile.serves(column)]
            nearby = any("_within(" in text for c in fit.missing for text in profile.aliases.get(c, ()))
            cells.append(f"no `{lacking[0]}`" if lacking else "yes, by distance" if nearby else "yes")
        rows.append((f"`{fit.model}`", *cells))
    return _table(("model", *(profile.format for profile in known)), rows)


def format_aliases() -> str:
    """Return what every format is recognised by, its aliases, and what it does not hold."""
    from tamis.events.profile import profiles

    parts = []
    for profile in profiles():
        by = " or ".join(" with ".join(f"`{c}`" for c in columns) for columns in profile.recognised_by)
        aliases = [
            (f"`{name}`", "; else ".join(f"`{text}`" for text in texts))
            for name, texts in profile.aliases.items()
        ]
        table = f"\n\n{_table(('column', 'read from'), aliases)}" if aliases else ""
        lacks = "".join(
            f"\n- `{prefix}{'*' if prefix.endswith('_') else ''}`: {why}"
            for prefix, why in profile.lacks.items()
        )
        parts.append(
            f"### {profile.format}\n\n{profile.about} Recognised by {by}.{table}"
            + (f"\n\nNot there:\n{lacks}" if lacks else "")
        )
    return "\n\n".join(parts)


def alias_functions() -> str:
    """Return a table of the functions of aliases."""
    from tamis.events.alias_functions import ALIAS_FUNCTIONS

    rows = [
        (f"`{name}({', '.join(columns)})`", inspect.getdoc(function) or "")
        for name, (columns, function) in ALIAS_FUNCTIONS.items()
    ]
    return _table(("function", "value"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


DIRECTIVES: dict[str, Callable[..., str]] = {
    "fields": fields,
    "commands": commands,
    "exit_codes": exit_codes,
    "triton_config": triton_config,
    "entry_points": registered,
    "formats": formats,
    "format_aliases": format_aliases,
    "alias_functions": alias_functions,
}
