"""Shared options, and output as tables for people and JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from pydantic import BaseModel

from tamis._base import UsageError

F = Callable[..., Any]
PIPED_WIDTH = 160  # of output that is not a terminal
_FRAME = 3  # of a column of a table: a line, and a space on each side


def json_option(function: F) -> F:
    """Add the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(
        function
    )


def tls_options(function: F) -> F:
    """Add the options `--ca`, `--certificate` and `--key` for TLS clients."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for name, description in (
        ("key", "TLS: private key of the client certificate (PEM)."),
        ("certificate", "TLS: client certificate, if servers require one (PEM)."),
        ("ca", "TLS: CA that signs the servers' certificates; default: the system's (PEM)."),
    ):
        function = click.option(f"--{name}", type=file, help=description)(function)
    return function


def threads_option(function: F) -> F:
    """Add the option `--threads`."""
    return click.option(
        "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads per engine."
    )(function)


def print_json(document: BaseModel | dict[str, Any] | Sequence[BaseModel]) -> None:
    """Print one JSON document; NaN and infinities become null, which JSON lacks."""
    if isinstance(document, BaseModel):
        data: Any = document.model_dump(mode="json")
    elif isinstance(document, dict):
        data = document
    else:
        data = [entry.model_dump(mode="json") for entry in document]
    click.echo(json.dumps(_finite(data), indent=2))


def _finite(data: Any) -> Any:
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return data


def wide_option(function: F) -> F:
    """Add the option `--wide`."""
    return click.option(
        "--wide",
        is_flag=True,
        help="Print all columns of tables, also where the terminal has no room for them.",
    )(function)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    keys: int = 1,
    extra: Sequence[str] = (),
    wide: bool = True,
) -> None:
    """Print a table with left-aligned key columns and right-aligned values.

    On a narrow terminal `extra` columns are left out, unless `wide`; other columns that do not fit follow in further parts, each
    of which repeats the key columns. Words are never broken.
    """
    from rich.console import Console  # only here: loading it takes 50 ms
    from rich.table import Table

    cells = [[str(cell) for cell in row] for row in rows]
    lengths = column_lengths(columns, cells, keys)
    room = screen_width()
    parts = fitting_columns(lengths, keys, room)
    if extra and not wide and len(parts) > 1:
        kept = [index for index, name in enumerate(columns) if name not in extra]
        columns, cells = [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]
        lengths = [lengths[i] for i in kept]
        parts = fitting_columns(lengths, keys, room)
        title = f"{title} (more columns: --wide)"
    width = max(room, *(1 + sum(_FRAME + lengths[index].word for index in part) for part in parts))
    # numbers between colons, as in the event 355100:100:7, are names of emoji
    console = Console(width=width, highlight=False, emoji=False, markup=False)
    for number, shown in enumerate(parts):
        table = Table(
            title=None if number else title, title_justify="left", title_style="bold", header_style="bold"
        )
        widths = _widths([lengths[index] for index in shown], width)
        for index, column_width in zip(shown, widths, strict=True):
            table.add_column(
                columns[index],
                justify="left" if index < keys else "right",
                width=column_width,
                no_wrap=index >= keys,
            )
        for row in cells:
            table.add_row(*(row[index] for index in shown))
        console.print(table)


class Length(NamedTuple):
    """The lengths of the longest word and of the longest text of a column."""

    word: int
    text: int


def column_lengths(columns: Sequence[str], cells: Sequence[Sequence[str]], keys: int) -> list[Length]:
    """Return the lengths of every column; a value is one word, since only key columns are wrapped."""
    found = []
    for index, name in enumerate(columns):
        texts = [name, *(row[index] for row in cells)]
        words = [word for text in texts for word in text.split()] if index < keys else texts
        found.append(Length(max(map(len, words), default=0), max(map(len, texts))))
    return found


def fitting_columns(lengths: Sequence[Length], keys: int, width: int) -> list[list[int]]:
    """Return the columns of each part of a table, so that every part is at most `width` wide if words allow it; key columns may wrap."""
    whole = sum(_FRAME + length.text for length in lengths[:keys])
    fixed = max(min(whole, width // 2), sum(_FRAME + length.word for length in lengths[:keys]))
    parts, room = [list(range(keys))], width - fixed - 1
    for index in range(keys, len(lengths)):
        needed = _FRAME + lengths[index].text
        if needed > room and len(parts[-1]) > keys:
            parts.append(list(range(keys)))
            room = width - fixed - 1
        parts[-1].append(index)
        room -= needed
    return parts


def _widths(lengths: Sequence[Length], width: int) -> list[int]:
    """Return the width of each column; the room that is left goes to the columns that lack the least.

    rich would shrink the widest column alone, even below its longest word, and then cut the table off at the edge.
    """
    widths = [length.word for length in lengths]
    left = width - 1 - sum(_FRAME + length.word for length in lengths)
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place].text - lengths[place].word):
        more = max(0, min(left, lengths[place].text - widths[place]))
        widths[place] += more
        left -= more
    return widths


def screen_width() -> int:
    """Return the width of the terminal, or that of output that is not printed to one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH


def print_text(text: str) -> None:
    """Print a sentence, wrapped between words to the width of the terminal; further lines are indented."""
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    lines = textwrap.wrap(
        text, screen_width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    click.echo("\n".join(lines))


def say(text: str) -> None:
    """Print a line to standard error, so that standard output stays clean for pipes."""
    click.echo(text, err=True)


def sizes_by_dimension(dims: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the sizes in `--dims NAME=SIZE,FIRST..LAST` by the name of their dimension."""
    found: dict[str, tuple[int, ...]] = {}
    for text in dims:
        name, _, sizes = text.partition("=")
        numbers = [_sizes(size.strip()) for size in sizes.split(",")]
        if not name.strip() or not all(numbers):
            raise UsageError(
                f"--dims {text}: write NAME=SIZE, NAME=SIZE,SIZE or NAME=FIRST..LAST, such as particles=16,32 or particles=1..200"
            )
        if name.strip() in found:
            raise UsageError(
                f"--dims names {name.strip()} twice; name all its sizes at once, as in {name.strip()}=16,32"
            )
        found[name.strip()] = tuple(dict.fromkeys(size for part in numbers for size in part))
    return found


def _sizes(text: str) -> range:
    """Return the sizes of a number or a range, none if it is neither."""
    first, dots, last = text.partition("..")
    ends = (first, last) if dots else (first, first)
    if not all(one.isdecimal() and len(one) < 6 and int(one) for one in ends):
        return range(0)
    return range(int(ends[0]), int(ends[1]) + 1)


def engines_of(names: str, *, rounded: bool = False) -> list[str]:
    """Return the engines in `--engine`: one, several separated by commas, or `all` local ones; `rounded` adds those that round weights."""
    from tamis._base import MissingExtraError
    from tamis.engines import engine_names, find_engine

    if names != "all":
        chosen = [name.strip() for name in names.split(",") if name.strip()]
        if "all" in chosen:
            raise UsageError(f"--engine is {names!r}; use either all, or a list of engines without all")
        if not chosen:
            raise UsageError(f"--engine is {names!r}, which names no engine")
        return chosen
    available = []
    for name in engine_names():
        if name == "auto":
            continue  # it only delegates to the others
        try:
            engine = find_engine(name)
            if (
                engine.computes
                and engine.local
                and not engine.emulates
                and (rounded or not engine.rounds_weights)
            ):
                engine.prepare()
                available.append(name)
        except MissingExtraError as error:
            say(f"left out: {error}")
    return available
