"""Frames against a slow reference: loops that build the whole image, roll it in phi, pad and crop it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis._base import DataError
from tamis.events import Frame, Jagged
from tamis.features import find_feature

PIXEL_WIDTH = 2 * math.pi / 360
HALF_ROWS = 175
CHANNELS = {"quark_gluon_frames": 5, "top_frames": 8, "tau_frames": 8}
JETS = {"quark_gluon_frames": "Jet", "top_frames": "FatJet", "tau_frames": "Jet"}
COLLECTIONS = {
    "EcalCell": ("et", "eta", "phi"),
    "HcalTower": ("et", "eta", "phi"),
    "Track": ("pt", "eta", "phi", "d0", "dz"),
    "PixelHit": ("layer", "eta", "phi"),
    "Jet": ("pt", "eta", "phi"),
    "FatJet": ("pt", "eta", "phi"),
}


def pixel(eta: float, phi: float) -> tuple[int, int] | None:
    row, column = math.floor(eta / PIXEL_WIDTH) + HALF_ROWS, math.floor((phi + math.pi) / PIXEL_WIDTH) % 360
    return (row, column) if 0 <= row < 2 * HALF_ROWS else None


def image(points) -> np.ndarray:
    pixels = np.zeros((2 * HALF_ROWS, 360), np.float32)
    for value, eta, phi in points:
        where = pixel(float(eta), float(phi))
        if where is not None:
            pixels[where] += np.float32(value)
    return pixels


def tower_image(towers) -> np.ndarray:
    coarse = np.zeros((2 * HALF_ROWS // 5, 72), np.float32)
    for value, eta, phi in towers:
        where = pixel(float(eta), float(phi))
        if where is not None:
            coarse[where[0] // 5, where[1] // 5] += np.float32(value)
    return np.repeat(np.repeat(coarse / np.float32(25), 5, axis=0), 5, axis=1)


def seen_from(vertex: float, layer: int, eta: float) -> float:
    radius = {1: 2.9, 2: 6.8, 3: 10.9}[layer]
    return math.asinh(math.sinh(eta) - vertex / radius)


def crop(whole: np.ndarray, seed: tuple[int, int], size: int) -> np.ndarray:
    rolled = np.roll(whole, 180 - seed[1], axis=1)  # the seed is now in column 180
    padded = np.pad(rolled, ((size, size), (0, 0)))
    top, left = seed[0] + size - size // 2, 180 - size // 2
    return padded[top : top + size, left : left + size]


def columns(event, prefix, *names):
    return list(zip(*(event[f"{prefix}_{name}"] for name in names), strict=True))


def whole_image(event, channels: int) -> np.ndarray:
    tracks = [image(columns(event, "Track", name, "eta", "phi")) for name in ("pt", "d0", "dz")]
    hits = columns(event, "PixelHit", "layer", "eta", "phi")
    layers = [
        image([(1.0, seen_from(event["PV_z"], n, float(eta)), phi) for layer, eta, phi in hits if layer == n])
        for n in (1, 2, 3)
    ]
    ecal = image(columns(event, "EcalCell", "et", "eta", "phi"))
    hcal = tower_image(columns(event, "HcalTower", "et", "eta", "phi"))
    return np.stack([*tracks, *(layers if channels == 8 else []), ecal, hcal])


def slow_jets(event, name: str):
    jets = columns(event, JETS[name], "pt", "eta", "phi")
    jets = sorted((j for j in jets if j[0] >= 20 and abs(j[1]) < 2.4), key=lambda jet: -jet[0])[:2]
    whole = whole_image(event, CHANNELS[name])
    frames = [np.stack([crop(layer, pixel(eta, phi), 128) for layer in whole]) for _, eta, phi in jets]
    return frames, [jet[0] for jet in jets]


def slow_crystals(event):
    cells = columns(event, "EcalCell", "et", "eta", "phi")
    hard = [(et, *pixel(eta, phi)) for et, eta, phi in cells if et >= 5 and abs(eta) < 2.4]

    def has_harder_neighbour(i):
        def harder(j):
            gap = abs(hard[i][2] - hard[j][2])
            near = abs(hard[i][1] - hard[j][1]) <= 2 and min(gap, 360 - gap) <= 8
            return near and (hard[j][0] > hard[i][0] or (hard[j][0] == hard[i][0] and j < i))

        return any(harder(j) for j in range(len(hard)))

    seeds = sorted(
        (hard[i] for i in range(len(hard)) if not has_harder_neighbour(i)), key=lambda seed: -seed[0]
    )[:4]
    frames = [crop(image(cells), seed[1:], 32)[None] for seed in seeds]
    return frames, [frame[0, 14:19, 14:19].sum() for frame in frames]


def random_event(rng: np.random.Generator, busy: float):
    event = {"PV_z": np.float32(rng.normal(0, 5))}
    centre_eta, centre_phi = rng.uniform(-2.6, 2.6), rng.choice([-math.pi, math.pi, 0.3, rng.uniform(-3, 3)])
    for prefix, names in COLLECTIONS.items():
        n = int(rng.poisson(busy * (0.1 if prefix.endswith("Jet") else 1.0)))
        eta, phi = centre_eta + rng.normal(0, 0.6, n), centre_phi + rng.normal(0, 0.6, n)
        values = {
            "eta": eta,
            "phi": (phi + math.pi) % (2 * math.pi) - math.pi,
            "layer": rng.integers(0, 5, n),  # 0 and 4 do not exist
            "d0": rng.normal(0, 1, n),
            "dz": rng.normal(0, 1, n),
        }
        hard = rng.integers(1, 9, n) + rng.choice([0.0, 0.5, rng.random()])  # ties are frequent
        for name in names:
            value = values.get(name, hard * (10 if prefix.endswith("Jet") else 1))
            event[f"{prefix}_{name}"] = value.astype(np.int32 if name == "layer" else np.float32)
    return event


def frame_of(events) -> Frame:
    columns = {name: np.arange(len(events)) for name in ("run", "luminosityBlock", "event")}
    columns["PV_z"] = np.array([event["PV_z"] for event in events], np.float32)
    for prefix, names in COLLECTIONS.items():
        for name in names:
            lists = [event[f"{prefix}_{name}"] for event in events]
            offsets = np.cumsum([0, *map(len, lists)])
            columns[f"{prefix}_{name}"] = Jagged(offsets, np.concatenate([np.empty(0, np.float32), *lists]))
    layer = columns["PixelHit_layer"]
    columns["PixelHit_layer"] = Jagged(layer.offsets, layer.values.astype(np.int32))
    return Frame(columns, len(events))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 100_000),
    st.lists(st.sampled_from([0.0, 3.0, 40.0]), max_size=4),
    st.sampled_from(["egamma_frames", *CHANNELS]),
)
def test_frames_are_bit_identical_to_the_slow_reference(seed, busy, name):
    rng = np.random.default_rng(seed)
    events = [random_event(rng, activity) for activity in busy]
    found = find_feature(name).build(frame_of(events))
    slow = [slow_crystals(event) if name == "egamma_frames" else slow_jets(event, name) for event in events]
    counts = [len(frames) for frames, _ in slow]
    assert np.diff(found.offsets).tolist() == counts
    expected = [frame for frames, _ in slow for frame in frames]
    assert len(found) == len(expected)
    assert found.inputs.dtype == np.float32
    for fast, slow_frame in zip(found.inputs, expected, strict=True):
        assert fast.tobytes() == (slow_frame + 0.0).tobytes()
    assert found.about["pt"].tolist() == [pt for _, pts in slow for pt in pts]
    assert np.isfinite(found.inputs).all()


@pytest.mark.parametrize("name", ["egamma_frames", *CHANNELS])
def test_a_single_event_has_the_same_frames_as_in_a_batch(name):
    rng = np.random.default_rng(3)
    whole = frame_of([random_event(rng, busy) for busy in (40, 0, 300, 3000, 300, 40)])
    feature = find_feature(name)
    together = feature.build(whole)
    assert len(together) > 4
    for row in range(6):
        alone = feature.build(whole.rows(row, row + 1))
        rows = slice(*together.offsets[row : row + 2])
        assert alone.inputs.tobytes() == together.inputs[rows].tobytes()
        for key in feature.about:
            assert alone.about[key].tolist() == together.about[key][rows].tolist()


@pytest.mark.parametrize("column", ["Track_phi", "EcalCell_eta", "HcalTower_phi", "PixelHit_eta", "Jet_eta"])
def test_a_nan_position_is_an_error_with_its_event(column):
    rng = np.random.default_rng(3)
    events = [random_event(rng, 100.0) for _ in range(4)]
    events[2][column][0] = np.nan
    with pytest.raises(DataError, match=f"{column} is nan in event 2:2:2 .*leave the event out"):
        find_feature("tau_frames").build(frame_of(events))


def test_columns_of_different_lengths_are_an_error_with_the_event():
    rng = np.random.default_rng(3)
    events = [random_event(rng, 100.0) for _ in range(4)]
    events[1]["Track_dz"] = events[1]["Track_dz"][:-1]
    for frame in (frame_of(events), frame_of(events).rows(1, 2)):
        with pytest.raises(DataError, match="Track_eta and Track_dz differ in length in event 1:1:1"):
            find_feature("top_frames").build(frame)


def test_a_nan_energy_propagates_into_the_frames():
    rng = np.random.default_rng(3)
    event = random_event(rng, 300.0)
    event["Track_pt"][:] = np.nan
    assert np.isnan(find_feature("tau_frames").build(frame_of([event])).inputs[:, 0]).any()


def test_simulated_jets_are_in_the_middle_of_their_frames():
    pytest.importorskip("pythia8mc")
    from tamis.events import IDENTITY, columns_of
    from tamis.simulate import SimulationSettings, simulate

    (events,) = simulate("qcd", 12, seed=1, settings=SimulationSettings(low_level=True))
    feature = find_feature("top_frames")
    rows = feature.build(Frame(columns_of(events, (*IDENTITY, *feature.reads)), len(events)))
    assert len(rows) > 15
    energy = rows.inputs[:, 6] + rows.inputs[:, 7]
    assert np.all(energy[:, 14:114, 14:114].sum(axis=(1, 2)) > 0.6 * rows.about["pt"])
    for channel in range(3, 6):  # most hits are near the jet, as seen from the vertex
        hits = rows.inputs[:, channel]
        assert hits[:, 32:96, 32:96].sum() > 0.5 * hits.sum()
