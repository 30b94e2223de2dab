"""Find the columns that identify the events of a file, and generate missing ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import awkward as ak
import numpy as np

from tamis._base import DataError
from tamis.events.batch import IDENTITY, rows_without_value

# name in NanoAOD -> names in NanoAOD, ATLAS DAOD_PHYSLITE and other trees, in order of preference
SPELLINGS = {
    "run": (
        "run",
        "EventInfoAuxDyn.runNumber",
        "EventInfoAux.runNumber",
        "runNumber",
        "RunNumber",
        "run_number",
        "runNo",
        "Run",
    ),
    "luminosityBlock": (
        "luminosityBlock",
        "EventInfoAuxDyn.lumiBlock",
        "EventInfoAux.lumiBlock",
        "lumiBlock",
        "LumiBlock",
        "lumi_block",
        "lumi",
        "ls",
        "lumisec",
        "lbn",
    ),
    "event": (
        "event",
        "EventInfoAuxDyn.eventNumber",
        "EventInfoAux.eventNumber",
        "eventNumber",
        "EventNumber",
        "event_number",
        "eventNo",
        "evt",
        "event_id",
    ),
}
IDENTITY_DTYPES = {"run": np.uint32, "luminosityBlock": np.uint32, "event": np.uint64}
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Identity:
    """The source columns of run, luminosity block and event; None if the file has no such column."""

    sources: tuple[str | None, str | None, str | None]

    @classmethod
    def of(cls, columns: Mapping[str, str]) -> Identity:
        """Find the identity among columns (name -> type)."""
        run, block, event = (
            next((name for name in SPELLINGS[part] if columns.get(name) in _INTEGERS), None)
            for part in IDENTITY
        )
        return cls((run, block, event))

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the source columns of the identity."""
        return tuple(source for source in self.sources if source is not None)

    @property
    def synthesised(self) -> tuple[str, ...]:
        """Return the parts that the file lacks and that are generated."""
        return tuple(part for part, source in zip(IDENTITY, self.sources, strict=True) if source is None)

    def check(self, data: Mapping[str, ak.Array], start: int, url: str) -> None:
        """Raise if an event has no value in a source column, as it could not be accounted for."""
        for part, source in zip(IDENTITY, self.sources, strict=True):
            if source is None:
                continue
            gaps = rows_without_value(data[source])
            if len(gaps):
                raise DataError(
                    f"{url}: the column {source!r} has no value at entry {start + gaps[0]} ({len(gaps)} such entries), "
                    f"but every event needs its {part}: fill in the values, or remove the column to have it generated"
                )

    def fill(self, data: Mapping[str, ak.Array], start: int, stop: int, file_index: int) -> dict[str, object]:
        """Return run, luminosity block and event; generated ones are 0, the file number from 1, and the entry."""
        generated: dict[str, object] = {
            "run": np.zeros(stop - start, np.uint32),
            "luminosityBlock": np.full(stop - start, file_index + 1, np.uint32),
            "event": np.arange(start, stop, dtype=np.uint64),
        }
        filled: dict[str, object] = {}
        for part, source in zip(IDENTITY, self.sources, strict=True):
            if source is None:
                filled[part] = generated[part]
            elif source == part:
                filled[part] = data[part]
            else:
                filled[part] = ak.to_numpy(data[source]).astype(IDENTITY_DTYPES[part])
        return filled
