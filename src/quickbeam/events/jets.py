"""Leading jets and their leading constituents, as the fixed arrays that jet models take."""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numpy as np
from awkward.types import ListType, NumpyType, OptionType, RegularType, UnknownType

from quickbeam._base import DataError
from quickbeam.events.batch import Events, missing

JET = "FatJet"
LINK = "FatJetPFCands"  # one entry per (jet, candidate) pair, as PFNano has it
CANDIDATE = "PFCands"

# what `leading_jets` reads
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
class Jets:
    """Jets in rows: the model's input (jets, constituents, 3), and where each jet came from."""

    inputs: (
        np.ndarray
    )  # float32: eta and phi relative to the jet axis, pT in GeV; sorted by pT, padded with zeros
    event_row: np.ndarray  # the row of the event in the batch
    jet_index: np.ndarray  # the index of the jet in its event

    def __len__(self) -> int:
        """Return the number of jets."""
        return len(self.inputs)

    @property
    def n_constituents(self) -> np.ndarray:
        """Return how many constituents each jet has among those kept."""
        counts: np.ndarray = np.count_nonzero(self.inputs[:, :, 2], axis=1)
        return counts

    def take(self, events: Events, column: str) -> np.ndarray:
        """Return a column of these jets (`FatJet_mass`) or of their events (`MET_pt`), one value per jet."""
        values = events[column]
        if values.ndim == 1 and isinstance(values.type.content, NumpyType):
            return np.asarray(ak.to_numpy(values))[self.event_row]
        _check_numbers(events, column)
        _check_lengths(events, [f"{JET}_pt", column])
        starts = _starts(ak.to_numpy(ak.num(values)))
        return np.asarray(ak.to_numpy(ak.flatten(values)))[starts[self.event_row] + self.jet_index]


def leading_jets(events: Events, *, jets: int = 2, constituents: int = 100) -> Jets:
    """Return the leading jets of every event by pT, and of each its leading constituents by pT."""
    for name in JET_COLUMNS:
        _check_numbers(events, name)
    for collection in (JET, LINK, CANDIDATE):
        _check_lengths(events, [name for name in JET_COLUMNS if name.startswith(f"{collection}_")])
    event_row, jet_index = _leading(events[f"{JET}_pt"], jets)
    link_event, jet, candidate = _links(events)
    jet_starts = _starts(_counts(events, f"{JET}_pt"))
    candidate_starts = _starts(_counts(events, f"{CANDIDATE}_pt"))

    selected = jet_starts[event_row] + jet_index  # of each output row, its jet among all jets of the batch
    row_of_jet = np.full(int(jet_starts[-1]), -1)
    row_of_jet[selected] = np.arange(len(selected))
    row = row_of_jet[jet_starts[link_event] + jet]
    kept = row >= 0
    row, source = row[kept], (candidate_starts[link_event] + candidate)[kept]

    pt = _flat(events, f"{CANDIDATE}_pt")[source]
    order = np.lexsort((-pt, row))  # by row, then falling pT; equal pT keep the order of the file
    row, source, pt = row[order], source[order], pt[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    first = rank < constituents
    row, source, pt, rank = row[first], source[first], pt[first], rank[first]

    axis = selected[row]
    inputs = np.zeros((len(selected), constituents, 3), np.float32)
    inputs[row, rank, 0] = _flat(events, f"{CANDIDATE}_eta")[source] - _flat(events, f"{JET}_eta")[axis]
    inputs[row, rank, 1] = wrap_phi(
        _flat(events, f"{CANDIDATE}_phi")[source] - _flat(events, f"{JET}_phi")[axis]
    )
    inputs[row, rank, 2] = pt
    return Jets(inputs, event_row, jet_index)


def wrap_phi(phi: np.ndarray) -> np.ndarray:
    """Return an angle in [-pi, pi]."""
    wrapped: np.ndarray = phi - 2 * np.pi * np.round(phi / (2 * np.pi))
    return wrapped


def _leading(pt: ak.Array, jets: int) -> tuple[np.ndarray, np.ndarray]:
    """Return event row and jet index of the leading jets; equal pT keep the order of the file."""
    order = ak.argsort(pt, axis=1, ascending=False, stable=True)[:, :jets]
    counts = ak.to_numpy(ak.num(order))
    return np.repeat(np.arange(len(counts)), counts), np.asarray(
        ak.to_numpy(ak.flatten(order)), dtype=np.int64
    )


def _links(events: Events) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return event row, jet index and candidate index of every link, after proving that they point at something."""
    jet_name, candidate_name = f"{LINK}_jetIdx", f"{LINK}_pFCandsIdx"
    counts = _counts(events, jet_name)
    link_event = np.repeat(np.arange(len(counts)), counts)
    jet, candidate = (_flat(events, name).astype(np.int64) for name in (jet_name, candidate_name))
    _check_range(events, jet_name, link_event, jet, _counts(events, f"{JET}_pt"))
    _check_range(events, candidate_name, link_event, candidate, _counts(events, f"{CANDIDATE}_pt"))
    return link_event, jet, candidate


def _check_range(
    events: Events, name: str, link_event: np.ndarray, index: np.ndarray, counts: np.ndarray
) -> None:
    bad = np.flatnonzero((index < 0) | (index >= counts[link_event]))
    if len(bad):
        row = int(link_event[bad[0]])
        raise DataError(
            f"{name} is {index[bad[0]]} in event {_named(events, row)}, which has {counts[row]} of what it points at"
            f" ({len(bad)} such entries in this batch)"
        )


def _counts(events: Events, name: str) -> np.ndarray:
    counts: np.ndarray = ak.to_numpy(ak.num(events[name]))
    return counts


def _flat(events: Events, name: str) -> np.ndarray:
    flat: np.ndarray = np.asarray(ak.to_numpy(ak.flatten(events[name])))
    return flat


def _check_numbers(events: Events, name: str) -> None:
    """Refuse a column that is no list of numbers per event, and one in which a list or a number is missing."""
    column = events[name]
    found = column.type.content
    lists = found.content if isinstance(found, OptionType) else found
    plain = isinstance(lists, ListType | RegularType) and lists.parameter("__array__") is None
    inner = lists.content if plain else found
    values = inner.content if isinstance(inner, OptionType) else inner
    if not plain or not _is_number(values):
        raise DataError(
            f"{name} is {found} in every event, but a list of numbers is needed (such as var * float32): "
            "write it so, or name another tree"
        )
    if lists is not found:
        _check_complete(events, name, missing(column))
    if values is not inner:
        _check_complete(events, name, np.flatnonzero(ak.to_numpy(ak.any(ak.is_none(column, axis=1), axis=1))))


def _is_number(kind: object) -> bool:
    """Tell whether a type is a number's; the unknown type is that of lists that are all empty."""
    if isinstance(kind, NumpyType):
        return kind.primitive.startswith(("int", "uint", "float", "bool"))
    return isinstance(kind, UnknownType)


def _check_complete(events: Events, name: str, rows: np.ndarray) -> None:
    if len(rows):
        raise DataError(
            f"{name} has no value in event {_named(events, int(rows[0]))} ({len(rows)} such events in this batch): "
            "fill the values in, or leave the events out"
        )


def _check_lengths(events: Events, names: list[str]) -> None:
    """Refuse columns of one collection that differ in their number of objects."""
    counts = _counts(events, names[0])
    for name in names[1:]:
        differ = np.flatnonzero(counts != _counts(events, name))
        if len(differ):
            raise DataError(
                f"{names[0]} and {name} differ in length in event {_named(events, int(differ[0]))} "
                f"({len(differ)} such events in this batch), so they do not tell of the same objects: write the file anew"
            )


def _named(events: Events, row: int) -> str:
    return ":".join(map(str, events.identity[row]))


def _starts(counts: np.ndarray) -> np.ndarray:
    """Return where each event begins in the flat array, and after the last one the length of the whole."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
