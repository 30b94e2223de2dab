"""Samples with cross-sections, and what a menu makes of every event of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tamis._base import Document, UsageError, parse_document, progress
from tamis.events import Chunk, Frame, Jagged, columns_of, of_file, read_events
from tamis.trigger import CompiledMenu, Decisions, Expression, Laps, decide_batch


class SampleSpec(Document):
    """Events of one process: files, the cross-section they stand for, and whether they make up the input rate."""

    files: tuple[str, ...] = Field(min_length=1)
    cross_section_pb: float = Field(gt=0)
    kind: Literal["background", "signal"] = "background"
    weight: str | None = Field(None, description="Column with the weight of each event, such as genWeight.")


class SampleList(Document):
    """The samples of a study of rates."""

    samples: dict[str, SampleSpec] = Field(min_length=1)


def load_samples(path: str | Path) -> SampleList:
    """Read a list of samples; files are looked for beside it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the samples {path} cannot be read: {error}") from error
    found = parse_document(text, SampleList, str(path))
    if all(spec.kind == "signal" for spec in found.samples.values()):
        raise UsageError(f"{path}: no sample is background: nothing makes up the input rate")
    folder = path.resolve().parent
    placed = {
        name: spec.model_copy(update={"files": tuple(_placed(folder, file) for file in spec.files)})
        for name, spec in found.samples.items()
    }
    return SampleList(samples=placed)


def _placed(folder: Path, file: str) -> str:
    return file if "://" in file or Path(file).is_absolute() else str(folder / file)


@dataclass
class Seen:
    """Every event of all samples: its share of the input, the paths it passes without prescale, and quantities asked for."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    sample: np.ndarray  # index of the sample
    share: np.ndarray  # what part of the input rate the event stands for
    paths: np.ndarray  # (events, paths)
    debug: np.ndarray
    quantities: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def background(self) -> np.ndarray:
        """Return a mask of the events that make up the input."""
        return np.isin(self.sample, [i for i, kind in enumerate(self.kinds) if kind == "background"])


def see(
    compiled: CompiledMenu,
    samples: SampleList,
    quantities: Mapping[str, Expression],
    tree: str | None = None,
) -> Seen:
    """Run a compiled menu over all samples; `quantities` are evaluated for every event beside it."""
    pieces: list[Seen] = []
    specs = samples.samples
    total_pb = sum(spec.cross_section_pb for spec in specs.values() if spec.kind == "background")
    with progress("deciding", None, "events") as advance:
        for index, spec in enumerate(specs.values()):
            weights, found = [], []
            for chunk in _chunks(compiled, spec, quantities, tree):
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
                    f"the sample of {', '.join(spec.files)} has no events, or their weights sum to nothing"
                )
            pieces.append(_sample(index, spec.cross_section_pb / total_pb * weight / weight.sum(), found))
    return Seen(
        names=tuple(specs),
        kinds=tuple(spec.kind for spec in specs.values()),
        sample=np.concatenate([piece.sample for piece in pieces]),
        share=np.concatenate([piece.share for piece in pieces]),
        paths=np.concatenate([piece.paths for piece in pieces]),
        debug=np.concatenate([piece.debug for piece in pieces]),
        quantities={name: np.concatenate([p.quantities[name] for p in pieces]) for name in quantities},
    )


_Piece = tuple[Decisions, dict[str, np.ndarray]]


def _sample(index: int, share: np.ndarray, found: Sequence[_Piece]) -> Seen:
    return Seen(
        (),
        (),
        np.full(len(share), index),
        share,
        np.concatenate([decided.paths for decided, _ in found]),
        np.concatenate([decided.reason != 0 for decided, _ in found]),
        {name: np.concatenate([values[name] for _, values in found]) for name in found[0][1]},
    )


def _chunks(
    compiled: CompiledMenu, spec: SampleSpec, quantities: Mapping[str, Expression], tree: str | None
) -> Iterator[Chunk]:
    added = {column for stage in compiled.stages.values() for column in stage.adds}
    drawn = [c for expression in quantities.values() for c in expression.reads if c not in added]
    columns = dict.fromkeys([*compiled.program.reads, *drawn, *([spec.weight] if spec.weight else [])])
    return iter(read_events(list(spec.files), columns=list(columns), tree=tree or compiled.menu.source.tree))


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
        values.append(_values(Frame({**cut, **found.added}, stop - start), quantities))
    if not decided:
        empty = Decisions.empty(0, len(compiled.program.paths))
        return empty, {name: np.empty(0) for name in quantities}
    return Decisions.joined(decided), {
        name: np.concatenate([found[name] for found in values]) for name in quantities
    }


def _values(frame: Frame, quantities: Mapping[str, Expression]) -> dict[str, np.ndarray]:
    """Evaluate quantities; where no event came so far as to have its columns, they are -infinity."""
    values = {}
    for name, expression in quantities.items():
        if all(column in frame for column in expression.reads):
            value, _ = expression.quantity(frame)
            if isinstance(value, Jagged):
                raise UsageError(
                    f"{expression.text!r} has a list per event; make one value of it with max(...)"
                )
            values[name] = value.astype(np.float64)
        else:
            values[name] = np.full(len(frame), -np.inf)
    return values
