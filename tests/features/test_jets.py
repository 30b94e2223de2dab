"""Leading jets against a slow reference, and errors about unsuitable columns."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis._base import DataError
from tamis.events import Events
from tamis.features import leading_jets


def random_events(seed: int, count: int) -> Events:
    rng = np.random.default_rng(seed)
    n_jets, n_candidates = rng.integers(0, 5, count), rng.integers(0, 12, count)
    n_links = np.where((n_jets > 0) & (n_candidates > 0), rng.integers(0, 15, count), 0)

    def lists(counts, values):
        return ak.unflatten(values.astype("f4"), counts)

    jets, candidates = n_jets.sum(), n_candidates.sum()
    owner = np.repeat(np.arange(count), n_links)
    return Events.of(
        {
            "run": np.ones(count, int),
            "luminosityBlock": np.full(count, 2),
            "event": np.arange(count) + 100,
            "FatJet_pt": lists(n_jets, rng.integers(1, 6, jets)),
            "FatJet_eta": lists(n_jets, rng.normal(size=jets)),
            "FatJet_phi": lists(n_jets, rng.uniform(-np.pi, np.pi, jets)),
            "FatJetPFCands_jetIdx": ak.unflatten(rng.integers(0, np.maximum(n_jets[owner], 1)), n_links),
            "FatJetPFCands_pFCandsIdx": ak.unflatten(
                rng.integers(0, np.maximum(n_candidates[owner], 1)), n_links
            ),
            "PFCands_pt": lists(n_candidates, rng.integers(1, 6, candidates)),
            "PFCands_eta": lists(n_candidates, rng.normal(size=candidates)),
            "PFCands_phi": lists(n_candidates, rng.uniform(-np.pi, np.pi, candidates)),
        }
    )


def slow_jets(events: Events, jets: int, constituents: int):
    """Return the jets from a loop over events, jets and constituents."""
    inputs, rows, indices = [], [], []
    for row, event in enumerate(events.array.to_list()):
        for jet in sorted(range(len(event["FatJet_pt"])), key=lambda i: -event["FatJet_pt"][i])[:jets]:
            links = zip(event["FatJetPFCands_jetIdx"], event["FatJetPFCands_pFCandsIdx"], strict=True)
            members = sorted((c for j, c in links if j == jet), key=lambda c: -event["PFCands_pt"][c])
            image = np.zeros((constituents, 3), np.float32)
            for slot, c in enumerate(members[:constituents]):
                phi = event["PFCands_phi"][c] - event["FatJet_phi"][jet]
                phi -= 2 * np.pi * round(phi / (2 * np.pi))
                image[slot] = event["PFCands_eta"][c] - event["FatJet_eta"][jet], phi, event["PFCands_pt"][c]
            inputs.append(image)
            rows.append(row)
            indices.append(jet)
    return np.array(inputs, np.float32).reshape(-1, constituents, 3), rows, indices


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6), st.integers(1, 3), st.integers(1, 6))
def test_jets_agree_with_the_slow_reference(seed, count, jets, constituents):
    events = random_events(seed, count)
    found = leading_jets(events, jets=jets, constituents=constituents)
    inputs, rows, indices = slow_jets(events, jets, constituents)
    assert found.inputs.dtype == np.float32
    assert found.event_row.tolist() == rows
    assert found.jet_index.tolist() == indices
    np.testing.assert_allclose(found.inputs, inputs, atol=2e-6)


def test_columns_of_jets_and_of_events_are_taken_for_each_jet():
    events = random_events(1, 50)
    found = leading_jets(events)
    assert len(found) > 20
    pt = [events["FatJet_pt"][row][jet] for row, jet in zip(found.event_row, found.jet_index, strict=True)]
    assert found.take(events, "FatJet_pt").tolist() == pt
    assert found.take(events, "event").tolist() == (found.event_row + 100).tolist()
    assert found.n_constituents.tolist() == [int((row[:, 2] > 0).sum()) for row in found.inputs]


@pytest.mark.parametrize("column", ["FatJetPFCands_jetIdx", "FatJetPFCands_pFCandsIdx"])
@pytest.mark.parametrize("wrong", [-1, 99])
def test_an_index_out_of_range_is_an_error_with_its_event(column, wrong):
    events = random_events(2, 30)
    row = int(ak.argmax(ak.num(events[column])))
    lists = events[column].to_list()
    lists[row][0] = wrong
    broken = Events(ak.with_field(events.array, lists, column))
    with pytest.raises(DataError, match=f"{column} is {wrong} in event 1:2:{100 + row}"):
        leading_jets(broken)


def test_a_missing_value_is_an_error_with_its_event():
    for column in ("FatJetPFCands_jetIdx", "PFCands_pt"):
        array = random_events(3, 20).array
        row = int(np.flatnonzero(ak.to_numpy(ak.num(array[column])))[0])
        gone = ak.local_index(array[column]) == 0
        gone = gone & (np.arange(20) == row)
        with pytest.raises(
            DataError, match=f"{column} has no value in event 1:2:{100 + row} .*leave the events out"
        ):
            leading_jets(Events(ak.with_field(array, ak.mask(array[column], ~gone), column)))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "FatJet_pt",
            np.ones(20, "f4"),
            r"FatJet_pt is float32 in every event, but a list of numbers is needed",
        ),
        ("PFCands_pt", ak.Array([["a"]] * 20), r"PFCands_pt is var \* string"),
        ("FatJet_phi", ak.Array(["ab"] * 20), r"FatJet_phi is string"),
        ("FatJet_eta", ak.Array([[[1.0]]] * 20), r"FatJet_eta is var \* var \* float64"),
        ("FatJet_pt", ak.Array([[1.0], None] * 10), r"FatJet_pt has no value in event 1:2:101 \(10 such"),
        (
            "FatJet_eta",
            ak.Array([[1.0] * 9] * 20),
            r"FatJet_pt and FatJet_eta differ in length in event 1:2:100",
        ),
    ],
)
def test_a_column_of_the_wrong_type_is_an_error(column, values, message):
    with pytest.raises(DataError, match=message):
        leading_jets(Events(ak.with_field(random_events(3, 20).array, values, column)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (ak.Array(["ab"] * 20), "FatJet_mass is string in every event"),
        (ak.Array([[None, 1]] * 20), r"FatJet_mass has no value in event 1:2:100"),
        (ak.Array([[1.0] * 9] * 20), r"FatJet_pt and FatJet_mass differ in length"),
    ],
)
def test_a_column_that_does_not_match_the_jets_is_an_error(values, message):
    events = Events(ak.with_field(random_events(3, 20).array, values, "FatJet_mass"))
    with pytest.raises(DataError, match=message):
        leading_jets(events).take(events, "FatJet_mass")


def test_lists_of_fixed_length_and_batches_without_jets_are_accepted():
    array = random_events(3, 4).array
    for column in array.fields:
        if column.startswith("FatJetPFCands"):
            array = ak.with_field(array, [[]] * 4, column)
        elif column.startswith("FatJet"):
            array = ak.with_field(array, np.ones((4, 3)), column)
    assert len(leading_jets(Events(array), jets=2)) == 8
    for column in array.fields:
        if column.startswith("FatJet"):
            array = ak.with_field(array, [[]] * 4, column)
    assert len(leading_jets(Events(array))) == 0


def test_constituents_of_real_jets_carry_the_transverse_momentum(real_file):
    from tamis.events import read_events
    from tamis.features import JET_COLUMNS

    (chunk,) = read_events(real_file("pfnano.root"), columns=JET_COLUMNS)
    found = leading_jets(chunk.events)
    assert found.inputs.shape == (20, 100, 3)
    ratio = found.inputs[:, :, 2].sum(axis=1) / found.take(chunk.events, "FatJet_pt")
    assert np.all((ratio > 0.85) & (ratio < 1.05))
    assert np.abs(found.inputs[:, :, :2]).max() < 0.9
