"""Several features as the inputs of one model."""

import numpy as np
import pytest

from tamis._base import DataError, UsageError
from tamis.events import Frame, Jagged, read_events
from tamis.features import Feature, InputRows, Rows, columns_read, find_inputs, input_rows


@pytest.fixture
def events(lepton_file):
    columns = columns_read(find_inputs({"particles": "particle_list", "event": "lepton_event"}))
    return next(iter(read_events(lepton_file("events", 30, 1), columns=columns))).events


def test_all_inputs_have_rows_for_the_same_events(events):
    features = find_inputs({"particles": "particle_list", "event": "lepton_event"})
    found = input_rows(features, events)
    assert 0 < len(found) < 31
    assert {name: values.shape for name, values in found.inputs.items()} == {
        "particles": (len(found), 100, 11),
        "event": (len(found), 16),
    }
    lepton_pt = found.inputs["event"][:, 9]
    assert np.array_equal(found.inputs["particles"][:, 0, 0], lepton_pt)


def test_every_column_is_read_once():
    columns = columns_read(find_inputs({"particles": "particle_list", "event": "lepton_event"}))
    assert len(set(columns)) == len(columns)
    assert {"Muon_pt", "PFCands_d0", "Jet_btag", "MET_phi"} <= set(columns)


def test_features_with_rows_for_different_events_are_an_error(events):
    single_rows = Feature(
        "single_rows", (), (), lambda frame: Rows(np.zeros((len(frame), 1)), np.arange(len(frame) + 1))
    )
    double_rows = Feature(
        "double_rows",
        (),
        (),
        lambda frame: Rows(np.zeros((2 * len(frame), 1)), 2 * np.arange(len(frame) + 1)),
    )
    with pytest.raises(
        UsageError,
        match=r"the inputs a \(single_rows\) and b \(double_rows\) have rows for different events \(30 and 60\)",
    ):
        input_rows({"a": single_rows, "b": double_rows}, events)


def test_columns_of_jets_and_of_events_are_taken_for_each_row():
    frame = Frame(
        {
            **dict.fromkeys(("run", "luminosityBlock", "event"), np.arange(3)),
            "MET_pt": np.array([1.0, 2.0, 3.0]),
            "Jet_pt": Jagged(np.array([0, 2, 2, 3]), np.array([50.0, 40.0, 30.0])),
            "Jet_mass": Jagged(np.array([0, 2, 2, 3]), np.array([5.0, 4.0, 3.0])),
            "Jet_short": Jagged(np.array([0, 1, 1, 2]), np.array([5.0, 4.0])),
            "Muon_pt": Jagged(np.array([0, 1, 1, 1]), np.array([9.0])),
        },
        3,
    )
    rows = InputRows({"x": np.zeros((2, 1))}, np.array([0, 1, 1, 2]), {"jet": np.array([1, 0])}, "Jet")
    assert rows.take(frame, "Jet_mass").tolist() == [4.0, 3.0]
    assert rows.take(frame, "MET_pt").tolist() == [1.0, 3.0]
    with pytest.raises(UsageError, match="Muon_pt is a list in every event"):
        rows.take(frame, "Muon_pt")
    with pytest.raises(DataError, match=r"Jet_pt and Jet_short differ in length in event 0:0:0"):
        rows.take(frame, "Jet_short")
