"""The decisions of a menu on all events of the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis._base import UsageError, progress
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
from tamis.measure.rates.sample_list import SampleList
from tamis.measure.rates.shares import SampleEvents, columns_of_weights, crossing_shares, plain_shares
from tamis.trigger import CompiledMenu, Decisions, Expression, Laps, decide_batch


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
    accepted: np.ndarray | None = None  # probability that the menus before this one accept each event

    @property
    def before(self) -> np.ndarray:
        """Return the probability that each event reaches this menu."""
        return np.ones(len(self.share)) if self.accepted is None else self.accepted

    @property
    def left(self) -> np.ndarray:
        """Return the fraction of the input rate that each event represents when it reaches this menu."""
        return self.share * self.before

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
    described: list[SampleEvents] = []
    specs = samples.samples
    added = {column for stage in compiled.stages.values() for column in stage.adds}
    evaluated = [c for expression in quantities.values() for c in expression.reads if c not in added]
    tree, aliases = tree or compiled.menu.source.tree, compiled.menu.source.aliases
    with progress("deciding", None, "events") as advance:
        for index, (name, spec) in enumerate(specs.items()):
            found, facts = [], []
            known, optional = columns_of_weights(samples, spec)
            columns = list(dict.fromkeys([*compiled.program.reads, *evaluated, *known]))
            reader = read_events(
                list(spec.files), columns=columns, optional=optional, tree=tree, aliases=aliases
            )
            for chunk in reader:
                with of_file(chunk.file):
                    found.append(_decided(compiled, chunk, quantities))
                facts.append(
                    {c: np.asarray(chunk.events[c]) for c in (*known, *optional) if c in chunk.events}
                )
                advance(len(chunk.events))
            pieces.append(_sample(index, found or [_nothing(compiled, quantities)]))
            described.append(SampleEvents.of(name, spec, facts, len(pieces[-1].paths)))
    shares = crossing_shares(samples, described) if samples.collisions else plain_shares(described)
    return SampleDecisions(
        names=tuple(specs),
        kinds=tuple(spec.kind for spec in specs.values()),
        sample=np.concatenate([piece.sample for piece in pieces]),
        share=np.concatenate(shares),
        paths=np.concatenate([piece.paths for piece in pieces]),
        debug=np.concatenate([piece.debug for piece in pieces]),
        quantities={name: np.concatenate([p.quantities[name] for p in pieces]) for name in quantities},
    )


_Piece = tuple[Decisions, dict[str, np.ndarray]]


def _sample(index: int, pieces: Sequence[_Piece]) -> SampleDecisions:
    paths = np.concatenate([decided.paths for decided, _ in pieces])
    return SampleDecisions(
        (),
        (),
        np.full(len(paths), index),
        np.empty(0),
        paths,
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
        return _nothing(compiled, quantities)
    return Decisions.joined(decided), {
        name: np.concatenate([found[name] for found in values]) for name in quantities
    }


def _nothing(compiled: CompiledMenu, quantities: Mapping[str, Expression]) -> _Piece:
    """Return the decisions on no events."""
    return Decisions.empty(0, len(compiled.program.paths)), {name: np.empty(0) for name in quantities}


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
