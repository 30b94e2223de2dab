"""Expressions: results equal to those of awkward, in batches and event by event."""

import awkward as ak
import numpy as np
import pytest

from tamis._base import DataError, TamisError, UsageError
from tamis.events import Events, Frame, Jagged, columns_of
from tamis.trigger.stages import parse_expression

N = 400


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(5)
    counts = {"Muon": rng.integers(0, 4, N), "Jet": rng.integers(0, 6, N)}

    def lists(name, values):
        return ak.unflatten(values.astype(np.float32), counts[name])

    numbers = np.arange(N, dtype=np.uint64)
    columns = {"run": numbers, "luminosityBlock": numbers, "event": numbers}
    for name, count in counts.items():
        total = int(count.sum())
        columns[f"{name}_pt"] = lists(name, rng.exponential(30, total))
        columns[f"{name}_eta"] = lists(name, rng.normal(0, 1.5, total))
        columns[f"{name}_phi"] = lists(name, rng.uniform(-np.pi, np.pi, total))
    columns["MET_pt"] = rng.exponential(40, N).astype(np.float32)
    columns["MET_phi"] = rng.uniform(-np.pi, np.pi, N).astype(np.float32)
    return Events.of(columns)


CASES = {
    "MET_pt > 50": lambda e: e.MET_pt > 50,
    "count(Muon_pt > 24 and abs(Muon_eta) < 2.4) >= 1": lambda e: (
        ak.sum((e.Muon_pt > 24) & (abs(e.Muon_eta) < 2.4), axis=1) >= 1
    ),
    "20 < max(Jet_pt) <= 80 or not any(Muon_pt > 5)": lambda e: (
        (
            (ak.fill_none(ak.max(e.Jet_pt, axis=1), -np.inf) > 20)
            & (ak.fill_none(ak.max(e.Jet_pt, axis=1), -np.inf) <= 80)
        )
        | ~ak.any(e.Muon_pt > 5, axis=1)
    ),
    "sum(Jet_pt) + MET_pt": lambda e: ak.sum(ak.values_astype(e.Jet_pt, np.float64), axis=1) + e.MET_pt,
    "all(Jet_pt > 1)": lambda e: ak.all(e.Jet_pt > 1, axis=1),
    "at(Jet_pt, 1, -1.0)": lambda e: ak.fill_none(ak.pad_none(e.Jet_pt, 2)[:, 1], -1.0),
    "min(abs(delta_phi(Jet_phi, MET_phi)))": lambda e: ak.fill_none(
        ak.min(abs((e.Jet_phi - e.MET_phi + np.pi) % (2 * np.pi) - np.pi), axis=1), np.inf
    ),
    "count(sqrt(Jet_pt ** 2 * 1) / 2 >= MET_pt - 3 % 2)": lambda e: ak.sum(
        np.sqrt(e.Jet_pt**2) / 2 >= e.MET_pt - 1, axis=1
    ),
    "count(where(Jet_eta > 0, Jet_pt, -Jet_pt) > 10)": lambda e: ak.sum(
        (e.Jet_eta > 0) & (e.Jet_pt > 10), axis=1
    ),
    "2 > 1": lambda e: np.ones(N, bool),
}


@pytest.mark.parametrize("text", CASES)
def test_results_equal_awkward_in_batches_and_event_by_event(events, text):
    expression = parse_expression(text)
    frame = Frame(columns_of(events, expression.reads), len(events))
    found, undecided = expression(frame)
    assert undecided is None
    expected = ak.to_numpy(CASES[text](events.array))
    np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=1e-6, atol=1e-5)
    single = np.concatenate([expression(frame.rows(i, i + 1))[0] for i in range(len(events))])
    np.testing.assert_array_equal(single, found)
    rows = np.flatnonzero(np.arange(N) % 3 == 1)
    np.testing.assert_array_equal(expression(frame.take(rows))[0], found[rows])
    assert len(expression(frame.rows(5, 5))[0]) == 0


def test_nan_makes_only_its_own_event_undecided(events):
    columns = columns_of(events, ("Jet_pt", "MET_pt"))
    met = columns["MET_pt"].copy()
    met[7] = np.nan
    pt = columns["Jet_pt"]
    event = int(np.flatnonzero(pt.counts > 1)[3])
    values = pt.values.copy()
    values[pt.offsets[event] + 1] = np.nan
    frame = Frame({"Jet_pt": Jagged(pt.offsets, values), "MET_pt": met}, N)
    _, undecided = parse_expression("any(Jet_pt > 10) and MET_pt > 5")(frame)
    assert np.flatnonzero(undecided).tolist() == sorted({7, event})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Jet_pt >", r"'Jet_pt >' is not valid"),
        ("Jet_pt > 1 2", r"is not valid at character \d"),
        ("coutn(Jet_pt) > 1", r"character 1: there is no function 'coutn'; .*count"),
        ("at(Jet_pt, 0)", r"at takes 3 arguments \(the list, the index from 0"),
        ("MET_pt in (1, 2)", "uses another comparison"),
        ("__import__('os').system('true')", "is not supported"),
        ("MET_pt.__class__", "is not supported"),
        ("[x for x in Jet_pt]", "is not supported"),
        ("'a'", "is not supported"),
        ("(" * 500 + "1" + ")" * 500, "is not valid"),
        ("-" * 5000 + "1", "deep|valid"),
    ],
)
def test_invalid_expressions_are_rejected_on_parsing(text, message):
    with pytest.raises(UsageError, match=message):
        parse_expression(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Jet_pt > 10", "has a list per event; reduce it to one value"),
        ("max(MET_pt) > 1", r"max\(...\) takes a list per event"),
        ("any(Jet_pt > Muon_pt)", "lists of different lengths"),
        ("MET_ptt > 1", "no column 'MET_ptt'.*MET_pt"),
    ],
)
def test_expressions_that_do_not_fit_the_events_are_rejected(events, text, message):
    expression = parse_expression(text)
    frame = Frame(columns_of(events), len(events))
    with pytest.raises((DataError, UsageError), match=message) as raised:
        expression(frame)
    assert isinstance(raised.value, TamisError)
