"""Leading jets and their leading constituents, as arrays of fixed shape for jet models."""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numpy as np
from awkward.types import ListType, NumpyType, OptionType, RegularType, UnknownType

from tamis._base import DataError
from tamis.events import IDENTITY, Events, Frame, columns_of, rows_without_value
from tamis.events.kinematics import delta_phi
from tamis.features.lists import check_lengths, lists_of, starts_of
from tamis.features.rows import Feature, Rows

JET = "FatJet"
LINK = "FatJetPFCands"  # PFNano: one entry per (jet, candidate) pair
CANDIDATE = "PFCands"

JET_COLUMNS = (
    f"{JET}_pt",
    f"{JET}_eta",
    f"{JET}_phi",
    f"{LINK}_jetIdx",
    f"{LINK}_pFCandsIdx",
    f"{CANDIDATE}_pt",
    f"{CANDIDATE}_eta",
    f"{CANDIDATE}_phi",
)


@dataclass(frozen=True)
class LeadingJets:
    """Jets as rows of a model's input, and the event and index of each jet.

    `inputs` is float32 (jets, constituents, 3): eta and phi relative to the jet axis, and pT in GeV. Constituents are
    sorted by descending pT and padded with zeros.
    """

    inputs: np.ndarray
    event_row: np.ndarray  # in the batch
    jet_index: np.ndarray  # in the event
    empty: np.ndarray  # a mask of the jets without constituents

    def __len__(self) -> int:
        """Return the number of jets."""
        return len(self.inputs)

    @property
    def n_constituents(self) -> np.ndarray:
        """Return the number of constituents of each jet in `inputs`."""
        counts: np.ndarray = np.count_nonzero(self.inputs[:, :, 2], axis=1)
        return counts

    def take(self, events: Events, column: str) -> np.ndarray:
        """Return a column of these jets (`FatJet_mass`) or of their events (`MET_pt`), one value per jet."""
        values = events[column]
        if values.ndim == 1 and isinstance(values.type.content, NumpyType):
            return np.asarray(ak.to_numpy(values))[self.event_row]
        _check_numbers(events, column)
        frame = Frame(columns_of(events, (*IDENTITY, f"{JET}_pt", column)), len(events))
        check_lengths(frame, [f"{JET}_pt", column])
        lists = lists_of(frame, column)
        return lists.flat[starts_of(lists)[self.event_row] + self.jet_index]


def leading_jets(events: Events, *, jets: int = 2, constituents: int = 100) -> LeadingJets:
    """Return the leading jets of every event by pT, each with its leading constituents by pT."""
    for name in JET_COLUMNS:
        _check_numbers(events, name)
    return jets_of(Frame(columns_of(events, (*IDENTITY, *JET_COLUMNS)), len(events)), jets, constituents)


def jets_of(frame: Frame, jets: int = 2, constituents: int = 100) -> LeadingJets:
    """Return the same from plain columns, as a trigger does for batches and single events."""
    leading = constituents_of(frame, jets)
    row, rank, source = leading.row, leading.rank, leading.source
    first = rank < constituents
    row, source, rank = row[first], source[first], rank[first]
    inputs = np.zeros((len(leading.jet), constituents, 3), np.float32)
    inputs[row, rank, 0], inputs[row, rank, 1] = offsets_from_axis(frame, leading.jet[row], source)
    inputs[row, rank, 2] = _flat(frame, f"{CANDIDATE}_pt")[source]
    return LeadingJets(inputs, leading.event_row, leading.jet_index, leading.empty)


@dataclass(frozen=True)
class Constituents:
    """The candidates of the leading jets: one row per jet, candidates by descending pT."""

    event_row: np.ndarray  # of each row's event
    jet_index: np.ndarray  # in its event
    jet: np.ndarray  # among all jets of the batch
    row: np.ndarray  # of each constituent
    rank: np.ndarray  # of each constituent in its row
    source: np.ndarray  # the constituent's index among all candidates of the batch

    @property
    def empty(self) -> np.ndarray:
        """Return a mask of the jets without candidates."""
        without: np.ndarray = np.bincount(self.row, minlength=len(self.jet)) == 0
        return without


def constituents_of(frame: Frame, jets: int) -> Constituents:
    """Return the candidates of the leading jets of every event."""
    for prefix in (JET, LINK, CANDIDATE):
        check_lengths(frame, [name for name in JET_COLUMNS if name.startswith(f"{prefix}_")])
    jet_pt, candidate_pt = lists_of(frame, f"{JET}_pt"), lists_of(frame, f"{CANDIDATE}_pt")
    jet_starts, candidate_starts = starts_of(jet_pt), starts_of(candidate_pt)
    owner = np.repeat(np.arange(len(jet_pt)), jet_pt.counts)
    falling = np.lexsort((-jet_pt.flat.astype(np.float64), owner))  # ties keep the order of the file
    leading = falling[np.arange(len(falling)) - jet_starts[owner] < jets]
    event_row = owner[leading]
    jet_index = leading - jet_starts[event_row]
    link_event, jet, candidate = _links(frame, jet_pt.counts, candidate_pt.counts)

    selected = jet_starts[event_row] + jet_index  # each row's jet among all jets of the batch
    row_of_jet = np.full(int(jet_starts[-1]), -1)
    row_of_jet[selected] = np.arange(len(selected))
    row = row_of_jet[jet_starts[link_event] + jet]
    kept = row >= 0
    row, source = row[kept], (candidate_starts[link_event] + candidate)[kept]

    order = np.lexsort((-candidate_pt.flat[source], row))  # ties keep the order of the file
    row, source = row[order], source[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    return Constituents(event_row, jet_index, selected, row, rank, source)


def offsets_from_axis(frame: Frame, jet: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eta and phi of candidates relative to the axes of their jets."""
    eta = _flat(frame, f"{CANDIDATE}_eta")[source] - _flat(frame, f"{JET}_eta")[jet]
    phi = delta_phi(_flat(frame, f"{CANDIDATE}_phi")[source], _flat(frame, f"{JET}_phi")[jet])
    return eta, phi


def _two_leading(frame: Frame) -> Rows:
    """Return the two leading jets of every event as rows."""
    jets = jets_of(frame)
    return Rows(
        jets.inputs,
        np.searchsorted(jets.event_row, np.arange(len(frame) + 1)),
        {"jet": jets.jet_index},
        jets.empty,
    )


LEADING_JETS = Feature("leading_jets", JET_COLUMNS, ("jet",), _two_leading, JET, may_be_empty=True)


def _links(
    frame: Frame, jets: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return event row, jet index and candidate index of every link, after checking that the indices are valid."""
    jet_name, candidate_name = f"{LINK}_jetIdx", f"{LINK}_pFCandsIdx"
    counts = lists_of(frame, jet_name).counts
    link_event = np.repeat(np.arange(len(counts)), counts)
    jet, candidate = (_flat(frame, name).astype(np.int64) for name in (jet_name, candidate_name))
    _check_range(frame, jet_name, link_event, jet, jets)
    _check_range(frame, candidate_name, link_event, candidate, candidates)
    return link_event, jet, candidate


def _check_range(
    frame: Frame, name: str, link_event: np.ndarray, index: np.ndarray, counts: np.ndarray
) -> None:
    bad = np.flatnonzero((index < 0) | (index >= counts[link_event]))
    if len(bad):
        row = int(link_event[bad[0]])
        raise DataError(
            f"{name} is {index[bad[0]]} in event {frame.named(row)}, which has {counts[row]} such objects: "
            f"the index is out of range ({len(bad)} such entries in this batch)"
        )


def _flat(frame: Frame, name: str) -> np.ndarray:
    return lists_of(frame, name).flat


def _check_numbers(events: Events, name: str) -> None:
    """Raise `DataError` unless a column is a complete list of numbers in every event."""
    column = events[name]
    outer = column.type.content
    lists = outer.content if isinstance(outer, OptionType) else outer
    plain = isinstance(lists, ListType | RegularType) and lists.parameter("__array__") is None
    inner = lists.content if plain else outer
    values = inner.content if isinstance(inner, OptionType) else inner
    numeric = isinstance(values, UnknownType) or (  # lists that are all empty have the unknown type
        isinstance(values, NumpyType) and values.primitive.startswith(("int", "uint", "float", "bool"))
    )
    if not plain or not numeric:
        raise DataError(
            f"{name} is {outer} in every event, but a list of numbers is needed (such as var * float32): "
            "convert it, or name another tree"
        )
    if lists is not outer:
        _check_complete(events, name, rows_without_value(column))
    if values is not inner:
        _check_complete(events, name, np.flatnonzero(ak.to_numpy(ak.any(ak.is_none(column, axis=1), axis=1))))


def _check_complete(events: Events, name: str, rows: np.ndarray) -> None:
    if len(rows):
        event = ":".join(map(str, events.identity[int(rows[0])]))
        raise DataError(
            f"{name} has no value in event {event} ({len(rows)} such events in this batch): "
            "fill in the values, or leave the events out"
        )
