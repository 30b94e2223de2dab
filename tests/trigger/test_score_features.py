"""Scoring with every kind of feature: a row per jet, per frame, or per event with a lepton."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

import tamis
from tamis._base import DataError, MissingColumnError
from tamis.bundle import Bundle
from tamis.events import IDENTITY, read_events
from tamis.features import columns_read, input_rows
from tamis.trigger import features_of, inputs_of_events, score_batch, score_files

# the columns between the identity and the outputs
ABOUT = {
    "conv-vae": ["jet", "FatJet_pt", "FatJet_mass"],
    "topology-hlf": [],
    "topology-gru": [],
    "topology-both": [],
    "egamma": ["eta", "phi", "pt"],
    "quark-gluon": ["eta", "phi", "pt", "jet", "Jet_mass"],
    "top": ["eta", "phi", "pt", "jet", "FatJet_mass"],
    "tau": ["eta", "phi", "pt", "jet", "Jet_mass"],
    "top-resnet": ["eta", "phi", "pt", "jet", "FatJet_mass"],
}
LOW_LEVEL = ("egamma", "quark-gluon", "top", "tau")


@pytest.fixture
def file_for(jet_file, lepton_file, low_level_file):
    def write(name):
        if name in LOW_LEVEL:
            return low_level_file("events", 20, 1)
        return (
            lepton_file("events", 20, 1)
            if name.startswith("topology")
            else jet_file("events.parquet", 20, kinds=name == "top-resnet")
        )

    return write


@pytest.mark.parametrize("name", ABOUT)
def test_every_shipped_bundle_scores_events(name, file_for, tmp_path):
    file = file_for(name)
    features = features_of(Bundle.open(name))
    events = next(iter(read_events([file], columns=columns_read(features)))).events
    rows = input_rows(features, events)
    with tamis.open(name) as session:
        facts = score_files(session, [str(file)], tmp_path / "s.parquet")
        expected = session.run(**rows.inputs)
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.schema.names == [*IDENTITY, *ABOUT[name], *expected]
    counts = np.diff(rows.offsets)
    assert facts.events == 20
    assert facts.rows == table.num_rows == len(rows) > 0
    assert facts.events_without_rows == np.count_nonzero(counts == 0)
    assert table["event"].to_pylist() == np.repeat(np.asarray(events["event"]), counts).tolist()
    np.testing.assert_allclose(table["score"].to_numpy(), expected["score"], rtol=1e-4, atol=1e-6)
    for what, values in rows.about.items():
        np.testing.assert_array_equal(table[what].to_numpy(), values)


def test_the_mass_belongs_to_the_jet_of_the_row(low_level_file):
    file = low_level_file("events", 12, 2)
    columns = columns_read(features_of(Bundle.open("top")))
    events = next(iter(read_events([file], columns=[*columns, "FatJet_mass"]))).events
    with tamis.open("top") as session:
        scored = score_batch(session, events, ["FatJet_mass", "FatJet_pt", "PV_z", "absent"])
    place = dict(zip(events["event"].tolist(), range(12), strict=True))
    assert list(scored.columns) == ["FatJet_mass", "FatJet_pt", "PV_z"]
    for row, event in enumerate(scored.identity[:, 2].tolist()):
        mine, jet = place[event], int(scored.about["jet"][row])
        assert scored.columns["FatJet_mass"][row] == events["FatJet_mass"][mine, jet]
        assert scored.columns["FatJet_pt"][row] == scored.about["pt"][row]
        assert scored.columns["PV_z"][row] == events["PV_z"][mine]
    assert set(scored.about["jet"].tolist()) == {0, 1, 2}  # the two hardest of three, in any order


def test_results_do_not_depend_on_the_pieces_of_large_inputs(low_level_file):
    file = low_level_file("events", 150, 3)  # more than one piece of 64 events
    features = features_of(Bundle.open("tau"))
    events = next(iter(read_events([file], columns=columns_read(features)))).events
    with tamis.open("tau") as session:
        whole = score_batch(session, events)
        parts = [score_batch(session, events.select(slice(a, a + 50))) for a in (0, 50, 100)]
    np.testing.assert_array_equal(whole.identity, np.concatenate([part.identity for part in parts]))
    scores = np.concatenate([part.outputs["score"] for part in parts])
    np.testing.assert_allclose(whole.outputs["score"], scores, rtol=1e-4, atol=1e-6)
    assert whole.events_with_rows == sum(part.events_with_rows for part in parts) == 112


@pytest.mark.parametrize("name", LOW_LEVEL)
def test_files_without_low_level_columns_are_rejected(name, jet_file, tmp_path):
    file = str(jet_file("plain.parquet"))
    message = r"plain.parquet.* has no column '\w+'.*[:;] \w+_frames needs low-level columns, which `tamis simulate --low-level` writes$"
    with tamis.open(name) as session, pytest.raises(MissingColumnError, match=message):
        score_files(session, [file], tmp_path / "s.parquet")
    with pytest.raises(MissingColumnError, match=message):
        inputs_of_events(Bundle.open(name), [file], 10)
    assert not (tmp_path / "s.parquet").exists()


def test_inputs_of_events_have_all_features(lepton_file):
    bundle = Bundle.open("topology-both")
    inputs, skipped = inputs_of_events(bundle, [str(lepton_file("events", 30, 1))], 12)
    assert {name: values.shape for name, values in inputs.items()} == {
        "particles": (12, 100, 11),
        "event": (12, 16),
    }
    assert not skipped
    none = str(lepton_file("none", 5, 1, lepton_pt=0.0))
    with pytest.raises(DataError, match=r"no events of .*none.parquet have particle_list and lepton_event"):
        inputs_of_events(bundle, [none], 12)
