from __future__ import annotations

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tamis._base import UsageError
from tamis.events import FileSummary, inspect_file, read_events, write_events


@pytest.mark.parametrize(("suffix", "kind"), [(".root", "ROOT TTree"), (".parquet", "Parquet")])
def test_inspect_reports_columns_sizes_and_identity(tmp_path, make_events, suffix, kind):
    path = tmp_path / f"events{suffix}"
    events = make_events(40, first=1000)
    write_events(path, events)
    summary = inspect_file(path)
    assert (summary.format, summary.entries, summary.file_bytes) == (kind, 40, path.stat().st_size)
    kinds = {column.name: column.type for column in summary.columns}
    assert {column.name: column.type for column in events.schema}.items() <= kinds.items()
    candidates = next(column for column in summary.columns if column.name == "PFCands_pt")
    assert 0 < candidates.compressed_bytes <= 2 * candidates.uncompressed_bytes
    identity = summary.identity
    assert (identity.run, identity.event, identity.synthesised) == ("run", "event", ())
    assert (identity.run_range, identity.luminosity_block_range, identity.event_range) == (
        (3, 3),
        (7, 7),
        (1000, 1039),
    )
    assert FileSummary.model_validate_json(summary.model_dump_json()) == summary


def test_all_trees_are_listed_and_a_missing_identity_is_reported(tmp_path):
    with uproot.recreate(tmp_path / "plain.root") as file:
        file.mktree("Events", {"x": "f8"}).extend({"x": np.arange(3.0)})
        file.mktree("Runs", {"y": "f8"}).extend({"y": np.arange(2.0)})
    summary = inspect_file(tmp_path / "plain.root")
    assert [(tree.name, tree.entries) for tree in summary.trees] == [("Events", 3), ("Runs", 2)]
    assert summary.identity.synthesised == ("run", "luminosityBlock", "event")
    assert summary.identity.run_range is None
    assert inspect_file(tmp_path / "plain.root", tree="Runs").entries == 2


def test_each_of_several_trees_is_summarised(tmp_path):
    with uproot.recreate(tmp_path / "two.root") as file:
        file.mktree("signal", {"x": "f8", "y": "f4"}).extend({"x": np.zeros(3), "y": np.zeros(3, np.float32)})
        file.mktree("background", {"x": "f8"}).extend({"x": np.arange(2.0)})
    summary = inspect_file(tmp_path / "two.root")
    assert [(tree.name, tree.entries, tree.columns, tree.first_columns) for tree in summary.trees] == [
        ("signal", 3, 2, "x, y"),
        ("background", 2, 1, "x"),
    ]
    assert (summary.tree, summary.columns) == (None, ())
    with pytest.raises(
        UsageError, match=r"several trees; choose one with --tree \(tree=\): signal, background"
    ):
        list(read_events(tmp_path / "two.root"))


def test_datasets_report_their_shapes(tmp_path):
    with h5py.File(tmp_path / "jets.h5", "w") as file:
        file.create_dataset("jets", data=np.zeros((7, 100, 3), np.float32), compression="gzip")
    np.savez(tmp_path / "jets.npz", jets=np.zeros((7, 100, 3)))
    (dataset,) = inspect_file(tmp_path / "jets.h5").datasets
    assert (dataset.name, dataset.type, dataset.shape) == ("jets", "float32", (7, 100, 3))
    assert dataset.compressed_bytes < dataset.uncompressed_bytes == 7 * 300 * 4
    assert inspect_file(tmp_path / "jets.npz").datasets[0].shape == (7, 100, 3)


def test_missing_event_numbers_are_counted(tmp_path):
    pq.write_table(
        pa.table({"run": pa.array([None] * 3, pa.int64()), "event": pa.array([4, None, 9], pa.uint64())}),
        tmp_path / "a.parquet",
    )
    identity = inspect_file(tmp_path / "a.parquet").identity
    assert identity.missing == {"run": 3, "event": 1}
    assert (identity.run_range, identity.event_range) == (None, (4, 9))
