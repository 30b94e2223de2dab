"""Inputs that are columns of the events: a decision tree on NanoAOD columns scores files and decides in menus."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import DataError
from tamis.bundle import Input, pack
from tamis.events import Jagged, open_writer
from tamis.events.columns import Frame
from tamis.features import feature_of
from tamis.trigger import menu_of, run_menu
from tamis.trigger.menu import Menu

SPEC = Input(name="x", shape=("N", 2), columns=("MET_pt", "HT"))


@pytest.fixture
def bundle(parse_model, tmp_path):
    """Return a model whose score is the difference of its two variables."""
    model = parse_model(
        "m (float[N, 2] x) => (float[N] score) { w = Constant <value = float[2, 1] {1.0, -1.0}> () \n "
        "a = Constant <value_ints = [1]> () \n p = MatMul (x, w) \n score = Squeeze (p, a) }"
    )
    return lambda *columns: pack(model, tmp_path / "bdt.tamis", columns={"x": columns}).bundle


def test_one_row_per_event_or_per_object():
    met, ht = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, np.nan])
    rows = feature_of(SPEC).build(Frame({"MET_pt": met, "HT": ht}, 3))
    np.testing.assert_array_equal(rows.inputs, np.stack([met, ht], axis=1).astype(np.float32))
    assert rows.offsets.tolist() == [0, 1, 2, 3]
    offsets = np.array([0, 2, 2, 3])
    lists = {"MET_pt": Jagged(offsets, met), "HT": Jagged(offsets, ht)}
    rows = feature_of(SPEC).build(Frame(lists, 3))
    assert rows.inputs.shape == (3, 2)
    assert rows.offsets.tolist() == [0, 2, 2, 3]
    with pytest.raises(DataError, match=r"one number per event \(MET_pt\) and a list \(HT\)"):
        feature_of(SPEC).build(Frame({"MET_pt": met, "HT": lists["HT"]}, 3))


def test_inputs_of_one_number_are_columns_of_their_name_and_others_need_names():
    met = np.array([1.0, 2.0])
    for shape in (("N",), ("N", 1)):
        feature = feature_of(Input(name="MET_pt", shape=shape))
        assert feature.reads == ("MET_pt",)
        assert feature.build(Frame({"MET_pt": met}, 2)).inputs.shape == (2, *shape[1:])
    assert feature_of(Input(name="x", shape=("N", 3))) is None


def test_a_file_is_scored_and_a_menu_decides(bundle, jet_events, tmp_path):
    events = jet_events(40)
    with open_writer(tmp_path / "events.parquet") as writer:
        writer.write(events)
    packed = bundle("FatJet_pt", "FatJet_mass")
    pt, mass = (np.asarray(np.concatenate(events[f"FatJet_{name}"].to_list())) for name in ("pt", "mass"))
    with tamis.open(packed) as session:
        (batch,) = list(tamis.trigger.score_events(session, [str(tmp_path / "events.parquet")]))
    np.testing.assert_allclose(batch.outputs["score"], pt - mass, rtol=1e-5)
    menu = Menu.model_validate(
        {
            "menu": "trees",
            "stages": {"bdt": {"bundle": str(packed.path)}},
            "paths": {"high": {"steps": ["max(bdt_score) > 500"]}},
            "streams": {"high": {"paths": ["high"]}},
        }
    )
    summary = run_menu(menu_of(menu), [str(tmp_path / "events.parquet")], tmp_path / "out")
    expected = sum(any(p - m > 500 for p, m in zip(ps, ms, strict=True)) for ps, ms in zip(events["FatJet_pt"].to_list(), events["FatJet_mass"].to_list(), strict=True))  # fmt: skip
    assert summary.counts.accepted == expected > 0
