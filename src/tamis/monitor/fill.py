"""What became of the blocks of a journal: defects with intervals, luminosity lost, trends; and the archive of all blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import awkward as ak
import numpy as np

from tamis._base import DataError, host_facts, parse_document, utc_timestamp
from tamis.monitor.certify import lost_luminosity
from tamis.monitor.features import BlockFeature, features_of
from tamis.monitor.journal import Journal, JournalBlock
from tamis.monitor.watch import Watch
from tamis.records import DefectInterval, FillRecord, FillTrend


def defect_intervals(blocks: Sequence[JournalBlock]) -> list[DefectInterval]:
    """Return the defects of bad blocks: one interval for blocks one after the other with the same first defect and region."""
    found: list[DefectInterval] = []
    for one in blocks:
        if one.state != "bad":
            continue
        defect = one.kinds[0] if one.kinds else "SEVUNKNOWN"
        last = found[-1] if found else None
        goes_on = (
            last is not None and (last.run, last.last_block + 1, last.defect, last.region) == (one.run, one.block, defect, one.region)
        )  # fmt: skip
        if last is not None and goes_on:
            found[-1] = last.model_copy(
                update={"last_block": one.block, "seconds": last.seconds + one.seconds}
            )
        else:
            found.append(
                DefectInterval(
                    run=one.run, first_block=one.block, last_block=one.block, defect=defect, region=one.region, quantity=one.quantity,
                    direction=one.direction, seconds=one.seconds,
                )
            )  # fmt: skip
    return found


def fill_record(journal: Journal, name: str) -> FillRecord:
    """Return what became of the blocks of a journal, with the overrides of persons."""
    blocks = list(journal.decided())
    if not blocks:
        raise DataError("the journal has no blocks: watch a stream first")
    return FillRecord(
        created=utc_timestamp(), host=host_facts(), name=name, blocks=len(blocks), states=dict(Counter(one.state for one in blocks)),
        luminosity=lost_luminosity(blocks), defects=defect_intervals(blocks), late=journal.late(), alarms=sum(not one.lasts for one in journal.alarms()),
        notes=len(journal.notes()),
        trends=[
            FillTrend(
                run=run, blocks=[one.block for one in own], states=[one.state for one in own], scores=[one.score for one in own],
                luminosity=[one.luminosity for one in own],
            )
            for run, own in _by_run(blocks).items()
        ],
    )  # fmt: skip


def _by_run(blocks: Sequence[JournalBlock]) -> dict[int, list[JournalBlock]]:
    runs: dict[int, list[JournalBlock]] = {}
    for one in blocks:
        runs.setdefault(one.run, []).append(one)
    return runs


def archive(journal: Journal) -> ak.Array:
    """Return all blocks of a journal as columns: verdicts, explanations, and the features of those that have any."""
    text = journal.fact("watch")
    if text is None:
        raise DataError("the journal does not say which quantities it has: replay it, and archive the replay")
    watch = parse_document(text, Watch, "the watch of the journal")
    blocks = list(journal.decided())
    names = [column_of(one) for one in features_of(watch)]
    table = np.full((len(blocks), len(names)), np.nan)
    place = {(one.run, one.block): k for k, one in enumerate(blocks)}
    condition = np.full(len(blocks), np.nan)
    for one in journal.observed():
        table[place[one.key]], condition[place[one.key]] = one.features, one.condition
    columns: dict[str, object] = {
        "run": [one.run for one in blocks],
        "luminosityBlock": [one.block for one in blocks],
        **{
            name: [getattr(one, name) for one in blocks]
            for name in ("state", "score", "reason", "region", "quantity", "direction", "luminosity", "seconds", "mode", "events")
        },
        "kinds": [" ".join(one.kinds) for one in blocks],
        "condition": condition,
        **dict(zip(names, np.ascontiguousarray(table.T), strict=True)),
    }  # fmt: skip
    return ak.zip({name: ak.Array(column) for name, column in columns.items()}, depth_limit=1)


def column_of(feature: BlockFeature) -> str:
    """Return the name of the column of a feature, such as EMBC_Q_mean."""
    return f"{feature.region}_{feature.quantity}_{feature.of}"
