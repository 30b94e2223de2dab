"""Samples with cross-sections, and the decisions of a menu on all their events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tamis._base import Document, UsageError, parse_document, progress
from tamis.events import (
    Chunk,
    Frame,
    Jagged,
    columns_of,
    hold_missing,
    is_missing,
    of_file,
    read_events,
)
from tamis.trigger import CompiledMenu, Decisions, Expression, Laps, decide_batch


class SampleSpec(Document):
    """One process: its files and cross-section, and whether it is background, which makes up the input rate, or signal."""

    files: tuple[str, ...] = Field(min_length=1)
    cross_section_pb: float | None = Field(None, gt=0, description="In picobarn; a signal needs none.")
    kind: Literal["background", "signal"] = "background"
    weight: str | None = Field(None, description="Column with the weight of each event, such as genWeight.")

    @model_validator(mode="after")
    def _has_a_rate(self) -> Self:
        if self.kind == "background" and self.cross_section_pb is None:
            raise ValueError("a background sample needs cross_section_pb, its cross-section in picobarn")
        return self


class SampleList(Document):
    """The samples of a rate study."""

    samples: dict[str, SampleSpec] = Field(min_length=1)


def load_samples(path: str | Path) -> SampleList:
    """Read a list of samples; relative file names are relative to the list."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the sample list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the sample list {path} cannot be read: it is not a text file") from error
    samples = parse_document(text, SampleList, str(path))
    if all(spec.kind == "signal" for spec in samples.samples.values()):
        raise UsageError(
            f"{path}: all samples are signal; at least one background sample must make up the input rate"
        )
    folder = path.resolve().parent
    located = {}
    for name, spec in samples.samples.items():
        files = [
            file if "://" in file or Path(file).is_absolute() else str(folder / file) for file in spec.files
        ]
        located[name] = spec.model_copy(update={"files": tuple(files)})
    return SampleList(samples=located)


@dataclass
class SampleDecisions:
    """The events of all samples: fraction of the input rate, decisions of every path without prescale, and quantities."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    sample: np.ndarray  # index of the sample
    share: np.ndarray  # fraction of the input rate that the event represents
    paths: np.ndarray  # boolean, (events, paths)
    debug: np.ndarray  # boolean
    quantities: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def background(self) -> np.ndarray:
        """Return a mask of the background events, which make up the input rate."""
        return np.isin(self.sample, [i for i, kind in enumerate(self.kinds) if kind == "background"])


def decide_samples(
    compiled: CompiledMenu,
    samples: SampleList,
    quantities: Mapping[str, Expression],
    tree: str | None = None,
) -> SampleDecisions:
    """Run a compiled menu over all samples, and evaluate `quantities` for every event."""
    pieces: list[SampleDecisions] = []
    specs = samples.samples
    total_pb = sum(spec.cross_section_pb or 0.0 for spec in specs.values() if spec.kind == "background")
    added = {column for stage in compiled.stages.values() for column in stage.adds}
    evaluated = [c for expression in quantities.values() for c in expression.reads if c not in added]
    tree, aliases = tree or compiled.menu.source.tree, compiled.menu.source.aliases
    with progress("deciding", None, "events") as advance:
        for index, spec in enumerate(specs.values()):
            weights, found = [], []
            weight_column = [spec.weight] if spec.weight else []
            columns = list(dict.fromkeys([*compiled.program.reads, *evaluated, *weight_column]))
            for chunk in read_events(list(spec.files), columns=columns, tree=tree, aliases=aliases):
                with of_file(chunk.file):
                    found.append(_decided(compiled, chunk, quantities))
                weights.append(
                    np.asarray(chunk.events[spec.weight], np.float64)
                    if spec.weight
                    else np.ones(len(chunk.events))
                )
                advance(len(chunk.events))
            weight = np.concatenate(weights) if weights else np.empty(0)
            if not len(weight) or not weight.sum() > 0:
                raise UsageError(
                    f"the sample of {', '.join(spec.files)} has no events, or the sum of its weights is not positive"
                )
            fraction = (spec.cross_section_pb or total_pb) / total_pb
            pieces.append(_sample(index, fraction * weight / weight.sum(), found))
    return SampleDecisions(
        names=tuple(specs),
        kinds=tuple(spec.kind for spec in specs.values()),
        sample=np.concatenate([piece.sample for piece in pieces]),
        share=np.concatenate([piece.share for piece in pieces]),
        paths=np.concatenate([piece.paths for piece in pieces]),
        debug=np.concatenate([piece.debug for piece in pieces]),
        quantities={name: np.concatenate([p.quantities[name] for p in pieces]) for name in quantities},
    )


_Piece = tuple[Decisions, dict[str, np.ndarray]]


def _sample(index: int, share: np.ndarray, pieces: Sequence[_Piece]) -> SampleDecisions:
    return SampleDecisions(
        (),
        (),
        np.full(len(share), index),
        share,
        np.concatenate([decided.paths for decided, _ in pieces]),
        np.concatenate([decided.reason != 0 for decided, _ in pieces]),
        {name: np.concatenate([values[name] for _, values in pieces]) for name in pieces[0][1]},
    )


def _decided(compiled: CompiledMenu, chunk: Chunk, quantities: Mapping[str, Expression]) -> _Piece:
    columns = columns_of(chunk.events)
    size, laps = compiled.program.micro_batch, Laps()
    decided, values = [], []
    whole = Frame(columns, len(chunk.events))
    for start in range(0, len(chunk.events), size):
        stop = min(len(chunk.events), start + size)
        rows = whole.rows(start, stop)
        cut = {name: rows[name] for name in columns}
        found = decide_batch(compiled.program, cut, stop - start, laps)
        decided.append(found)
        every = {**cut, **found.added}
        frame = Frame(every, stop - start, may_miss=hold_missing(every.values()))
        values.append(_values(frame, quantities))
    if not decided:
        empty = Decisions.empty(0, len(compiled.program.paths))
        return empty, {name: np.empty(0) for name in quantities}
    return Decisions.joined(decided), {
        name: np.concatenate([found[name] for found in values]) for name in quantities
    }


def _values(frame: Frame, quantities: Mapping[str, Expression]) -> dict[str, np.ndarray]:
    """Evaluate quantities; -infinity if the value is missing, or no event reached the stage that adds the columns."""
    values = {}
    for name, expression in quantities.items():
        if all(column in frame for column in expression.reads):
            value, _ = expression.quantity(frame)
            if isinstance(value, Jagged):
                raise UsageError(
                    f"{expression.text!r} has a list of values per event; reduce it to one value, for example with max(...)"
                )
            values[name] = np.where(is_missing(value), -np.inf, value.astype(np.float64))
        else:
            values[name] = np.full(len(frame), -np.inf)
    return values
