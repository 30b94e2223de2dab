"""Writing records, and finding them in files and folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tamis._base import DataError, Document, UsageError, write_text


def write_record(record: Document, path: Path) -> Path:
    """Write a record as JSON; raises UsageError if the file exists, since records are never overwritten."""
    if path.exists():
        raise UsageError(f"the record {path} exists, and records are never overwritten; choose another name")
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path


def json_files(places: Iterable[Path], kinds: Iterable[str], advice: str) -> Iterator[tuple[Path, Any]]:
    """Yield the JSON files at some places, with their content, whose `kind` is one of `kinds`.

    Other files in folders are ignored; a path to a single file must be a record. `advice` tells the user how to make one.
    """
    kinds = frozenset(kinds)
    for place in places:
        if not place.exists():
            raise UsageError(f"there are no records at {place}; {advice}")
        for file in sorted(place.rglob("*.json")) if place.is_dir() else [place]:
            try:
                data = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{file} cannot be read as a JSON record ({error}); remove it or measure again"
                ) from error
            if isinstance(data, dict) and data.get("kind") in kinds:
                yield file, data
            elif not place.is_dir():
                raise DataError(f"{file} is not a record of kind {' or '.join(sorted(kinds))}; {advice}")
