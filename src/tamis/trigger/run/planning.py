"""Plan a run: inspect the input files and fix the units before the first event, so that a resumed run does the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tamis
from tamis._base import (
    DataError,
    MissingColumnError,
    UnreadableFileError,
    UsageError,
    parse_document,
    progress,
    write_text,
)
from tamis.events import IDENTITY, EventFile, expand, local_path
from tamis.events.lumi_mask import LumiRanges
from tamis.trigger.menu import CompiledMenu, Menu, MenuSource
from tamis.trigger.run.documents import SERVERS, InputFile, Mode, RunPlan
from tamis.trigger.stages.kinds import Kind, kind_of_column

PLAN = "plan.json"
UNIT_EVENTS, UNIT_EVENTS_LEAST, UNIT_BYTES = 5000, 500, 100_000_000
# independent of the number of workers, since the composition of a batch may change a score in its last bit
UNITS_LEAST = 32
FINE_SHARE = 8  # the last eighth of the events comes in small units, so that workers finish together
FILES_OPEN = 2
CLUSTERS_MOST = 10_000
_IDENTITY_KIND = "uint64"
_NUMERIC_TYPE = re.compile(r"(var \* |\d+ \* )?(\?)?(bool|u?int\d+|float\d+)")


def make_plan(
    compiled: CompiledMenu,
    files: Sequence[str | Path],
    *,
    mode: Mode,
    tree: str | None,
    unit_events: int | None,
    lumi_mask: LumiRanges | None = None,
    held: dict[int, EventFile] | None = None,
) -> RunPlan:
    """Check that every file has the columns that the menu reads, and return the plan.

    The first files are left open in `held`, for the workers of this process.
    """
    if unit_events is not None and unit_events < 1:
        raise UsageError(f"unit_events must be at least 1, not {unit_events}")
    source = compiled.source
    tree = tree if tree is not None else source.menu.source.tree
    aliases = source.menu.source.aliases
    open_file = partial(EventFile, tree=tree, aliases=aliases)
    urls = expand(files)
    with progress("inspecting files", len(urls), "files") as advance:
        found = []
        for index, url in enumerate(urls):
            found.append(
                _inspect(
                    compiled,
                    url,
                    open_file,
                    index,
                    held,
                    clusters=unit_events is None,
                    masked=lumi_mask is not None,
                )
            )
            advance(1)
    if all(file.problem for file in found):
        raise UnreadableFileError(f"no file can be read: {found[0].problem}")
    servers: dict[str, Any] = {}
    if (remote := source.remote) is not None:  # without the token, which workers take from their environment
        values = (
            remote.servers,
            remote.fallback,
            remote.timeout_s,
            remote.ca,
            remote.certificate,
            remote.key,
        )
        servers = dict(zip(SERVERS, values, strict=True))
    return RunPlan(
        tamis=tamis.__version__,
        menu=source.text,
        place=source.place,
        folder=str(source.folder),
        mode=mode,
        tree=tree,
        aliases=aliases,
        lumi_mask=None if lumi_mask is None else {run: tuple(ranges) for run, ranges in lumi_mask.items()},
        unit_events=unit_events or _unit_events(compiled, found, open_file, held or {}),
        files=tuple(found),
        fine_events=0 if unit_events else sum(file.entries for file in found) // FINE_SHARE,
        **servers,
    )


def check_files(compiled: CompiledMenu, files: Sequence[str | Path], tree: str | None = None) -> list[str]:
    """Check that files have the columns that the menu reads, with types that fit; return the files."""
    source = compiled.menu.source
    urls = expand(files)
    for url in urls:
        with EventFile(url, tree if tree is not None else source.tree, aliases=source.aliases) as file:
            _check_columns(compiled, file)
    return urls


def _unit_events(
    compiled: CompiledMenu,
    files: Sequence[InputFile],
    open_file: Callable[..., EventFile],
    held: dict[int, EventFile],
) -> int:
    """Return the events per unit: as many as fit in memory, but enough units to keep several workers busy to the end."""
    index = next(i for i, file in enumerate(files) if not file.problem)
    with nullcontext(held[index]) if index in held else open_file(files[index].url, index=index) as file:
        try:
            per_event = file.bytes_per_event(file.choose(compiled.program.reads))
        except (
            UnreadableFileError
        ):  # some formats read the first events for it; if these are broken, the unit reports it
            per_event = 0.0
    fitting = min(UNIT_EVENTS, int(UNIT_BYTES / max(per_event, 1.0)))
    clusters = np.diff(files[index].clusters) if len(files[index].clusters) > 1 else np.zeros(1, int)
    each = sum(file.entries for file in files) // UNITS_LEAST
    # units smaller than a cluster would decode it several times
    return max(1, min(fitting, max(UNIT_EVENTS_LEAST, each, int(np.median(clusters)))))


def _inspect(
    compiled: CompiledMenu,
    url: str,
    open_file: Callable[..., EventFile],
    index: int,
    held: dict[int, EventFile] | None,
    *,
    clusters: bool,
    masked: bool,
) -> InputFile:
    local = local_path(url)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(open_file(url, index=index))
            _check_columns(compiled, file)
            if masked and {"run", "luminosityBlock"} & set(file.synthesised):
                raise DataError(
                    f"{url} has no run and luminosityBlock, so a luminosity mask cannot select its events"
                )
            size = local.stat().st_size if local is not None and local.exists() else None
            begins = tuple(file.clusters(file.choose(compiled.program.reads))) if clusters else ()
            if held is not None and len(held) < FILES_OPEN:
                held[index] = file
                stack.pop_all()
            return InputFile(url=url, entries=file.entries, bytes=size, clusters=begins[:CLUSTERS_MOST])
    except UnreadableFileError as error:
        return InputFile(url=url, problem=str(error))


def _check_columns(compiled: CompiledMenu, file: EventFile) -> None:
    """Check that a file has the columns that the menu reads, with numeric types."""
    program, menu = compiled.program, compiled.menu
    users: dict[str, str] = {}  # the first operation that reads a column
    for operation in reversed(program.operations):
        reader = operation.stage or operation.expression
        if reader is not None:
            users |= dict.fromkeys(reader.reads, operation.label)
    for column in program.reads:
        kind = _IDENTITY_KIND if column in IDENTITY else file.type_of(column)
        by = f", which {users[column]!r} reads" if column in users else ""
        if kind is None and column in file.opaque:
            raise MissingColumnError(
                f"{file.url}: the column {column!r}{by} cannot be read: {file.opaque[column]}"
            )
        if kind is None:
            raise MissingColumnError(f"{file.url} has no column {column!r}{by}{file.why_missing(column)}")
        if not _NUMERIC_TYPE.fullmatch(kind):
            raise DataError(
                f"{file.url}: the column {column!r} has the type {kind}; a menu reads numbers and lists of numbers"
            )
    compiled.check_types(lambda column: _kind(file, column))
    for column, kind in menu.source.columns.items():
        found = file.type_of(column)
        if found != kind:
            hint = "" if found else file.why_missing(column)
            raise DataError(
                f"{file.url}: the menu's source declares {column!r} as {kind}, the file has {found or 'no such column'}{hint}"
            )
    for stream in menu.streams.values():
        if stream.keep != "all":
            file.choose(compiled.columns_to_keep(stream, file))


def _kind(file: EventFile, column: str) -> Kind:
    """Return the kind of a column of a file."""
    if column in IDENTITY:
        return kind_of_column(_IDENTITY_KIND)
    return kind_of_column(file.type_of(column), file.collection_of(column))


def write_plan(out: Path, plan: RunPlan) -> None:
    """Write the plan into the folder of the run."""
    write_text(out / PLAN, plan.model_dump_json(indent=1) + "\n")


def read_plan(out: Path) -> RunPlan | None:
    """Return the plan of the run in a folder, or None."""
    path = out / PLAN
    return parse_document(path.read_text(encoding="utf-8"), RunPlan, str(path)) if path.is_file() else None


def menu_of_plan(plan: RunPlan) -> MenuSource:
    """Return the menu of a plan."""
    menu = parse_document(plan.menu, Menu, plan.place)
    source = MenuSource(menu, plan.menu, plan.place, Path(plan.folder), plan.remote)
    return source.with_aliases(plan.aliases)


def check_same(old: RunPlan, new: RunPlan, out: Path) -> None:
    """Check that a resumed run has the menu, the mode and the files that it was started with."""
    if old.menu != new.menu:
        raise UsageError(
            f"{out} was started with another menu: resume with that one, or write to another folder"
        )
    if old.mode != new.mode:
        raise UsageError(f"{out} was started in the mode {old.mode}, not {new.mode}: resume in that mode")
    if old.lumi_mask != new.lumi_mask:
        raise UsageError(f"{out} was started with another luminosity mask: resume with the same one")
    if old.aliases != new.aliases:
        raise UsageError(f"{out} was started with other aliases: resume with the same --alias options")
    before, now = ({(f.url, f.entries, f.bytes) for f in plan.files} for plan in (old, new))
    for url, entries, size in [*sorted(before - now, key=str), *sorted(now - before, key=str)]:
        which = "existed when it was started" if (url, entries, size) in before else "exists now"
        raise UsageError(
            f"{out} was started with other files: {url} with {entries} events and {size} bytes {which}; "
            "resume with the same files, or write to another folder"
        )
