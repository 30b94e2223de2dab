"""Inputs of Level-1 models: integers of the hardware, from NanoAOD's columns."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from tamis._base import DataError, MissingColumnError
from tamis.events import Events
from tamis.features import explain_missing_columns, find_inputs, input_rows
from tamis.features.level1 import L1_CALO_TOWERS, L1_OBJECTS

STEP = 2 * np.pi / 144


def objects(pt=(), eta=(), phi=(), bx=()):
    return {"pt": pt, "eta": eta, "phi": phi, "bx": bx or [0] * len(pt)}


def events(eg=None, mu=None, jet=None, met=(30.2, -STEP), met_type=2):
    """Return one event."""
    columns = {}
    for prefix, values in (("L1EG", eg), ("L1Mu", mu), ("L1Jet", jet)):
        for name, value in (values or objects()).items():
            kind = np.int16 if name == "bx" else np.float32
            columns[f"{prefix}_{name}"] = ak.Array([np.array(value, kind)])
    columns |= {
        "L1EtSum_pt": ak.Array([np.array([900.0, met[0]], "f4")]),
        "L1EtSum_phi": ak.Array([np.array([0.0, met[1]], "f4")]),
        "L1EtSum_etSumType": ak.Array([np.array([0, met_type], "i4")]),
        "L1EtSum_bx": ak.Array([np.array([0, 0], "i2")]),
    }
    identity = {"run": np.array([7]), "luminosityBlock": np.array([1]), "event": np.array([3])}
    return Events.of({**identity, **columns})


def inputs(found: Events) -> np.ndarray:
    return L1_OBJECTS.build(frame(found)).inputs.reshape(19, 3)


def frame(found: Events):
    from tamis.events import Frame, columns_of

    return Frame(columns_of(found, [column.name for column in found.schema]), len(found))


def test_objects_are_sorted_padded_and_in_the_units_of_the_hardware():
    jets = objects([20.0, 50.4, 30.0], [0.0435 * 3, -0.0435 * 5, 2.0], [0.0, 10 * STEP, -3 * STEP])
    muons = objects([11.0], [-0.5], [-2 * np.pi / 576])
    found = inputs(events(eg=objects([15.5], [0.0435], [np.pi]), mu=muons, jet=jets))
    assert found[0].tolist() == [60, 0, 143]  # MET: rounded down to steps of 0.5 GeV; phi counts from 0
    assert found[1].tolist() == [31, 1, 72]
    assert found[5].tolist() == [22, round(-0.5 / 0.010875), 575]
    assert found[9:12].tolist() == [[100, -5, 10], [60, 46, 141], [40, 3, 0]]
    assert not found[[2, 3, 4, 6, 7, 8, *range(12, 19)]].any()


def test_what_exceeds_its_bits_saturates():
    found = inputs(
        events(
            eg=objects([400.0], [9.0], [0.0]),
            mu=objects([1e4], [-9.0], [0.0]),
            jet=objects([1e5], [-9.0], [0.0]),
            met=(9e3, 0.0),
        )
    )
    assert found[0, 0] == 4095
    assert found[1].tolist() == [511, 127, 0]
    assert found[5].tolist() == [511, -256, 0]
    assert found[9].tolist() == [2047, -128, 0]


def test_other_bunch_crossings_and_surplus_objects_are_left_out():
    pt = [float(10 + k) for k in range(13)]
    found = inputs(events(jet=objects([99.0, *pt], [0.0] * 14, [0.0] * 14, [1] + [0] * 13)))
    assert found[9:, 0].tolist() == [2 * one for one in sorted(pt, reverse=True)[:10]]


def test_an_event_without_missing_momentum_or_with_nan_is_named():
    with pytest.raises(DataError, match=r"no missing transverse momentum .* in event 7:1:3"):
        inputs(events(met_type=8))
    with pytest.raises(DataError, match=r"L1Jet_eta is nan in event 7:1:3"):
        inputs(events(jet=objects([20.0], [float("nan")], [0.0])))


def test_regions_become_an_image_that_saturates():
    found = events()
    regions = {"et": [5, 3000, 7], "ieta": [0, 13, 0], "iphi": [1, 17, 1]}
    for name, values in regions.items():
        found = Events(ak.with_field(found.array, ak.Array([np.array(values, "i2")]), f"L1Region_{name}"))
    image = L1_CALO_TOWERS.build(frame(found)).inputs
    assert image.shape == (1, 1, 14, 18)
    assert (image[0, 0, 0, 1], image[0, 0, 13, 17], image.sum()) == (12, 1023, 1035)
    bad = Events(ak.with_field(found.array, ak.Array([np.array([0, 14, 0], "i2")]), "L1Region_ieta"))
    with pytest.raises(
        DataError, match=r"are \(14, 17\) in event 7:1:3; the regions are numbered from 0 to 13"
    ):
        L1_CALO_TOWERS.build(frame(bad))


def test_files_without_the_objects_are_told_how_to_get_them():
    features = find_inputs({"objects": "l1_objects"})
    bare = Events.of({"run": np.array([1]), "luminosityBlock": np.array([1]), "event": np.array([1])})
    with (
        pytest.raises(MissingColumnError, match="tamis simulate --level1"),
        explain_missing_columns(features),
    ):
        input_rows(features, bare)
