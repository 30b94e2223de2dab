"""Records of loads, read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tamis._base import DataError, UsageError, did_you_mean, parse_document
from tamis.measure.traffic_record import TrafficRecord

MAKES = "`tamis load grpc://HOST:PORT MODEL --scenario closed --streams 1,4 -o records/` makes some"


def read_traffic(places: Iterable[Path], model: str | None = None) -> list[TrafficRecord]:
    """Read all records of loads on one model by itself at some places: the one that is named, or the only one there is."""
    found: list[TrafficRecord] = []
    for place in places:
        if not place.exists():
            raise UsageError(f"there are no records at {place}; {MAKES}")
        for file in sorted(place.rglob("*.json")) if place.is_dir() else [place]:
            record = _read(file)
            if record is not None:
                found.append(record)
            elif not place.is_dir():
                raise DataError(f"{file} is no record of loads; {MAKES}")
    alone = [record for record in found if not record.together]
    if found and not alone:
        names = ", ".join(sorted({record.model for record in found}))
        raise DataError(
            f"the records are of loads on several models in turn ({names}), and of none by itself; {MAKES}"
        )
    found = alone
    if not found:
        raise DataError(f"there is no record of a load at {', '.join(map(str, places))}; {MAKES}")
    return _of_one_model(found, model)


def _read(file: Path) -> TrafficRecord | None:
    try:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"the record {file} cannot be read ({error}); remove it or measure again") from error
    if not isinstance(data, dict) or data.get("kind") != "traffic":
        return None
    return parse_document(text, TrafficRecord, str(file))


def _of_one_model(found: Sequence[TrafficRecord], model: str | None) -> list[TrafficRecord]:
    models = sorted({record.model for record in found})
    if model is None and len(models) > 1:
        raise UsageError(f"the records are of several models: {', '.join(models)}; name one with --model")
    chosen = [record for record in found if model in (None, record.model)]
    if not chosen:
        raise UsageError(
            f"no record is of the model {model!r}; {did_you_mean(str(model), models) or 'there are: ' + ', '.join(models)}"
        )
    return chosen
