"""Files of experiments, if they are available."""

from __future__ import annotations

import pytest

from tamis._base import UnreadableFileError
from tamis.events import Events, inspect_file, read_events, write_events

SOME = ["Muon_p*", "Muon_*Id", "LHEPdfWeight", "MET_pt", "HLT_IsoMu2*", "genWeight", "GenPart_*", "nMuon"]


def read_all(path, **options) -> Events:
    return Events.concatenate([chunk.events for chunk in read_events(path, **options)])


@pytest.mark.parametrize("columns", [SOME, pytest.param(None, marks=pytest.mark.slow)])
def test_nanoaod_as_rntuple_is_the_same_as_its_tree(real_file, same, columns):
    tree = read_all(real_file("nano_dy.root"), columns=columns, chunk_bytes=50_000 if columns else 10**8)
    ntuple = read_all(real_file("nano_dy_rntuple.root"), columns=columns)
    assert len(tree) == 40
    assert len(tree.schema) > (40 if columns else 1400)
    assert same(tree, ntuple)


def test_nanoaod_survives_being_written_and_read(real_file, tmp_path, same):
    events = read_all(real_file("nano_dy.root"), columns=SOME[:-1])
    for suffix in (".root", ".parquet"):
        write_events(tmp_path / f"copy{suffix}", events)
        assert same(read_all(tmp_path / f"copy{suffix}"), events)


def test_pfnano_is_inspected(real_file):
    summary = inspect_file(real_file("pfnano.root"))
    assert (summary.tree, summary.entries) == ("Events", 10)
    assert {tree.name for tree in summary.trees} >= {"Events", "Runs", "LuminosityBlocks"}
    assert next(column.type for column in summary.columns if column.name == "PFCands_pt") == "var * float32"
    assert summary.identity.event_range == (1735801, 1735816)


@pytest.mark.parametrize(
    ("tree", "column"), [("MetaData", "ProcessHistory"), ("ParameterSets", "IdToParameterSetsBlobs")]
)
def test_an_object_of_an_unsupported_class_is_reported(real_file, tree, column):
    path = real_file("pfnano.root")
    assert column not in read_all(path, tree=tree)
    assert [column.name for column in inspect_file(path, tree=tree).unreadable_columns] == [column]
    with pytest.raises(UnreadableFileError, match=rf"branch '{column}' has an unsupported type .*edm::"):
        read_all(path, tree=tree, columns=[column])


def test_a_file_without_a_directory_is_reported(real_file):
    with pytest.raises(
        UnreadableFileError, match=r"bad_delphes\.root has no tree of events: its directory is empty"
    ):
        read_all(real_file("bad_delphes.root"))
