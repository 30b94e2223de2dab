"""Compile a menu: resolve every name, open every model, and order the operations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

from tamis._base import DocumentError, TamisError, UsageError, did_you_mean, parse_document, position_in
from tamis.bundle import Bundle
from tamis.engines import Remote
from tamis.events import EventFile
from tamis.events.detector import DetectorFiles
from tamis.trigger.menu.documents import Menu, StageSpec, StreamSpec, TrackingSpec
from tamis.trigger.menu.latency import PathLatency, path_latency, stage_firmware
from tamis.trigger.menu.program import Condition, MenuProgram, PathStep, order
from tamis.trigger.stages import (
    Expression,
    Stage,
    TrackChoice,
    define_stage,
    keep_stage,
    model_stages,
    parse_expression,
    python_stage,
    tracks_stage,
    user_stage,
)
from tamis.trigger.stages.expression import KindOf, Threshold
from tamis.trigger.stages.kinds import UNKNOWN, Kind, kind_of_column
from tamis.trigger.stages.stage import UserStage

REMOTE = "remote"  # the engine that runs models on servers
FIRMWARE = "firmware"  # the engine that emulates hardware


@dataclass(frozen=True)
class MenuSource:
    """A menu with its text and its file, for error messages and for the files that it names."""

    menu: Menu
    text: str
    place: str
    folder: Path
    remote: Remote | None = None  # servers for the models of stages that name no engine

    def with_aliases(self, aliases: Mapping[str, str]) -> MenuSource:
        """Return the menu with further aliases for columns of the files, which override its own."""
        own = self.menu.source
        source = own.model_copy(update={"aliases": {**own.aliases, **aliases}})
        return replace(self, menu=self.menu.model_copy(update={"source": source}))

    def engine_of(self, spec: StageSpec) -> str:
        """Return the engine of a stage: `firmware` in a Level-1 menu, `remote` if servers are set and the stage names none."""
        named = "engine" in spec.model_fields_set
        if self.menu.hardware is not None and not named:
            return FIRMWARE
        return REMOTE if self.remote is not None and not named else spec.engine

    def wrong(self, location: Sequence[str | int], problem: str) -> DocumentError:
        """Return an error that names a field of the menu and its line."""
        field = ".".join(map(str, location))
        where = position_in(self.text, location)
        return DocumentError(f"{self.place}: field {field}{f' ({where})' if where else ''}: {problem}")


def load_menu(path: str | Path) -> MenuSource:
    """Read a menu from a file, or a shipped menu by its name."""
    path = _shipped(path) if not Path(path).exists() else Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the menu {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the menu {path} cannot be read: it is not a text file") from error
    return MenuSource(parse_document(text, Menu, str(path)), text, str(path), path.resolve().parent)


def _shipped(name: str | Path) -> Path:
    """Return the file of a shipped menu."""
    found = Path(str(files("tamis.trigger"))) / "menus"
    names = sorted(path.stem for path in found.glob("*.yaml"))
    if str(name) not in names:
        folder = Path(name).parent
        beside = sorted(path.name for path in folder.glob("*.y*ml")) if folder.is_dir() else []
        raise UsageError(
            f"there is no menu {str(name)!r}; {did_you_mean(Path(name).name, [*names, *beside])}".rstrip("; ")
        )
    return found / f"{name}.yaml"


def menu_of(menu: Menu) -> MenuSource:
    """Return the source of a menu that was built in code."""
    return MenuSource(
        menu, json.dumps(menu.model_dump(mode="json"), indent=1), f"the menu {menu.menu}", Path.cwd()
    )


class CompiledMenu:
    """A program with its opened models, to be closed after use."""

    def __init__(
        self,
        source: MenuSource,
        stages: dict[str, Stage],
        program: MenuProgram,
        threshold: Threshold,
        latencies: Mapping[str, PathLatency],
    ) -> None:
        """Store a program and its stages; `latencies` are those of the paths of a Level-1 menu."""
        self.source, self.stages, self.program, self.threshold = source, stages, program, threshold
        self.latencies = latencies

    @property
    def menu(self) -> Menu:
        """Return the menu."""
        return self.source.menu

    def columns_to_keep(self, stream: StreamSpec, file: EventFile) -> list[str]:
        """Return the names and globs that a stream keeps of a file; columns of stages are kept anyway."""
        if stream.keep == "all":
            return ["*"]
        added = [column for stage in self.stages.values() for column in stage.adds]
        return [
            name
            for name in stream.keep
            if not any(fnmatchcase(column, name) for column in added)
            or (name not in added and any(fnmatchcase(column, name) for column in file.columns))
        ]

    def check_types(self, column_kind: KindOf) -> None:
        """Check the types in every stage, condition and histogram; `column_kind` returns the kind of an input column.

        Raises DocumentError with the field and the line: a condition on a list, say, would fail in every event.
        Columns of unknown kind, such as those of a Python stage, are not checked.
        """
        owners = {column: name for name, stage in self.stages.items() for column in stage.adds}
        found: dict[str, Mapping[str, Kind]] = {}

        def kind_of(column: str) -> Kind:
            owner = owners.get(column)
            if owner is None:
                return column_kind(column)
            if owner not in found:
                found[owner] = {}  # stages that depend on each other are unknown to each other
                try:
                    found[owner] = self.stages[owner].kinds(kind_of)
                except DocumentError:
                    raise  # it is about a stage that this one reads
                except UsageError as error:
                    raise self.source.wrong(("stages", owner), str(error)) from error
            return found[owner].get(column, UNKNOWN)

        for column in owners:
            kind_of(column)
        for operation in self.program.operations:
            if operation.expression is None:
                continue
            try:
                operation.expression.check_condition(kind_of)
            except UsageError as error:
                path = self.program.paths[operation.paths[0]]
                step = self.menu.paths[path].steps.index(operation.label)
                raise self.source.wrong(("paths", path, "steps", step), str(error)) from error
        for name, expression in self.program.histograms.items():
            try:
                expression.kind(kind_of)
            except UsageError as error:
                raise self.source.wrong(("histograms", name, "of"), str(error)) from error

    def close(self) -> None:
        """Close the models."""
        for stage in self.stages.values():
            if stage.close is not None:
                stage.close()

    def __enter__(self) -> Self:
        """Return the compiled menu."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the models."""
        self.close()


def compile_menu(source: MenuSource, plugged: dict[str, UserStage] | None = None) -> CompiledMenu:
    """Compile a menu; `plugged` are additional stages from code. Errors name the field and the line."""
    stages: dict[str, Stage] = {}
    try:
        builder = _Builder(source, stages, plugged or {})
        builder.add_stages()
        paths = builder.paths()
        program = order(paths, stages, source.menu, builder.histograms())
        _check_streams(source)
        latencies = builder.latencies(paths)
    except BaseException:
        for stage in stages.values():
            if stage.close is not None:
                stage.close()
        raise
    compiled = CompiledMenu(source, stages, program, builder.threshold, latencies)
    try:
        compiled.check_types(lambda column: kind_of_column(source.menu.source.columns.get(column)))
    except BaseException:
        compiled.close()
        raise
    return compiled


class _Builder:
    """Builds the stages and the steps of paths, with errors that name the field of the menu."""

    def __init__(self, source: MenuSource, stages: dict[str, Stage], plugged: dict[str, UserStage]) -> None:
        self.source, self.stages, self.plugged = source, stages, plugged
        self.bundles: dict[str, Bundle] = {}

    def add_stages(self) -> None:
        """Build every stage of the menu."""
        for name, user in self.plugged.items():
            self._add(user_stage(name, user), ("stages", name))
        for name, spec in self.source.menu.stages.items():
            location = ("stages", name)
            if name in self.plugged:
                raise self.source.wrong(location, "code provides a stage of this name (plugged=)")
            for stage in self._guarded(location, lambda n=name, s=spec: self._stages_of(n, s)):  # type: ignore[misc]
                self._add(stage, location)

    def _stages_of(self, name: str, spec: StageSpec) -> list[Stage]:
        if spec.define is not None:
            parsed = {
                column: self._guarded(
                    ("stages", name, "define", column),
                    lambda t=text: parse_expression(t, self.threshold),  # type: ignore[misc]
                )
                for column, text in spec.define.items()
            }
            return [define_stage(name, parsed)]
        if spec.keep is not None:
            return [keep_stage(name, parse_expression(spec.keep, self.threshold))]
        if spec.bundle is not None:
            model, features = model_stages(
                name, self._where(spec.bundle), self.source.engine_of(spec), spec.batch, self.source.remote
            )
            return [*(f for f in features if f.name not in self.stages), model]
        if spec.tracking is not None:
            return [tracks_stage(name, self._tracking(spec.tracking))]
        return [python_stage(name, str(spec.python), self.source.folder)]

    def _where(self, bundle: str) -> str | Path:
        """Return the name of a shipped bundle, or the path of another one."""
        is_shipped = "/" not in bundle and not bundle.endswith(".tamis")
        return bundle if is_shipped else self.source.folder / bundle

    def _tracking(self, spec: TrackingSpec | str) -> TrackChoice:
        if isinstance(spec, str):
            return TrackChoice()
        geometry, digitisation, field_map = (
            None if name is None else self.source.folder / name
            for name in (spec.geometry, spec.digitisation, spec.field_map)
        )
        return TrackChoice(
            DetectorFiles(geometry, digitisation, spec.field, field_map),
            spec.pt_min,
            spec.collection,
            spec.lengths == "cm",
            spec.candidates,
            spec.seeds_from,
            spec.branches,
        )

    def latencies(self, paths: Mapping[str, Sequence[PathStep]]) -> dict[str, PathLatency]:
        """Return the fixed latency of every path of a Level-1 menu; raises DocumentError where one exceeds its budget."""
        menu = self.source.menu
        if menu.hardware is None:
            return {}
        firmware = {}
        for name, spec in menu.stages.items():
            location = ("stages", name)
            if spec.python is not None or spec.tracking is not None:
                what = "run Python" if spec.python is not None else "reconstruct tracks"
                raise self.source.wrong(location, f"a Level-1 menu cannot {what}: use define, keep or bundle")
            if spec.bundle is None:
                continue
            if self.source.engine_of(spec) != FIRMWARE:
                raise self.source.wrong(
                    (*location, "engine"),
                    f"the models of a Level-1 menu run on the engine {FIRMWARE}, not {spec.engine}: omit it",
                )
            where = self._where(spec.bundle)
            firmware[name] = self._guarded(
                location,
                lambda w=where: stage_firmware(Bundle.open(w), menu.hardware),  # type: ignore[misc]
            )
        return {
            path: self._guarded(
                ("paths", path),
                lambda p=path, s=steps: path_latency(menu, p, [firmware[x] for x in s if x in firmware]),  # type: ignore[misc]
            )
            for path, steps in paths.items()
        }

    def _add(self, stage: Stage, location: Sequence[str | int]) -> None:
        if stage.name in self.stages:
            raise self.source.wrong(location, f"there is already a stage {stage.name!r}")
        for column in stage.adds:
            owner = next((s for s in self.stages.values() if column in s.adds), None)
            if owner is not None:
                raise self.source.wrong(
                    location, f"the stage {owner.name!r} already adds the column {column!r}"
                )
        self.stages[stage.name] = stage

    def threshold(self, *names: str) -> float:
        """Return a threshold of the menu, or a working point of a stage's bundle."""
        menu = self.source.menu
        if len(names) == 1:
            if names[0] not in menu.thresholds:
                hint = did_you_mean(names[0], list(menu.thresholds))
                raise UsageError(f"the menu has no threshold {names[0]!r}; {hint}".rstrip("; "))
            return menu.thresholds[names[0]]
        stage, point = names
        spec = menu.stages.get(stage)
        if spec is None or spec.bundle is None:
            models = [name for name, other in menu.stages.items() if other.bundle]
            raise UsageError(
                f"there is no stage {stage!r} with a bundle; {did_you_mean(stage, models)}".rstrip("; ")
            )
        if stage not in self.bundles:
            self.bundles[stage] = Bundle.open(self._where(spec.bundle))
        points = {p.name: p.threshold for p in self.bundles[stage].manifest.working_points}
        if point not in points:
            raise UsageError(
                f"the bundle {spec.bundle} has no working point {point!r}; {did_you_mean(point, list(points))}".rstrip(
                    "; "
                )
            )
        return points[point]

    def paths(self) -> dict[str, list[PathStep]]:
        """Return the steps of every path, with the stages inserted whose columns a later step reads."""
        return {path: self._steps(path, spec.steps) for path, spec in self.source.menu.paths.items()}

    def histograms(self) -> dict[str, Expression]:
        """Return the expression of each histogram."""
        return {
            name: self._guarded(
                ("histograms", name, "of"),
                lambda text=spec.of: parse_expression(text, self.threshold),  # type: ignore[misc]
            )
            for name, spec in self.source.menu.histograms.items()
        }

    def _steps(self, path: str, texts: Sequence[str]) -> list[PathStep]:
        steps: list[PathStep] = []
        for index, text in enumerate(texts):
            location = ("paths", path, "steps", index)
            if text in self.stages:
                self._require(text, steps, location, ())
                stage = self.stages[text]
                if stage.adds == (text,):  # a named selection
                    passed = parse_expression(text)
                    steps.append(Condition(text, passed, path))
                continue
            is_column = any(text in stage.adds for stage in self.stages.values()) or "_" in text
            if text.isidentifier() and not is_column:
                hint = did_you_mean(text, list(self.stages))
                if hint.startswith("did you mean"):
                    raise self.source.wrong(
                        location,
                        f"there is no stage {text!r}; {hint}, or write ({text}) for a column of the files",
                    )
            expression = self._guarded(location, lambda t=text: parse_expression(t, self.threshold))  # type: ignore[misc]
            self._require_reads(expression.reads, steps, location, ())
            steps.append(Condition(text, expression, path))
        if not any(isinstance(step, Condition) for step in steps):
            raise self.source.wrong(("paths", path, "steps"), "none of its steps is a condition: add one")
        return steps

    def _require(
        self, name: str, steps: list[PathStep], location: Sequence[str | int], above: tuple[str, ...]
    ) -> None:
        if name in above:
            raise self.source.wrong(
                location, f"the stages {' -> '.join((*above, name))} depend on each other"
            )
        if name in steps:
            return
        self._require_reads(self.stages[name].reads, steps, location, (*above, name))
        steps.append(name)

    def _require_reads(
        self,
        reads: Sequence[str],
        steps: list[PathStep],
        location: Sequence[str | int],
        above: tuple[str, ...],
    ) -> None:
        for column in reads:
            owner = next((stage.name for stage in self.stages.values() if column in stage.adds), None)
            if owner is not None and not (above and owner == above[-1]):
                self._require(owner, steps, location, above)

    def _guarded(self, location: Sequence[str | int], make: Callable[[], object]):  # type: ignore[no-untyped-def] # noqa: ANN202
        """Call a function, and add the field of the menu to its errors."""
        try:
            return make()
        except DocumentError:
            raise
        except TamisError as error:
            located = self.source.wrong(location, str(error))
            if isinstance(error, UsageError):
                raise located from error
            raise type(error)(str(located)) from error


def _check_streams(source: MenuSource) -> None:
    menu = source.menu
    for name, stream in menu.streams.items():
        for index, path in enumerate(stream.paths):
            if path not in menu.paths:
                hint = did_you_mean(path, list(menu.paths))
                raise source.wrong(
                    ("streams", name, "paths", index), f"there is no path {path!r}; {hint}".rstrip("; ")
                )
    if not menu.streams:
        raise source.wrong((), "the menu has no streams, so accepted events would not be written")
    streamed = {path for stream in menu.streams.values() for path in stream.paths}
    for path in menu.paths:
        if path not in streamed:
            raise source.wrong(("paths", path), "no stream has this path, so its events would not be written")
