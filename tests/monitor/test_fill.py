"""What became of a fill: defects with intervals, a page, and an archive with every block."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from tamis.monitor.fill import archive, defect_intervals, fill_record
from tamis.monitor.journal import Journal, JournalBlock
from tamis.monitor.run import monitor_stream
from tamis.records import write_record
from tamis.report import write_report


def block(run, number, state="bad", kind="HVTRIP", region="EMBA"):
    return JournalBlock(
        run, number, state, 2.0, "", region, "Q", "up", (kind, "SEVUNKNOWN"), 1.0, 60, 1, 60_000
    )


def test_blocks_one_after_the_other_with_one_defect_are_one_interval():
    blocks = [
        block(1, 1), block(1, 2), block(1, 3, "good"), block(1, 4), block(1, 5, kind="BADTIMING"), block(1, 6, kind="BADTIMING", region="EMBC"),
        block(2, 7, kind="BADTIMING", region="EMBC"), block(2, 9, kind="BADTIMING", region="EMBC"),
    ]  # fmt: skip
    found = [
        (one.run, one.first_block, one.last_block, one.defect, one.region, one.seconds)
        for one in defect_intervals(blocks)
    ]
    assert found == [
        (1, 1, 2, "HVTRIP", "EMBA", 120),
        (1, 4, 4, "HVTRIP", "EMBA", 60),
        (1, 5, 5, "BADTIMING", "EMBA", 60),
        (1, 6, 6, "BADTIMING", "EMBC", 60),
        (2, 7, 7, "BADTIMING", "EMBC", 60),
        (2, 9, 9, "BADTIMING", "EMBC", 60),
    ]


@pytest.fixture(scope="module")
def journal(faulty, monitor_bundle, tmp_path_factory):
    journal = monitor_stream(faulty[0], monitor_bundle, tmp_path_factory.mktemp("fill") / "out").journal
    yield journal
    journal.close()


def test_the_page_shows_every_run_and_defect(journal, tmp_path):
    record = fill_record(journal, "fill 1")
    assert sum(record.states.values()) == record.blocks == sum(len(one.blocks) for one in record.trends)
    assert sum(record.luminosity.values()) == pytest.approx(1)
    bad = sum(one.last_block - one.first_block + 1 for one in record.defects)
    assert bad == record.states["bad"]
    write_record(record, tmp_path / "fill.json")
    write_report([tmp_path], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert all(f"run {one.run}" in page for one in record.trends)
    assert all(one.defect in page for one in record.defects)
    assert "score / limit" in page or "<svg" in page


def test_the_archive_has_every_block_with_its_features(journal, tmp_path):
    path = tmp_path / "blocks.parquet"
    ak.to_parquet(archive(journal), path)
    table = ak.from_parquet(path)
    blocks = list(journal.blocks())
    assert table["luminosityBlock"].to_list() == [one.block for one in blocks]
    assert table["state"].to_list() == [one.state for one in blocks]
    mean = np.asarray(table["EMBC_Q_mean"])
    observed = {one.key: one for one in journal.observed()}
    assert np.isfinite(mean).sum() == len(observed)
    assert 0.02 < np.nanmean(mean) < 0.05


def test_a_journal_that_does_not_know_its_columns_says_so(tmp_path):
    from tamis._base import DataError

    journal = Journal(tmp_path, create=True)
    with pytest.raises(DataError, match="replay it"):
        archive(journal)
    with pytest.raises(DataError, match="no blocks"):
        fill_record(journal, "empty")
    journal.close()
