"""The features of events with a lepton against slow loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis._base import DataError
from tamis.events import IDENTITY, Frame, Jagged
from tamis.features import LEPTON_EVENT_VALUES, PARTICLE_VALUES, find_feature
from tamis.features.lepton import leading_leptons

PARTICLE_LIST, LEPTON_EVENT = find_feature("particle_list"), find_feature("lepton_event")
COLLECTIONS = {
    "Electron": ("pt", "eta", "phi", "pfRelIso03_all", "charge", "dxy"),
    "Muon": ("pt", "eta", "phi", "pfRelIso03_all", "charge", "dxy"),
    "PFCands": ("pt", "eta", "phi", "charge", "d0", "pdgId"),
    "Jet": ("pt", "eta", "phi", "btag"),
}


def jagged(lists, dtype=np.float32):
    flat = np.array([x for values in lists for x in values], dtype)
    return Jagged(np.cumsum([0, *map(len, lists)]), flat)


def event(rng, sizes):
    """Return a random event, dense in angle, so that objects overlap and cones are not empty."""
    columns = {}
    for prefix, count in zip(COLLECTIONS, sizes, strict=True):
        columns[f"{prefix}_pt"] = rng.choice([5.0, 22.9, 25.0, 31.0, 47.5, 60.0], count)
        columns[f"{prefix}_eta"] = rng.choice([-2.6, -0.3, 0.0, 0.005, 0.2, 1.0, 2.41], count)
        columns[f"{prefix}_phi"] = rng.choice([-3.14, -1.0, 0.0, 0.003, 0.3, 3.14], count)
        columns[f"{prefix}_pfRelIso03_all"] = rng.choice([0.0, 0.3, 0.9], count)
        columns[f"{prefix}_charge"] = rng.choice([-1, 1], count)
        columns[f"{prefix}_dxy"] = columns[f"{prefix}_d0"] = rng.normal(0, 0.01, count)
        columns[f"{prefix}_btag"] = rng.choice([-1.0, 0.1, 0.6, 0.9], count)
    kind = rng.choice([211, -211, 11, -13, 22, 130, 1, 2, 0], sizes[2])
    columns["PFCands_pdgId"] = kind
    columns["PFCands_charge"] = np.where(np.isin(np.abs(kind), (211, 11, 13)), np.sign(kind), 0)
    columns["MET_pt"], columns["MET_phi"] = rng.uniform(0, 100), rng.uniform(-3, 3)
    return columns


def frame_of(events):
    names = [f"{prefix}_{name}" for prefix, columns in COLLECTIONS.items() for name in columns]
    integers = ("PFCands_pdgId", "PFCands_charge", "Muon_charge", "Electron_charge")
    data = {n: jagged([e[n] for e in events], np.int32 if n in integers else np.float32) for n in names}
    data |= {n: np.array([e[n] for e in events], np.float32) for n in ("MET_pt", "MET_phi")}
    data |= {n: np.arange(len(events)) for n in IDENTITY}
    return Frame(data, len(events))


@st.composite
def batches(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.tuples(*[st.integers(0, most) for most in (3, 3, 130, 6)]), max_size=6))
    return [event(rng, counts) for counts in sizes]


def the_lepton(e):
    best = None
    for kind in ("Electron", "Muon"):
        for i in range(len(e[f"{kind}_pt"])):
            f32 = {n: float(np.float32(e[f"{kind}_{n}"][i])) for n in COLLECTIONS[kind]}
            passes = f32["pt"] > 23 and abs(f32["eta"]) < 2.4 and f32["pfRelIso03_all"] < 0.8
            if passes and (best is None or f32["pt"] > best["pt"]):
                best = {**f32, "muon": kind == "Muon"}
    return best


def delta_phi(a, b):
    d = a - b
    return d - 2 * math.pi * round(d / (2 * math.pi))


def slow_particles(e):
    lepton = the_lepton(e)
    if lepton is None:
        return None
    rows = [[lepton["pt"], 0, 0, lepton["charge"], lepton["dxy"], lepton["pfRelIso03_all"],
             0, 0, 0, not lepton["muon"], lepton["muon"]]]  # fmt: skip
    for i in sorted(range(len(e["PFCands_pt"])), key=lambda i: -e["PFCands_pt"][i]):
        eta, phi = e["PFCands_eta"][i] - lepton["eta"], delta_phi(e["PFCands_phi"][i], lepton["phi"])
        kind, charge = abs(e["PFCands_pdgId"][i]), e["PFCands_charge"][i]
        if charge and math.hypot(eta, phi) < 0.01:
            continue
        types = [kind == 211, kind in (130, 1, 0), kind in (22, 2), kind == 11, kind == 13]
        rows.append([e["PFCands_pt"][i], eta, phi, charge, e["PFCands_d0"][i], 0, *types])
    return np.array((rows + [[0.0] * 11] * 100)[:100])


def slow_features(e):
    lepton = the_lepton(e)
    if lepton is None:
        return None
    jets, near_lepton = [], 0.0
    for pt, eta, phi, tag in zip(*(e[f"Jet_{n}"] for n in COLLECTIONS["Jet"]), strict=True):
        if math.hypot(eta - lepton["eta"], delta_phi(phi, lepton["phi"])) < 0.4:
            near_lepton += pt
        elif pt > 30 and abs(eta) < 2.4:
            jets.append((pt, tag))
    jets.sort(reverse=True)
    pts = [pt for pt, _ in jets] + [0.0, 0.0]
    d_phi = abs(delta_phi(e["MET_phi"], lepton["phi"]))
    mt = math.sqrt(2 * lepton["pt"] * e["MET_pt"] * (1 - math.cos(d_phi)))
    return np.array([
        sum(pts), len(jets), sum(tag > 0.5 for _, tag in jets), pts[0], pts[1], max([0.0, *(tag for _, tag in jets)]),
        e["MET_pt"], mt, d_phi, lepton["pt"], abs(lepton["eta"]), lepton["pfRelIso03_all"], abs(lepton["dxy"]),
        lepton["charge"], lepton["muon"], lepton["pt"] / near_lepton if near_lepton else 1.0,
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "slow"), [(PARTICLE_LIST, slow_particles), (LEPTON_EVENT, slow_features)]
)
@settings(deadline=None, max_examples=60)
@given(events=batches())
def test_rows_agree_with_the_slow_loop(feature, slow, events):
    expected = [slow(e) for e in events]
    found = feature.build(frame_of(events))
    assert np.diff(found.offsets).tolist() == [e is not None for e in expected]
    expected_rows = [e for e in expected if e is not None]
    assert len(found) == len(expected_rows)
    assert found.inputs.dtype == np.float32
    if expected_rows:
        np.testing.assert_allclose(found.inputs, np.array(expected_rows, np.float64), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("feature", [PARTICLE_LIST, LEPTON_EVENT])
@settings(deadline=None, max_examples=30)
@given(events=batches())
def test_a_single_event_has_the_same_rows_as_in_a_batch(feature, events):
    frame = frame_of(events)
    whole = feature.build(frame)
    for i in range(len(events)):
        alone = feature.build(frame.rows(i, i + 1))
        assert np.array_equal(alone.inputs, whole.inputs[whole.offsets[i] : whole.offsets[i + 1]])
    chosen = np.arange(len(events))[::2]
    subset = feature.build(frame.take(chosen))
    rows = [r for i in chosen for r in range(whole.offsets[i], whole.offsets[i + 1])]
    assert np.array_equal(subset.inputs, whole.inputs[rows])


def test_both_features_have_rows_for_the_same_events():
    events = [event(np.random.default_rng(seed), (2, 2, 20, 4)) for seed in range(40)]
    frame = frame_of(events)
    assert np.array_equal(PARTICLE_LIST.build(frame).offsets, LEPTON_EVENT.build(frame).offsets)
    assert 0 < len(PARTICLE_LIST.build(frame)) < 40
    assert len(leading_leptons(frame)) == len(PARTICLE_LIST.build(frame))


def test_every_value_has_a_name():
    events = [event(np.random.default_rng(3), (3, 3, 9, 4)) for _ in range(3)]
    assert LEPTON_EVENT.build(frame_of(events)).inputs.shape[1:] == (len(LEPTON_EVENT_VALUES),)
    assert PARTICLE_LIST.build(frame_of(events)).inputs.shape[1:] == (100, len(PARTICLE_VALUES))


@pytest.mark.parametrize("take", [slice(0, 1), slice(0, 4)])
def test_columns_of_different_lengths_are_an_error(take):
    events = [event(np.random.default_rng(1), (3, 3, 9, 4)) for _ in range(4)]
    for e in events:
        e["Electron_pt"][:], e["Electron_eta"][:] = 60.0, 0.0
        e["Electron_phi"] = e["Electron_phi"][:2]
    with pytest.raises(DataError, match=r"Electron_pt and Electron_phi differ in length in event 0:0:0"):
        PARTICLE_LIST.build(frame_of(events).rows(take.start, take.stop))


def test_a_list_instead_of_a_number_is_an_error():
    frame = frame_of([event(np.random.default_rng(1), (3, 3, 9, 4))])
    frame._parent["MET_pt"] = frame["Jet_pt"]
    frame._parent["Electron_pt"].values[:] = 60.0
    frame._parent["Electron_eta"].values[:] = frame._parent["Electron_pfRelIso03_all"].values[:] = 0.0
    with pytest.raises(DataError, match="MET_pt has a list in every event"):
        LEPTON_EVENT.build(frame)


@pytest.mark.parametrize("column", ["MET_pt", "MET_phi", "Jet_phi", "Jet_pt", "PFCands_pt", "PFCands_phi"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_propagate(column, value):
    e = event(np.random.default_rng(1), (1, 0, 9, 4))
    e["Electron_pt"][:], e["Electron_eta"][:], e["Electron_pfRelIso03_all"][:] = 60.0, 0.0, 0.0
    e[column] = np.float64(value) if column.startswith("MET") else np.append(value, e[column][1:])
    frame = frame_of([e])
    assert len(PARTICLE_LIST.build(frame)) == len(LEPTON_EVENT.build(frame)) == 1
    if column.startswith("MET"):
        assert not np.isfinite(LEPTON_EVENT.build(frame).inputs).all()
