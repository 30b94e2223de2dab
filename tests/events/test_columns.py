"""Plain columns equal those of awkward."""

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamis._base import DataError, MissingColumnError
from tamis.events import Events
from tamis.events.columns import Frame, Jagged, columns_of

LISTS = st.lists(st.lists(st.floats(-1e3, 1e3, width=32), max_size=4), min_size=1, max_size=8)


def events_of(lists):
    n = len(lists)
    pt = ak.values_astype(ak.Array([*lists, [1.0]])[:n], np.float32)
    numbers = np.arange(n, dtype=np.uint64)
    return Events.of({"run": numbers, "luminosityBlock": numbers, "event": numbers, "Jet_pt": pt})


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy host takes seconds to draw
@given(LISTS, st.data())
def test_rows_equal_those_of_awkward(lists, data):
    events = events_of(lists)
    frame = Frame(columns_of(events), len(events))
    rows = np.array(data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6)), np.int64)
    start = data.draw(st.integers(0, len(lists)))
    stop = data.draw(st.integers(start, len(lists)))
    for part, expected in (
        (frame, events["Jet_pt"]),
        (frame.take(rows), events["Jet_pt"][rows]),
        (frame.rows(start, stop), events["Jet_pt"][start:stop]),
    ):
        column = part["Jet_pt"]
        assert isinstance(column, Jagged)
        assert len(column) == len(part) == len(expected)
        assert column.flat.tolist() == ak.flatten(expected).to_list()
        assert column.counts.tolist() == ak.num(expected).to_list()
    assert frame.take(rows)["event"].tolist() == rows.tolist()


def test_a_missing_column_is_reported_with_close_matches():
    frame = Frame(columns_of(events_of([[1.0]])), 1)
    with pytest.raises(MissingColumnError, match=r"no column 'Jet_ptt'; .*Jet_pt"):
        frame["Jet_ptt"]


def test_a_column_of_strings_is_rejected():
    events = events_of([[1.0]])
    named = Events.of({**{n: events[n] for n in events.array.fields}, "name": ak.Array(["a"])})
    with pytest.raises(DataError, match=r"column 'name' has the type string"):
        columns_of(named)


@pytest.mark.parametrize(
    ("column", "event", "count"),
    [
        ([[1.0], [None, 2.0], [None]], "1:1:1", 2),
        ([[1.0], [], None], "2:2:2", 1),
        ([1.0, None, 3.0], "1:1:1", 1),
    ],
)
def test_a_missing_value_is_reported_with_its_event(column, event, count):
    numbers = np.arange(3, dtype=np.uint64)
    events = Events.of(
        {"run": numbers, "luminosityBlock": numbers, "event": numbers, "Jet_pt": ak.Array(column)}
    )
    with pytest.raises(DataError, match=f"Jet_pt has no value in event {event} \\({count} such events"):
        columns_of(events)
