"""Events: a columnar batch of collisions with an identity and a declared schema."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import awkward as ak
import numpy as np

from tamis._base import DataError, MissingColumnError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

IDENTITY = ("run", "luminosityBlock", "event")


def collection_of(column: str) -> str:
    """Return the collection that a column belongs to: `FatJet` for `FatJet_pt`."""
    return column.split("_", 1)[0]


@dataclass(frozen=True)
class Column:
    """One declared column: its name as in NanoAOD and its type, such as `float32` or `var * float32`."""

    name: str
    type: str


@dataclass(frozen=True)
class Events:
    """A batch of collisions: one record per event, flat columns named as in NanoAOD (`FatJet_pt`)."""

    array: ak.Array

    def __post_init__(self) -> None:
        """Check that the identity columns are present: an event without identity cannot be accounted for."""
        missing = [name for name in IDENTITY if name not in self.array.fields]
        if missing:
            raise DataError(f"events need the columns {', '.join(IDENTITY)}; missing: {', '.join(missing)}")

    @classmethod
    def of(cls, columns: Mapping[str, object]) -> Events:
        """Build a batch from columns of equal length."""
        lengths = {name: len(column) for name, column in columns.items()}  # type: ignore[arg-type] # sized by contract
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns differ in length: {lengths}")
        return cls(ak.Array({n: c if isinstance(c, ak.Array) else ak.Array(c) for n, c in columns.items()}))

    @classmethod
    def concatenate(cls, batches: Iterable[Events]) -> Events:
        """Join batches of one schema."""
        return cls(ak.concatenate([batch.array for batch in batches]))

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.array)

    def __getitem__(self, name: str) -> ak.Array:
        """Return one column; raises with close matches if it is missing."""
        if name not in self.array.fields:
            hint = did_you_mean(name, self.array.fields)
            raise MissingColumnError(f"the events have no column {name!r}; {hint}".rstrip("; "))
        return self.array[name]

    def __contains__(self, name: object) -> bool:
        """Return whether a column exists."""
        return name in self.array.fields

    def select(self, rows: object) -> Events:
        """Return the events that a mask, an index array or a slice selects."""
        return Events(self.array[rows])

    @cached_property
    def schema(self) -> tuple[Column, ...]:
        """Return the declared columns."""
        inner = self.array.type.content
        return tuple(Column(name, str(inner.content(name))) for name in self.array.fields)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the columns in memory."""
        return int(self.array.layout.nbytes)

    def collection(self, prefix: str) -> ak.Array:
        """Zip the columns `PREFIX_*` into one array of records per event."""
        names = [name for name in self.array.fields if name.startswith(f"{prefix}_")]
        if not names:
            known = sorted({name.split("_", 1)[0] for name in self.array.fields if "_" in name})
            raise MissingColumnError(
                f"the events have no collection {prefix!r}; {did_you_mean(prefix, known)}".rstrip("; ")
            )
        return ak.zip({name[len(prefix) + 1 :]: self.array[name] for name in names}, depth_limit=2)

    @property
    def identity(self) -> np.ndarray:
        """Return run, luminosity block and event as integers (events, 3); unsigned unless one is negative."""
        for name in IDENTITY:
            gaps = rows_without_value(self.array[name])
            if len(gaps):
                raise DataError(f"the column {name!r} has no value at row {gaps[0]}: every event needs one")
        columns = [np.asarray(ak.to_numpy(self.array[name])) for name in IDENTITY]
        negative = any(column.dtype.kind != "u" and (column < 0).any() for column in columns)
        kind = np.dtype(np.int64 if negative else np.uint64)
        for column in columns:  # event numbers of 2**63 and more are in use
            if len(column) and int(column.max()) > np.iinfo(kind).max:
                raise DataError(
                    f"the event number {column.max()} does not fit a signed type, which negative ones need: make all positive"
                )
        return np.stack([column.astype(kind) for column in columns], axis=1)


def rows_without_value(column: ak.Array) -> np.ndarray:
    """Return the rows without a value."""
    rows: np.ndarray = np.flatnonzero(ak.to_numpy(ak.is_none(column)))
    return rows
