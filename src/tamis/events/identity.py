"""Which columns of a foreign file name its events, and what stands in where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import awkward as ak
import numpy as np

from tamis._base import DataError
from tamis.events.batch import IDENTITY, missing

# canonical name -> what NanoAOD, ATLAS DAOD_PHYSLITE and plain trees call it, in order of preference
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
DTYPES = {"run": np.uint32, "luminosityBlock": np.uint32, "event": np.uint64}
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Identity:
    """The source column of run, luminosity block and event; None where the file has no such column."""

    sources: tuple[str | None, str | None, str | None]

    @classmethod
    def of(cls, columns: Mapping[str, str]) -> Identity:
        """Find the identity among columns and their types."""
        run, block, event = (
            next((name for name in SPELLINGS[part] if columns.get(name) in _INTEGERS), None)
            for part in IDENTITY
        )
        return cls((run, block, event))

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the columns that the identity is read from."""
        return tuple(source for source in self.sources if source is not None)

    @property
    def synthesised(self) -> tuple[str, ...]:
        """Return the parts that the file does not have and that are made up."""
        return tuple(part for part, source in zip(IDENTITY, self.sources, strict=True) if source is None)

    def check(self, data: Mapping[str, ak.Array], start: int, url: str) -> None:
        """Refuse events of which a number is missing: an event that cannot be named cannot be accounted for."""
        for part, source in zip(IDENTITY, self.sources, strict=True):
            if source is None:
                continue
            gaps = missing(data[source])
            if len(gaps):
                raise DataError(
                    f"{url}: the column {source!r} has no value at entry {start + gaps[0]} ({len(gaps)} such entries "
                    f"among those read), but every event needs its {part}: fill the values in, or leave the column out to have it made up"
                )

    def fill(self, data: Mapping[str, ak.Array], start: int, stop: int, file_index: int) -> dict[str, object]:
        """Return run, luminosity block and event; a made-up event is (0, file number from 1, entry)."""
        made_up: dict[str, object] = {
            "run": np.zeros(stop - start, np.uint32),
            "luminosityBlock": np.full(stop - start, file_index + 1, np.uint32),
            "event": np.arange(start, stop, dtype=np.uint64),
        }
        filled: dict[str, object] = {}
        for part, source in zip(IDENTITY, self.sources, strict=True):
            if source is None:
                filled[part] = made_up[part]
            elif source == part:
                filled[part] = data[part]
            else:
                filled[part] = ak.to_numpy(data[source]).astype(DTYPES[part])
        return filled
