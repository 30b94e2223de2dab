"""Certified blocks in the formats of the experiments: golden JSON, ATLAS' good-run list, CMS' DIALS."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from tamis.monitor.journal import JournalBlock


def golden_ranges(blocks: Iterable[JournalBlock]) -> dict[int, list[list[int]]]:
    """Return the ranges of good blocks of each run, sorted and merged; blocks count from 1."""
    ranges: dict[int, list[list[int]]] = {}
    for run, block in sorted(
        {(one.run, one.block) for one in blocks if one.state == "good" and one.block >= 1}
    ):
        own = ranges.setdefault(run, [])
        if own and own[-1][1] == block - 1:
            own[-1][1] = block
        else:
            own.append([block, block])
    return ranges


def golden_json(blocks: Iterable[JournalBlock]) -> str:
    """Return a golden JSON as CMS has it."""
    return json.dumps({str(run): found for run, found in golden_ranges(blocks).items()}, indent=1) + "\n"


def good_run_list(blocks: Iterable[JournalBlock], name: str) -> str:
    """Return a good-run list as ATLAS has it."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!DOCTYPE LumiRangeCollection SYSTEM "http://atlas-runquery.cern.ch/LumiRangeCollection.dtd">',
        "<LumiRangeCollection>",
        "  <NamedLumiRange>",
        f"    <Name>{escape(name)}</Name>",
        "    <Version>2.1</Version>",
    ]
    for run, ranges in golden_ranges(blocks).items():
        lines += ["    <LumiBlockCollection>", f"      <Run>{run}</Run>"]
        lines += [f'      <LBRange Start="{first}" End="{last}"/>' for first, last in ranges]
        lines.append("    </LumiBlockCollection>")
    return "\n".join([*lines, "  </NamedLumiRange>", "</LumiRangeCollection>", ""])


def dials(blocks: Iterable[JournalBlock], model: str, name: str) -> str:
    """Return the scores and verdicts of all scored blocks as CMS' DIALS has them."""
    runs: dict[str, dict[str, list[dict[str, object]]]] = {}
    for one in blocks:
        if one.state in ("good", "bad"):
            entry = {"model_id": model, "me_id": name, "filename": "", "me": name, "mse": one.score}
            runs.setdefault(str(one.run), {})[str(one.block)] = [entry]
    return json.dumps(runs, indent=1) + "\n"


def lost_luminosity(blocks: Sequence[JournalBlock]) -> dict[str, float]:
    """Return the share of the luminosity by what became of it: `certified`, the first defect of bad blocks, or why a block was not scored."""
    weights: dict[str, float] = {}
    for one in blocks:
        what = (
            "certified"
            if one.state == "good"
            else one.kinds[0]
            if one.state == "bad" and one.kinds
            else one.state
        )
        weights[what] = weights.get(what, 0.0) + one.luminosity * one.seconds
    total = sum(weights.values()) or 1.0
    return {what: weight / total for what, weight in sorted(weights.items(), key=lambda pair: -pair[1])}
