"""Lists of luminosity blocks as JSON, as CMS certifies its data: {"355100": [[1, 100], [120, 130]]}."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tamis._base import UsageError

LumiRanges = Mapping[str, Sequence[tuple[int, int]]]  # run -> first and last block of each range

_EXPECTED = 'expected {"RUN": [[FIRST, LAST], ...], ...}'


def read_lumi_mask(path: str | Path) -> dict[str, tuple[tuple[int, int], ...]]:
    """Read a list of good luminosity blocks; raises for anything else, since a wrong mask would lose events."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the luminosity mask {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the luminosity mask {path} is not JSON ({error}); {_EXPECTED}") from error
    if not isinstance(data, dict):
        raise UsageError(f"the luminosity mask {path} is not a JSON object; {_EXPECTED}")
    found = {}
    for run, ranges in data.items():
        if not (run.isascii() and run.isdigit()):
            raise UsageError(f"the luminosity mask {path}: {run!r} is not a run number; {_EXPECTED}")
        if not isinstance(ranges, list) or not all(map(_is_range, ranges)):
            raise UsageError(f"the luminosity mask {path}, run {run}: wrong ranges of blocks; {_EXPECTED}")
        found[run] = tuple((int(first), int(last)) for first, last in ranges)
    return found


def _is_range(pair: object) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(block) is int and block >= 0 for block in pair)
        and pair[0] <= pair[1]
    )


def in_mask(mask: LumiRanges, run: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return which events are in a luminosity block of the mask."""
    found = np.zeros(len(run), bool)
    for number in np.unique(run):
        events = run == number
        blocks = block[events]
        inside = np.zeros(len(blocks), bool)
        for first, last in mask.get(str(int(number)), ()):
            inside |= (blocks >= first) & (blocks <= last)
        found[events] = inside
    return found


def lumi_ranges(run: np.ndarray, block: np.ndarray) -> dict[str, list[list[int]]]:
    """Return the luminosity blocks of some events as ranges, by run."""
    found: dict[str, list[list[int]]] = {}
    for number in np.unique(run):
        blocks = np.unique(block[run == number]).astype(np.int64)
        breaks = np.flatnonzero(np.diff(blocks) > 1)
        firsts, lasts = blocks[np.append(0, breaks + 1)], blocks[np.append(breaks, len(blocks) - 1)]
        found[str(int(number))] = [[int(a), int(b)] for a, b in zip(firsts, lasts, strict=True)]
    return found
